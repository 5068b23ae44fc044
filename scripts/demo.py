"""make demo: the whole length of Skerry, once, with real parts.

Each step has a heading, shows progress where it takes longer than two seconds, and ends with its result. A failing
step ends the demo with its name, the reason and exit 1. KEEP=1 leaves everything running.
"""

import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
from box import MODEL, ROOT, Box, Failed, Hub, Programs, call, flip_bit, wait_for  # noqa: E402

HOME = pathlib.Path(tempfile.gettempdir()) / f"skerry-demo-{os.getuid()}"
KEEP = os.environ.get("KEEP", "") not in ("", "0")
COLOUR = sys.stdout.isatty() and "NO_COLOR" not in os.environ
STEPS = []


def paint(code, text):
    return f"\033[{code}m{text}\033[0m" if COLOUR else text


def tell(text):
    for line in str(text).splitlines():
        print("    " + line)


class Ticker:
    """A line every two seconds while something long runs; every ten where nobody watches."""

    def __init__(self, what):
        self.what, self.done = what, threading.Event()

    def __enter__(self):
        self.started = time.monotonic()
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self):
        while not self.done.wait(2 if sys.stdout.isatty() else 10):
            tell(f"… {self.what}, {time.monotonic() - self.started:.0f} s")

    def __exit__(self, *_):
        self.done.set()
        self.thread.join()


def step(title):
    def wrap(function):
        STEPS.append((title, function))
        return function
    return wrap


class Demo:
    """What one step leaves for the next."""


demo = Demo()


def setup(*arguments):
    done = subprocess.run([ROOT / "scripts" / "setup.sh", *arguments], stdout=subprocess.PIPE, text=True)
    if done.returncode != 0:
        raise Failed(f"scripts/setup.sh {' '.join(arguments)} did not finish; what it said stands above")
    return done.stdout.strip()


@step("Set up: packages, engine, weights, programs")
def set_up():
    setup("packages")
    engine = setup("engine")
    weights = setup("weights")
    build = ["swift", "build", "-c", "release", "--static-swift-stdlib",
             "--explicit-target-dependency-import-check", "error"]
    with Ticker("building skerryd, skerry and skerry-hub in release mode"):
        done = subprocess.run(build, cwd=ROOT, capture_output=True, text=True)
    if done.returncode != 0:
        raise Failed("swift build failed:\n" + "\n".join((done.stdout + done.stderr).splitlines()[-25:]))
    folder = pathlib.Path(call([*build, "--show-bin-path"], cwd=ROOT).stdout.strip())
    demo.programs = Programs(folder / "skerryd", folder / "skerry", folder / "skerry-hub", engine, weights)
    sizes = ", ".join(f"{n} {os.path.getsize(folder / n) / 1e6:.0f} MB" for n in ("skerryd", "skerry", "skerry-hub"))
    return f"{sizes}; engine {pathlib.Path(engine).parent.name}; weights {os.path.getsize(weights) / 1e6:.0f} MB"


@step("A hub with TLS, an offline publisher, a signed model")
def hub_and_repository():
    hub = demo.hub = Hub(demo.programs, HOME)
    facts = hub.init()
    hub.start()
    tell(f"hub        {hub.url}\npin        {facts['pin']}\nonline key {facts['onlineKey'][:16]}… (timestamp, snapshot)")
    hub.create_repository()
    offline = sorted(p.name for p in hub.keys.iterdir())
    tell(f"offline    {', '.join(offline)} in {hub.keys}, encrypted with a passphrase")
    with Ticker("cutting the model into chunks, hashing, signing"):
        hub.add_model()
    with Ticker("publishing to the hub, metadata last"):
        hub.publish()
    secrets = [p.read_bytes() for p in hub.keys.iterdir() if b"PRIVATE" in p.read_bytes()]
    if len(secrets) < 2:
        raise Failed(f"expected a root and a targets key in {hub.keys}")
    for path in hub.state.rglob("*"):
        if path.is_file() and path.stat().st_size < 1 << 20 and any(s in path.read_bytes() for s in secrets):
            raise Failed(f"the offline key is inside the hub's {path}")
    out = demo.programs
    tell(call([out.skerry, "repo", "status", hub.repo]).stdout)
    return f"{MODEL} 1.0.0 is published; root and targets keys are nowhere in the hub's folder"


@step("Enrol an agent with one string, sync the model")
def enrol_and_sync():
    box = demo.box = Box(demo.programs, HOME / "box")
    box.start()
    token = demo.hub.token()
    tell(f"token      {token[:44]}… ({len(token)} characters: address, key pin, root digest, secret)")
    tell(box.skerry("enroll", token).stdout)
    other = Box(demo.programs, HOME / "other", name="other-box").start()
    try:
        again = other.skerry("enroll", token, check=False)
    finally:
        other.daemon.stop()
    if again.returncode == 0:
        raise Failed("the one-time token was taken twice")
    tell("another box with the same token: " + again.stderr.strip().splitlines()[0])
    sync = subprocess.run([box.programs.skerry, "--socket", str(box.socket), "sync"], stderr=None,
                          stdout=subprocess.PIPE, text=True)
    tell(sync.stdout)
    if sync.returncode != 0:
        raise Failed("skerry sync ended with " + str(sync.returncode))
    wait_for("the model is active", lambda: any(m["state"] == "active" for m in box.status()["models"]), 30)
    tell(box.skerry("model", "list").stdout)
    demo.device = box.status()["deviceID"]
    return f"device {demo.device} runs {MODEL}, verified chunk by chunk and whole"


@step("Offline: the hub is stopped")
def offline():
    demo.hub.daemon.stop()
    box = demo.box
    tell("the hub is gone; from here on there is no network")
    demo.app = box.token("demo-app", "chat")
    demo.guest = box.token("demo-auditor", "auditor")

    question = [{"role": "user", "content": "In one sentence: what is a lighthouse for?"}]
    text, started, first, usage = "", time.monotonic(), None, {}
    for line in box.stream("/v1/chat/completions", {"model": MODEL, "messages": question, "stream": True,
                           "max_tokens": 64, "temperature": 0, "stream_options": {"include_usage": True}}, demo.app):
        if not line.startswith("data: ") or line == "data: [DONE]":
            continue
        chunk = json.loads(line[6:])
        if "error" in chunk:
            raise Failed(f"the stream broke: {chunk['error']}")
        usage = chunk.get("usage") or usage
        for choice in chunk.get("choices", []):
            piece = choice.get("delta", {}).get("content") or ""
            if piece and first is None:
                first = time.monotonic()
            text += piece
    ended = time.monotonic()
    if not text.strip() or not usage.get("completion_tokens"):
        raise Failed(f"no answer over OpenAI's API (usage {usage})")
    rate = usage["completion_tokens"] / max(ended - first, 1e-6)
    tell(f"OpenAI     {text.strip()}")
    tell(f"           {usage['completion_tokens']} tokens, first after {first - started:.2f} s "
         f"(engine start included), {rate:.1f} tokens per second")

    status, _, body = box.request("POST", "/api/chat", {"model": MODEL, "stream": False, "messages": question,
                                  "options": {"num_predict": 48, "temperature": 0}}, demo.app)
    reply = json.loads(body)
    if status != 200 or not reply["message"]["content"].strip():
        raise Failed(f"Ollama's API answered {status}: {body[:300]!r}")
    tell(f"Ollama     {reply['message']['content'].strip()}")
    tell(f"           {reply['eval_count']} tokens, {reply['eval_count'] / (reply['eval_duration'] / 1e9):.1f} tokens per second")

    ask = {"model": MODEL, "messages": question, "max_tokens": 8}
    status, _, body = box.request("POST", "/v1/chat/completions", ask, demo.guest)
    if status != 403:
        raise Failed(f"a role without the model got {status}, not 403: {body[:300]!r}")
    error = json.loads(body)["error"]
    tell(f"403        {error['message']}")
    if not error.get("hint"):
        raise Failed("the denial does not say what would change it")
    tell(f"           {error['hint']}")
    status, _, body = box.request("POST", "/v1/chat/completions", ask)
    wrong, _, _ = box.request("POST", "/v1/chat/completions", ask, "skt_nobody")
    if (status, wrong) != (401, 401):
        raise Failed(f"an unknown caller got {status} and {wrong}, not 401")
    tell(f"401        {json.loads(body)['error']['message']}")

    box.skerry("model", "unload", MODEL)
    blob = box.blob()
    flip_bit(blob, blob.stat().st_size // 2)
    tell(f"one bit of {blob.name[:16]}… is flipped on disk")
    status, _, body = box.request("POST", "/v1/chat/completions", ask, demo.app)
    error = json.loads(body).get("error", {})
    if status != 503 or "digest" not in error.get("message", ""):
        raise Failed(f"flipped weights got {status}: {body[:300]!r}")
    tell(f"503        {error['message']}")
    return f"{rate:.0f} tokens per second; 403, 401 and 503 as they should be"


@step("Export the audit log, verify it without the agent")
def audit():
    box, export = demo.box, HOME / "audit-export.jsonl"
    box.skerry("audit", "export", "--output", export)
    key = box.status()["keys"]["device"]
    lines = export.read_bytes().splitlines(keepends=True)
    good = call([demo.programs.skerry, "audit", "verify", export, "--key", key])
    tell(good.stdout)
    at = len(lines) // 2
    forged = HOME / "audit-forged.jsonl"
    place = sum(map(len, lines[:at])) + lines[at].find(b'"actor":"') + len(b'"actor":"')
    data = bytearray(export.read_bytes())
    data[place] ^= 1
    forged.write_bytes(data)
    bad = call([demo.programs.skerry, "audit", "verify", forged, "--key", key], check=False)
    said = (bad.stdout + bad.stderr).strip()
    if bad.returncode != 65:
        raise Failed(f"a forged export ended with {bad.returncode}: {said}")
    if f"entry {at - 1}" not in said:
        raise Failed(f"the forgery is in entry {at - 1}, but the verifier says: {said}")
    tell(f"one byte of entry {at - 1} flipped:")
    tell(said)
    return f"{len(lines) - 1} entries verified; the forged one is found at entry {at - 1}"


@step("A compliance report")
def report():
    box = demo.box
    page, data = HOME / "report.html", HOME / "report.json"
    box.skerry("report", "--html", page)
    content = json.loads(box.skerry("report", "--json").stdout)
    data.write_text(json.dumps(content, indent=2))
    html = page.read_text()
    blob = json.dumps(content)
    for wanted in (MODEL, demo.device):
        if wanted not in html or wanted not in blob:
            raise Failed(f"the report does not name {wanted}")
    tell(f"JSON       {data}\npage       {page}")
    findings = content.get("findings", [])
    for finding in findings:
        tell(f"finding    {finding.get('severity')}: {finding.get('message') or finding.get('summary')}")
    if not any("digest" in json.dumps(f) or "corrupt" in json.dumps(f) for f in findings):
        raise Failed("the report does not mention the corrupt weights")
    return f"{len(content['models'])} model, {len(findings)} findings"


@step("The hub returns: noticed, mended, cosigned")
def hub_returns():
    box, hub = demo.box, demo.hub
    before = box.status()["sync"]["lastSuccess"]
    wait_for("the agent knows that the hub is away", lambda: box.status()["sync"]["reachable"] is False, 10)
    hub.start()
    started = time.monotonic()
    wait_for("the agent notices the hub by itself", lambda: box.status()["sync"]["reachable"] is True, 5)
    noticed = time.monotonic() - started
    tell(f"noticed after {noticed:.1f} s, nobody told it")
    wait_for("a sync of its own", lambda: box.status()["sync"]["lastSuccess"] != before, 20)
    wait_for("the model is mended", lambda: all(m["state"] == "active" for m in box.status()["models"]), 20)
    status, _, body = box.request("POST", "/v1/chat/completions", {
        "model": MODEL, "messages": [{"role": "user", "content": "Say hello."}], "max_tokens": 8}, demo.app)
    if status != 200:
        raise Failed(f"the mended model answered {status}: {body[:300]!r}")
    tell("the flipped chunk was fetched again; the model answers")

    def shown():
        device = hub.device(demo.device)
        cosigned = (device.get("audit") or {}).get("cosignedSize") or 0
        return device if device.get("report") and cosigned > 0 else None
    device = wait_for("the hub shows the box, its report and its cosigned head", shown, 20)
    tell(call([demo.programs.skerry, "hub", "device", "list", *hub.admin]).stdout)
    tell(f"dashboard  {hub.url}/ (any user name, password in {hub.facts['adminTokenFile']})")
    return f"noticed in {noticed:.1f} s; audit head cosigned at {device['audit']['cosignedSize']} entries"


def stop_leftovers():
    """What a run with KEEP=1 left behind, by the pids that it wrote down."""
    pids = HOME / "pids"
    if pids.exists():
        for line in pids.read_text().split("\n"):
            pid, _, name = line.partition(" ")
            try:
                if pid and name in pathlib.Path(f"/proc/{pid}/cmdline").read_text():
                    os.kill(int(pid), signal.SIGTERM)
                    wait_for(f"{name} {pid} stops", lambda p=pid: not os.path.exists(f"/proc/{p}"), 15)
            except OSError:
                pass
    shutil.rmtree(HOME, ignore_errors=True)
    HOME.mkdir(mode=0o700)


def leave():
    daemons = [d for d in (getattr(demo, "box", None), getattr(demo, "hub", None)) if d]
    if KEEP and all(d.daemon.running for d in daemons) and len(daemons) == 2:
        (HOME / "pids").write_text("".join(f"{d.daemon.process.pid} {d.daemon.name}\n" for d in daemons))
        box, hub = demo.box, demo.hub
        print(f"""
Everything is still running. Try:
  export PATH="{os.path.dirname(box.programs.skerry)}:$PATH" SKERRY_SOCKET={box.socket}
  skerry status
  skerry run {MODEL} "What is a skerry?"
  skerry role explain token:demo-auditor infer model:{MODEL}
  skerry audit list
  curl -s http://127.0.0.1:{box.port}/v1/chat/completions -H 'Authorization: Bearer {demo.app}' \\
    -H 'Content-Type: application/json' \\
    -d '{{"model":"{MODEL}","messages":[{{"role":"user","content":"Hello"}}]}}'
  skerry hub device list {' '.join(map(str, hub.admin))}
  the dashboard: {hub.url}/ (any user name; password: cat {hub.facts['adminTokenFile']})
To stop it: kill {box.daemon.process.pid} {hub.daemon.process.pid}; the next make demo does so too.""")
        return
    for d in daemons:
        try:
            d.daemon.stop()
        except Failed as error:
            print(paint(31, str(error)))


def main():
    begun = time.monotonic()
    results, failed = [], None
    for number, (title, function) in enumerate(STEPS, 1):
        print(paint("1;36", f"\n{number}. {title}"))
        if number == 2:
            stop_leftovers()
        started = time.monotonic()
        try:
            result = function()
        except (Failed, OSError, KeyError, ValueError, subprocess.SubprocessError) as error:
            failed = (title, f"{type(error).__name__}: {error}" if not isinstance(error, Failed) else str(error))
            results.append((number, title, "failed", time.monotonic() - started))
            break
        took = time.monotonic() - started
        results.append((number, title, result, took))
        tell(paint(32, f"✓ {result}") + f"  ({took:.1f} s)")
    print()
    width = max(len(r[1]) for r in results)
    for number, title, result, took in results:
        print(f"  {number}  {title:<{width}}  {took:6.1f} s  {result}")
    if failed:
        print(paint(31, f"\nFailed at «{failed[0]}»:\n{failed[1]}"))
        for daemon in (getattr(demo, "box", None), getattr(demo, "hub", None)):
            if daemon:
                print(f"\nThe end of {daemon.daemon.log}:\n{daemon.daemon.tail()}")
    else:
        print(f"\n  All of it in {time.monotonic() - begun:.0f} s.")
    leave()
    return 1 if failed else 0


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        leave()
        sys.exit(130)
