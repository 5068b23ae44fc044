import Fleet
import Trust

/// Decides over a bundle for this box while it comes in. Pure but for what it is given.
struct BundleGate: BundleStage.Gate {
  let device: DeviceID
  var roots: BundleRoots
  /// The newest bundle that was taken in, and the digest of its manifest; 0 and nil before the first.
  let lastSerial: Int64
  let lastManifest: Digest?
  private(set) var signed: SignedBundleManifest?

  /// What stays free on the disk besides the bundle, in bytes.
  static let reserve: UInt64 = 32 << 20

  init(device: DeviceID, roots: BundleRoots, lastSerial: Int64, lastManifest: Digest?) {
    self.device = device
    self.roots = roots
    self.lastSerial = lastSerial
    self.lastManifest = lastManifest
  }

  mutating func manifest(_ signed: SignedBundleManifest, free: UInt64) throws {
    let manifest = signed.manifest
    guard manifest.origin == .hub else {
      throw BundleError.malformed("a box made it for its hub; take it there with `skerry bundle take`")
    }
    guard manifest.devices.contains(device) else { throw BundleError.notForThisBox(devices: manifest.devices.count) }
    let needed = manifest.length + BundleGate.reserve
    guard needed <= free else { throw BundleFailure.noSpace(needed: needed, free: free) }
    self.signed = signed
  }

  mutating func root(_ entry: BundleEntry, _ bytes: [UInt8]) throws {
    do { try roots.take(entry, bytes) } catch { throw BundleFailure.untrustedRoot(error) }
  }

  mutating func rootsEnded() throws {
    guard let signed, signed.isSigned(byOneOf: roots.keys) else { throw BundleError.badSignature }
    // Only now: an attacker's word on its number counts for nothing.
    let serial = signed.manifest.serial
    guard serial > lastSerial || serial == lastSerial && Digest(of: signed.encoded) == lastManifest else {
      throw BundleError.older(serial: serial, have: lastSerial)
    }
  }
}
