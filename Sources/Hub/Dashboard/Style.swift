/// The dashboard's one style sheet, inside each page; nothing is loaded from anywhere.
enum DashboardStyle {
  static let sheet = """
    :root { color-scheme: light dark; --bg: #fbfaf7; --fg: #1d2429; --dim: #5d6970; --line: #dcd9d0; --card: #ffffff;
      --good: #1d6f42; --warn: #8a5a00; --bad: #a5212a; --accent: #1c5d7a; }
    @media (prefers-color-scheme: dark) { :root { --bg: #12171a; --fg: #e6e9ea; --dim: #98a4aa; --line: #2b3439;
      --card: #1a2125; --good: #6cc494; --warn: #e0b25c; --bad: #f08a8f; --accent: #7cc0de; } }
    * { box-sizing: border-box; }
    body { margin: 0; background: var(--bg); color: var(--fg); font: 16px/1.5 system-ui, sans-serif; }
    header, main, footer { max-width: 76rem; margin: 0 auto; padding: 0 1.25rem; }
    header { padding-top: 1.5rem; display: flex; gap: 1rem; align-items: baseline; flex-wrap: wrap; }
    header .mark { font-weight: 700; letter-spacing: .02em; }
    h1 { font-size: 1.5rem; margin: .75rem 0; } h2 { font-size: 1.1rem; margin: 1.75rem 0 .5rem; }
    a { color: var(--accent); } .dim { color: var(--dim); } .mono { font-family: ui-monospace, monospace; font-size: .875em; }
    .wrap { overflow-wrap: anywhere; }
    .scroll { overflow-x: auto; background: var(--card); border: 1px solid var(--line); border-radius: .5rem; }
    table { border-collapse: collapse; width: 100%; } th, td { text-align: left; padding: .6rem .8rem; vertical-align: top; }
    th { font-size: .8rem; color: var(--dim); font-weight: 600; } tbody tr { border-top: 1px solid var(--line); }
    ul.plain { list-style: none; margin: 0; padding: 0; } ul.plain li + li { margin-top: .25rem; }
    .good { color: var(--good); } .note { color: var(--dim); } .warning { color: var(--warn); } .critical { color: var(--bad); }
    .critical, .warning { font-weight: 600; }
    dl { display: grid; grid-template-columns: max-content 1fr; gap: .4rem 1.25rem; margin: 0; padding: 1rem;
      background: var(--card); border: 1px solid var(--line); border-radius: .5rem; }
    dt { color: var(--dim); } dd { margin: 0; }
    pre { background: var(--card); border: 1px solid var(--line); border-radius: .5rem; padding: 1rem; overflow-x: auto;
      font-size: .85rem; }
    footer { padding-top: 2rem; padding-bottom: 2rem; font-size: .875rem; }
    """
}
