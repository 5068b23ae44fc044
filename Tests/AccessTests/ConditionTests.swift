import Testing

@testable import Access

@Suite struct ConditionTests {
  private func error(_ text: String) -> String {
    do {
      _ = try Policy(parsing: Array(text.utf8))
      return "accepted"
    } catch { return "\(error)" }
  }

  private func rule(_ clause: String) throws -> Clause {
    let text = "{version: 1, roles: {a: {allow: [{verbs: ['infer'], resources: ['*'], \(clause)}]}}}"
    return try #require(try Policy(parsing: Array(text.utf8)).role(named: "a")?.permissions.first?.clause)
  }

  private func at(_ day: Weekday, _ clock: Int) -> RequestContext {
    RequestContext(time: WeekTime(day: day, minute: clock / 100 * 60 + clock % 100))
  }

  @Test func timesOfDayAndWeek() throws {
    let office = try rule("when: {days: ['mon', 'tue'], hours: '08:00-18:00'}")
    #expect(office.holds(in: at(.monday, 800)) == true && office.holds(in: at(.monday, 1759)) == true)
    #expect(office.holds(in: at(.monday, 759)) == false && office.holds(in: at(.monday, 1800)) == false)
    #expect(office.holds(in: at(.sunday, 1200)) == false)
    #expect(office.holds(in: RequestContext()) == nil)
    let night = try rule("unless: {hours: ['22:00-06:00', '12:00-13:00']}")
    #expect([0, 559, 2200, 2359, 1230].allSatisfy { night.holds(in: at(.friday, $0)) == false })
    #expect([600, 1159, 1300, 2159].allSatisfy { night.holds(in: at(.friday, $0)) == true })
    #expect(try rule("when: {hours: '00:00-24:00'}").holds(in: at(.friday, 2359)) == true)
  }

  @Test func socketAndNetworks() throws {
    func from(_ address: String?) -> RequestContext {
      RequestContext(transport: .network(address.flatMap { NetworkAddress($0) }))
    }
    let socket = try rule("when: {via: 'socket'}")
    #expect(socket.holds(in: RequestContext(transport: .socket)) == true && socket.holds(in: from("10.0.0.1")) == false)
    let net = try rule("when: {networks: ['10.0.0.0/8', 'fd00::/8', '192.168.1.7']}")
    for address in ["10.0.0.0", "10.255.255.255", "::ffff:10.1.2.3", "fdff::1", "192.168.1.7", "fd00::1%eth0"] {
      #expect(net.holds(in: from(address)) == true, "\(address)")
    }
    for address in ["11.0.0.0", "9.255.255.255", "fe00::1", "::1", "192.168.1.6", "::10.1.2.3"] {
      #expect(net.holds(in: from(address)) == false, "\(address)")
    }
    #expect(net.holds(in: from(nil)) == nil && net.holds(in: RequestContext(transport: .socket)) == false)
  }

  @Test(arguments: [
    "", "1.2.3", "1.2.3.4.5", "256.1.1.1", "01.2.3.4", "1.2.3.4 ", ":", ":::", "1::2::3", "12345::", "g::", "::1.2.3",
    "1:2:3:4:5:6:7", "1:2:3:4:5:6:7:8:9", "1:2:3:4:5:6:7::8:9", "+1.2.3.4", "::1.2.3.4:5",
  ])
  func whatIsNoAddress(_ text: String) { #expect(NetworkAddress(text) == nil) }

  @Test(arguments: ["10.0.0.1/8", "10.0.0.0/33", "fd00::/129", "10.0.0.0/", "10.0.0.0/-1", "fd00::1%eth0", "fd80::/8"])
  func whatIsNoNetwork(_ text: String) { #expect(NetworkRange(text) == nil) }

  @Test func labelsAndContext() throws {
    let oslo = try rule("when: {labels: {site: ['oslo', 'bergen'], stage: 'test'}}")
    #expect(oslo.holds(in: RequestContext(labels: ["site": "oslo", "stage": "test"])) == true)
    #expect(oslo.holds(in: RequestContext(labels: ["site": "oslo"])) == false)
    #expect(oslo.holds(in: RequestContext()) == false)
    let short = try rule("when: {maxContextTokens: 100}")
    #expect(short.holds(in: RequestContext(contextTokens: 100)) == true)
    #expect(short.holds(in: RequestContext(contextTokens: 101)) == false && short.holds(in: RequestContext()) == nil)
  }

  /// What is not known lets nobody in, and keeps everybody out.
  @Test func theUnknownIsOnTheSafeSide() throws {
    let policy = try Policy(
      parsing: Array(
        """
        {version: 1, roles: {a: {allow: [{verbs: ['infer'], resources: ['model:*'], when: {hours: '00:00-24:00'}},
          {verbs: ['model.list'], resources: ['model:*']}]}},
         forbid: [{verbs: ['model.list'], resources: ['model:x'], when: {hours: '01:00-02:00'}}],
         bindings: [{role: 'a', subjects: ['token:t']}]}
        """.utf8))
    let caller = Caller.token("t")
    #expect(!policy.decide(caller, .infer, .model("x"), in: RequestContext()).isAllowed)
    #expect(!policy.decide(caller, .modelList, .model("x"), in: RequestContext()).isAllowed)
    #expect(policy.decide(caller, .infer, .model("x"), in: at(.monday, 100)).isAllowed)
    #expect(policy.decide(caller, .modelList, .model("x"), in: at(.monday, 300)).isAllowed)
    let decision = policy.decide(caller, .infer, .model("x"), in: RequestContext())
    #expect(
      decision.text.hasPrefix(
        "a allows infer on model:* when hours 00:00-24:00, which is roles.a.allow[0], but hours 00:00-24:00 does not hold: "
          + "the time is not known"))
  }

  @Test(arguments: [
    ("when: {}", "when: states nothing; allowed: days, hours"),
    ("when: {day: 'mon'}", "when.day: unknown key"),
    ("when: {days: []}", "when.days: an empty list never holds; allowed: one or more days"),
    ("when: {days: ['monday']}", "unknown value \"monday\"; allowed: mon, tue"),
    ("when: {hours: '8:00-9:00'}", "no hours; allowed: \"08:00-18:00\""),
    ("when: {hours: '08:00-08:00'}", "no hours"), ("when: {hours: '08:00-24:01'}", "no hours"),
    ("when: {networks: ['10.0.0.1/8']}", "no network"), ("when: {labels: {}}", "names no label"),
    ("when: {maxContextTokens: 0}", "0 is out of range"), ("unless: {via: 'usb'}", "unless.via: unknown value \"usb\""),
  ])
  func refusesAndSaysWhatIsAllowed(_ clause: String, _ expected: String) {
    let text = error("{version: 1, roles: {a: {allow: [{verbs: ['infer'], resources: ['*'], \(clause)}]}}}")
    #expect(text.contains(expected), "\(text)")
  }

  @Test(arguments: [
    ("{roles: ['a']}", "at most 1 of 1 roles separates nothing"),
    ("{roles: ['a', 'b'], atMost: 2}", "at most 2 of 2 roles separates nothing"),
    ("{roles: ['a', 'a']}", "separation.static.s.roles[1]: \"a\" twice"),
    ("{roles: ['a', 'z']}", "unknown role \"z\""), ("{}", "roles is missing"),
    ("{roles: ['a', 'b']}", "roles.c: is or inherits a and b"),
  ])
  func separationsThatMakeNoSense(_ set: String, _ expected: String) {
    let text = error(
      "{version: 1, roles: {a: {}, b: {}, c: {inherits: ['a', 'b']}}, separation: {static: {s: \(set)}}}")
    #expect(text.contains(expected), "\(text)")
  }

  @Test func noPolicyTakesTheBoxsMemory() {
    let roles = (0..<5000).map { "r\($0): {}" }.joined(separator: ",")
    #expect(error("{version: 1, roles: {\(roles)}}").contains("5000 roles are too many"))
    let resources = (0..<6000).map { "'model:\($0)'" }.joined(separator: ",")
    #expect(
      error("{version: 1, roles: {a: {allow: [{verbs: ['*'], resources: [\(resources)]}]}}}")
        .contains("\(6000 * Verb.allCases.count) verbs on resources are too many"))
  }
}
