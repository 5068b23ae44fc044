import Glibc
import Synchronization
import Testing
import Trust

@testable import Storage

@Suite struct VerifiedFileTests {
  private let scratch: Scratch
  private let good = [UInt8](repeating: 7, count: 3 << 20)
  private var path: String { scratch.path + "/file" }
  private var digest: Digest { Digest(of: good) }

  init() throws {
    scratch = Scratch()
    try DurableFile.replace(scratch.path + "/file", with: good)
  }

  private func content(_ file: VerifiedFile) throws -> [UInt8] {
    // As an engine opens it: a description of its own, by the number.
    try #require(try DurableFile.read("/proc/self/fd/\(file.descriptor)"))
  }

  @Test func givesTheFileThatWasHashed() throws {
    let file = try VerifiedFile(path, is: digest)
    #expect(try content(file) == good)
    try file.demandUntouched()
    // Under its name there is another one by now.
    try DurableFile.replace(path, with: [1, 2, 3])
    #expect(try content(file) == good)
    if file.isGuarded { try file.demandUntouched() }
    #expect(throws: StorageError.wrongDigest(path: path)) { try VerifiedFile(path, is: digest) }
  }

  @Test func refusesWhatOthersCanChange() throws {
    func refusal() -> String? {
      do { _ = try VerifiedFile(path, is: digest) } catch StorageError.damaged(_, let reason) { return reason } catch {
        return "\(error)"
      }
      return nil
    }
    #expect(refusal() == nil)
    for mode: mode_t in [0o620, 0o602, 0o666] {
      chmod(path, mode)
      #expect(refusal() == "it can be written by other accounts")
    }
    chmod(path, 0o600)
    chmod(scratch.path, 0o777)
    #expect(refusal() == "its folder can be written by other accounts")
    chmod(scratch.path, 0o700)
    rename(path, path + ".real")
    symlink(path + ".real", path)
    #expect(refusal() == "it is a symbolic link")
    unlink(path)
    mkdir(scratch.path + "/real", 0o700)
    rename(path + ".real", scratch.path + "/real/file")
    symlink(scratch.path + "/real", scratch.path + "/link")
    #expect(throws: StorageError.self) { try VerifiedFile(scratch.path + "/link/file", is: digest) }
    mkfifo(path, 0o600)
    #expect(refusal() == "it is no plain file")
    unlink(path)
    #expect(throws: StorageError.notFound(path: path)) { try VerifiedFile(path, is: digest) }
  }

  @Test func aWriterWaitsAndIsNoticed() throws {
    guard try VerifiedFile(path, is: digest).isGuarded else { return }
    let writer: pid_t
    do {
      let file = try VerifiedFile(path, is: digest)
      writer = fork0("echo x >> \(path)")
      for _ in 0..<200 where (try? file.demandUntouched()) != nil { usleep(10_000) }
      #expect(throws: StorageError.busy(path: path)) { try file.demandUntouched() }
      #expect(try content(file) == good, "the writer was let in")
    }
    waitpid(writer, nil, 0)
    #expect(throws: StorageError.wrongDigest(path: path)) { try VerifiedFile(path, is: digest) }
  }

  @Test func nothingIsVerifiedUnderAWritersHands() throws {
    guard try VerifiedFile(path, is: digest).isGuarded else { return }
    let held = try OpenFile(path, O_RDWR)
    #expect(throws: StorageError.busy(path: path)) { try VerifiedFile(path, is: digest) }
    withExtendedLifetime(held) {}
  }

  /// Somebody swaps the file without a pause, in every way; whatever is taken for verified has the right bytes, when it
  /// is taken and as long as it counts as untouched.
  @Test func aRacingSwapperGetsNoByteIn() throws {
    let (path, good, digest) = (path, good, digest)
    try DurableFile.replace(path + ".good", with: good)
    var bad = good
    bad[good.count / 2] ^= 1
    try DurableFile.replace(path + ".bad", with: bad)
    let script = """
      cd \(scratch.path); n=0; while [ ! -e stop ]; do
        ln -f file.bad x && mv -f x file; ln -sf file.bad x && mv -fT x file
        cp file.good x && mv -f x file; cp file.bad x && mv -f x file
        cp file.good x && mv -f x file
        (printf z | dd of=file bs=1 seek=99 conv=notrunc,nocreat) 2>/dev/null & sleep 0.01
        cp file.good x && mv -f x file; n=$((n+1))
      done; wait
      """
    let swapper = fork0(script)
    var (taken, refused, seen) = (0, 0, 0)
    for _ in 0..<400 {
      do {
        let file = try VerifiedFile(path, is: digest)
        taken += 1
        for _ in 0..<3 {
          let bytes = try content(file)
          // The order matters: what was read is looked at only if nobody touched it by then.
          guard (try? file.demandUntouched()) != nil else { break }
          seen += 1
          #expect(Digest(of: bytes) == digest)
        }
      } catch is StorageError {
        refused += 1
      }
    }
    try DurableFile.replace(scratch.path + "/stop", with: [])
    waitpid(swapper, nil, 0)
    #expect(taken > 0 && refused > 0 && seen > 0, "\(taken) taken, \(refused) refused, \(seen) looked at")
  }

  /// A shell of its own, which the test waits for.
  private func fork0(_ script: String) -> pid_t {
    var pid = pid_t()
    let arguments: [String] = ["/bin/sh", "-c", script]
    var words: [UnsafeMutablePointer<CChar>?] = arguments.map { strdup($0) } + [nil]
    defer { for word in words { free(word) } }
    posix_spawn(&pid, "/bin/sh", nil, nil, &words, environ)
    return pid
  }
}
