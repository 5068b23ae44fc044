import Testing

@testable import Host

/// The filter's program, run by a small reader of it: for the other architecture too, which no machine here has.
@Suite struct SeccompFilterTests {
  private static let allow: UInt32 = 0x7FFF_0000
  private static let kill: UInt32 = 0x8000_0000
  private static let noSuchCall: UInt32 = 0x0005_0000 | 38
  private static let notPermitted: UInt32 = 0x0005_0000 | 1

  /// What the kernel would return (classic BPF over `struct seccomp_data`). Nil: the program is broken.
  private func verdict(
    _ filter: SeccompFilter, _ number: UInt32, _ arguments: [UInt32] = [], by architecture: UInt32
  ) -> UInt32? {
    var data = [UInt32](repeating: 0, count: 16)
    data[0] = number
    data[1] = architecture
    for (index, argument) in arguments.enumerated() { data[4 + 2 * index] = argument }
    let code = filter.program
    var at = 0
    var register: UInt32 = 0
    while (at + 1) * 8 <= code.count {
      let one = code[(at * 8)..<(at * 8 + 8)].map { UInt32($0) }
      let value = one[4] | one[5] << 8 | one[6] << 16 | one[7] << 24
      at += 1
      switch one[0] | one[1] << 8 {
      case 0x20:
        guard value % 4 == 0, value < 64 else { return nil }
        register = data[Int(value / 4)]
      case 0x15: at += Int(register == value ? one[2] : one[3])
      case 0x35: at += Int(register >= value ? one[2] : one[3])
      case 0x45: at += Int(register & value != 0 ? one[2] : one[3])
      case 0x54: register &= value
      case 0x06: return value
      default: return nil
      }
    }
    return nil
  }

  @Test(arguments: SeccompFilter.Architecture.allCases)
  func everyCallOnTheListIsAllowedWithPlainArguments(_ architecture: SeccompFilter.Architecture) {
    for freedom: SeccompFilter.Freedom in [[], [.processes, .files, .internet, .code]] {
      let filter = SeccompFilter(architecture, freedom)
      #expect(filter.program.count / 8 < 4096)
      for call in SeccompCall.all(freedom) where call.rule == .always {
        guard let number = architecture == .amd64 ? call.amd64 : call.arm64 else { continue }
        #expect(verdict(filter, number, by: architecture.rawValue) == Self.allow, "\(call.name)")
      }
    }
  }

  @Test func numbersAppearOnce() {
    let calls = SeccompCall.all([.processes, .files, .internet, .code])
    #expect(Set(calls.compactMap(\.amd64)).count == calls.compactMap(\.amd64).count)
    #expect(Set(calls.compactMap(\.arm64)).count == calls.compactMap(\.arm64).count)
    #expect(Set(calls.map(\.name)).count == calls.count)
  }

  /// Calls by which others have broken out, by both architectures' numbers.
  @Test func whatIsNotOnTheListDoesNotExist() {
    let calls: [(String, UInt32, UInt32)] = [
      ("ptrace", 101, 117), ("process_vm_readv", 310, 270), ("mount", 165, 40), ("unshare", 272, 97),
      ("setns", 308, 268), ("keyctl", 250, 219), ("add_key", 248, 217), ("bpf", 321, 280),
      ("perf_event_open", 298, 241), ("io_uring_setup", 425, 425), ("userfaultfd", 323, 282), ("chroot", 161, 51),
      ("setuid", 105, 146), ("mknodat", 259, 33), ("open_by_handle_at", 304, 265), ("kexec_load", 246, 104),
      ("init_module", 175, 105), ("finit_module", 313, 273), ("personality", 135, 92), ("openat2", 437, 437),
      ("move_mount", 429, 429), ("fsopen", 430, 430), ("seccomp", 317, 277), ("reboot", 169, 142),
    ]
    for freedom: SeccompFilter.Freedom in [[], [.processes, .files, .internet, .code]] {
      let (intel, arm) = (SeccompFilter(.amd64, freedom), SeccompFilter(.arm64, freedom))
      for (name, one, other) in calls {
        #expect(verdict(intel, one, by: 0xC000_003E) == Self.noSuchCall, "\(name)")
        #expect(verdict(arm, other, by: 0xC000_00B7) == Self.noSuchCall, "\(name)")
      }
    }
  }

  @Test func anotherArchitecturesCallsKill() {
    let filter = SeccompFilter(.amd64, [])
    #expect(verdict(filter, 0, by: 0x4000_0003) == Self.kill)  // i386
    #expect(verdict(filter, 0x4000_0001, by: 0xC000_003E) == Self.kill)  // x32
    #expect(verdict(SeccompFilter(.arm64, []), 63, by: 0xC000_003E) == Self.kill)
  }

  @Test func argumentsDecide() {
    let alone = SeccompFilter(.amd64, [])
    let free = SeccompFilter(.amd64, [.processes, .files, .internet, .code])
    let cases: [(String, UInt32, [UInt32], alone: UInt32, free: UInt32)] = [
      ("a thread", 56, [0x3D_0F00], Self.allow, Self.allow),
      ("a process", 56, [17], Self.notPermitted, Self.allow),
      ("a user namespace", 56, [0x1000_0011], Self.notPermitted, Self.notPermitted),
      ("clone3", 435, [], Self.noSuchCall, Self.noSuchCall),
      ("reading", 257, [0, 0, 0x8_0000], Self.allow, Self.allow),
      ("creating", 257, [0, 0, 0x41], Self.notPermitted, Self.allow),
      ("an unnamed file", 257, [0, 0, 0x41_0002], Self.notPermitted, Self.allow),
      ("AF_UNIX", 41, [1], Self.allow, Self.allow), ("AF_INET", 41, [2], Self.notPermitted, Self.allow),
      ("AF_NETLINK", 41, [16], Self.notPermitted, Self.notPermitted),
      ("AF_ALG", 41, [38], Self.notPermitted, Self.notPermitted),
      ("TIOCSTI", 16, [0, 0x5412], Self.notPermitted, Self.notPermitted),
      ("FIONREAD", 16, [0, 0x541B], Self.allow, Self.allow),
      ("memory", 9, [0, 0, 3, 0x22], Self.allow, Self.allow),
      ("memory to write and run", 9, [0, 0, 7, 0x22], Self.notPermitted, Self.allow),
      ("shared memory", 9, [0, 0, 3, 0x21], Self.notPermitted, Self.allow),
      ("a mapped model", 9, [0, 0, 1, 1, 3], Self.allow, Self.allow),
      ("run what was written", 10, [0, 0, 5], Self.notPermitted, Self.allow),
      ("PR_SET_NAME", 157, [15], Self.allow, Self.allow),
      ("PR_SET_PTRACER", 157, [0x5961_6D61], Self.notPermitted, Self.notPermitted),
    ]
    for (name, number, arguments, expected, more) in cases {
      #expect(verdict(alone, number, arguments, by: 0xC000_003E) == expected, "\(name)")
      #expect(verdict(free, number, arguments, by: 0xC000_003E) == more, "\(name), with freedom")
    }
  }
}
