/// A system-call filter as the kernel runs it (seccomp(2), classic BPF): a list of calls that a computation needs, some
/// of them only with harmless arguments. What is not on the list fails with ENOSYS, as on a kernel that is older than the
/// call, which every library is prepared for. A list of what is allowed was chosen over one of what is forbidden since the
/// kernel gets new calls every year.
public struct SeccompFilter: Sendable, Hashable {
  /// Numbers and layout of system calls; the raw value is the kernel's AUDIT_ARCH_*.
  public enum Architecture: UInt32, Sendable, CaseIterable {
    case amd64 = 0xC000_003E
    case arm64 = 0xC000_00B7

    /// What this program is compiled for; nil where no filter is known.
    public static var current: Architecture? {
      #if arch(x86_64)
        .amd64
      #elseif arch(arm64)
        .arm64
      #else
        nil
      #endif
    }
  }

  /// What an engine may do besides computing, answering and reading what it is given.
  public struct Freedom: OptionSet, Sendable, Hashable {
    public let rawValue: Int
    public init(rawValue: Int) { self.rawValue = rawValue }

    /// Start processes. Without it only threads.
    public static let processes = Freedom(rawValue: 1 << 0)
    /// Create, rename and remove files, where the sandbox has room for any.
    public static let files = Freedom(rawValue: 1 << 1)
    /// IPv4 and IPv6 sockets; in the sandbox they reach its own loopback and no further. Without it only Unix sockets.
    public static let internet = Freedom(rawValue: 1 << 2)
    /// Make code at run time, and memory that processes share.
    public static let code = Freedom(rawValue: 1 << 3)
  }

  /// `struct sock_filter`s, eight bytes each.
  public let program: [UInt8]

  public init(_ architecture: Architecture, _ freedom: Freedom) {
    var builder = Builder()
    // A call by another architecture's numbers (32-bit, x32) means something else: the process is killed.
    builder.load(4)
    builder.require(architecture.rawValue, else: .killProcess)
    builder.load(0)
    if architecture == .amd64 { builder.refuse(from: 0x4000_0000, .killProcess) }
    for call in SeccompCall.all(freedom) {
      guard let number = architecture == .amd64 ? call.amd64 : call.arm64 else { continue }
      builder.rule(number, call.rule)
    }
    builder.end(.error(38))  // ENOSYS
    program = builder.bytes
  }

  /// What becomes of a call.
  enum Verdict: Hashable {
    case allow, killProcess
    case error(UInt16)

    /// SECCOMP_RET_*.
    var value: UInt32 {
      switch self {
      case .allow: 0x7FFF_0000
      case .killProcess: 0x8000_0000
      case .error(let code): 0x0005_0000 | UInt32(code)
      }
    }
  }
}

/// Which arguments a call may have. Each looks at an argument's lower 32 bits, which is all that these calls look at.
enum SeccompRule: Hashable {
  case always
  /// The argument is one of these.
  case among(argument: Int, [UInt32])
  /// The argument is none of these.
  case except(argument: Int, [UInt32])
  /// None of these bits is set, and all of `with` are.
  case bits(argument: Int, without: UInt32, with: UInt32 = 0)
  /// Never are all of these bits set.
  case notTogether(argument: Int, [UInt32], more: Int? = nil, [UInt32] = [])
  /// Always fails with this errno.
  case fails(UInt16)
}

private struct Builder {
  var bytes: [UInt8] = []

  // BPF_LD|BPF_W|BPF_ABS, BPF_JMP|BPF_{JEQ,JGE,JSET}|BPF_K, BPF_RET|BPF_K, BPF_ALU|BPF_AND|BPF_K
  private static let load: UInt16 = 0x20
  private static let equal: UInt16 = 0x15
  private static let atLeast: UInt16 = 0x35
  private static let anyBit: UInt16 = 0x45
  private static let give: UInt16 = 0x06
  private static let and: UInt16 = 0x54

  private mutating func emit(_ code: UInt16, _ value: UInt32, _ ifTrue: UInt8 = 0, _ ifFalse: UInt8 = 0) {
    bytes += [UInt8(code & 0xFF), UInt8(code >> 8), ifTrue, ifFalse]
    for shift in stride(from: 0, to: 32, by: 8) { bytes.append(UInt8(truncatingIfNeeded: value >> UInt32(shift))) }
  }

  /// Loads 32 bits of `struct seccomp_data`: the call's number at 0, the architecture at 4, arguments from 16 on.
  mutating func load(_ offset: UInt32) { emit(Builder.load, offset) }
  mutating func end(_ verdict: SeccompFilter.Verdict) { emit(Builder.give, verdict.value) }

  mutating func require(_ value: UInt32, else verdict: SeccompFilter.Verdict) {
    emit(Builder.equal, value, 1, 0)
    end(verdict)
  }

  mutating func refuse(from value: UInt32, _ verdict: SeccompFilter.Verdict) {
    emit(Builder.atLeast, value, 0, 1)
    end(verdict)
  }

  /// The number is loaded before each rule, and each rule that matches it ends in a verdict.
  mutating func rule(_ number: UInt32, _ rule: SeccompRule) {
    var block = Builder()
    block.body(rule)
    // Both are far below the 255 instructions that a jump can pass over.
    emit(Builder.equal, number, 0, UInt8(clamping: block.bytes.count / 8))
    bytes += block.bytes
  }

  private mutating func argument(_ index: Int) { load(UInt32(16 + 8 * index)) }

  private mutating func body(_ rule: SeccompRule) {
    let refused = SeccompFilter.Verdict.error(1)  // EPERM
    switch rule {
    case .always: end(.allow)
    case .fails(let code): end(.error(code))
    case .among(let index, let values):
      argument(index)
      for value in values {
        emit(Builder.equal, value, 0, 1)
        end(.allow)
      }
      end(refused)
    case .except(let index, let values):
      argument(index)
      for value in values {
        emit(Builder.equal, value, 0, 1)
        end(refused)
      }
      end(.allow)
    case .bits(let index, let without, let with):
      argument(index)
      emit(Builder.anyBit, without, 0, 1)
      end(refused)
      if with != 0 {
        emit(Builder.and, with)
        emit(Builder.equal, with, 1, 0)
        end(refused)
      }
      end(.allow)
    case .notTogether(let index, let sets, let more, let others):
      for set in sets { never(index, set) }
      if let more {
        for set in others { never(more, set) }
      }
      end(.allow)
    }
  }

  /// Refuses when all these bits of the argument are set.
  private mutating func never(_ index: Int, _ set: UInt32) {
    argument(index)
    emit(Builder.and, set)
    emit(Builder.equal, set, 0, 1)
    end(.error(1))
  }
}
