import Fleet
import FoundationEssentials
import Models
import Storage
import Testing
import Trust

extension Fuzz {
  /// Signed metadata that lies on a box's disk, damaged in every way: a voucher is believed only as it was signed.
  @Test func vouchers() throws {
    let far = Date(timeIntervalSince1970: 4_000_000_000)
    let (rootKey, key) = (SigningKey.generate(), SigningKey.generate())
    let device = DeviceID(key: key.verifyingKey)
    func role(_ key: SigningKey) -> (keys: [TUFKey], threshold: Int) { ([TUFKey(ed25519: key.verifyingKey)], 1) }
    let roles: [TUFRole: (keys: [TUFKey], threshold: Int)] = [
      .root: role(rootKey), .targets: role(key), .snapshot: role(key), .timestamp: role(key),
    ]
    let root = try TUFWriter.root(version: 1, expires: far, roles: roles).signed(by: [rootKey])
    let directorRoot = try TUFWriter.root(version: 1, expires: far, roles: roles)
      .bound(to: TUFBinding(repository: TUFBinding.director)).signed(by: [rootKey])
    let manifest = ModelManifest(
      name: try #require(ModelName("tiny")), version: try #require(ModelVersion("1")), fileName: "a.gguf", length: 9,
      sha256: Digest(of: [1]), index: .init(length: 1, sha256: Digest(of: [2])), architecture: "llama",
      contextLength: 0)
    let target = TUFTarget(
      path: manifest.targetPath, length: manifest.length, sha256: manifest.sha256, custom: manifest.customJSON)
    let list = try TUFWriter.targets(version: 1, expires: far, targets: [target]).signed(by: [key])
    let chosen = try TUFWriter.targets(version: 1, expires: far, targets: [target])
      .bound(to: TUFBinding(device: device.hex)).signed(by: [key])
    let honest = Voucher(
      roots: [root], lists: [.init(role: "targets", bytes: list)], directorRoot: directorRoot, directorTargets: chosen)
    var other = manifest
    other.sha256 = Digest(of: [7])
    for (name, sample, change) in [
      ("root", root, { (voucher: inout Voucher, bytes: [UInt8]) in voucher.roots = [bytes] }),
      ("list", list, { $0.lists = [.init(role: "targets", bytes: $1)] }),
      ("director's root", directorRoot, { $0.directorRoot = $1 }),
      ("director's word", chosen, { $0.directorTargets = $1 }),
    ] as [(String, [UInt8], (inout Voucher, [UInt8]) -> Void)] {
      Self.feed("voucher: \(name)", [sample]) { input in
        var voucher = honest
        change(&voucher, input)
        #expect(throws: Voucher.Failure.self) { try voucher.demand(other, device: device, anchor: Digest(of: root)) }
        try voucher.demand(manifest, device: device, anchor: Digest(of: root))
      }
    }
  }

  @Test func adapterHeaders() {
    func le(_ value: UInt64, _ width: Int) -> [UInt8] {
      (0..<width).map { UInt8(truncatingIfNeeded: value >> (8 * UInt64($0))) }
    }
    func string(_ text: String) -> [UInt8] { le(UInt64(text.utf8.count), 8) + Array(text.utf8) }
    var file = Array("GGUF".utf8) + le(3, 4) + le(0, 8) + le(3, 8)
    for (key, value) in [("general.architecture", "llama"), ("general.type", "adapter"), ("adapter.type", "lora")] {
      file += string(key) + le(8, 4) + string(value)
    }
    file += [UInt8](repeating: 0, count: 256 - file.count)
    Self.feed("adapter", [file]) { input in
      try GGUFHeader.parse(bytes: input).demand(.adapter, architecture: "llama")
    }
  }
}
