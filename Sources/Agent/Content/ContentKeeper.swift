import Fleet
import Host
import Storage
import Synchronization
import Trust

/// Prompts and answers that a role's policy asks to keep: encrypted, outside the audit log, until their day comes or
/// somebody erases them. The log has the digest of what is on disk, so that its proofs hold for it while it is there, and
/// hold without it afterwards.
///
/// `content/DAY.SUFFIX/TIME-ID.prompt` and `.answer`: AES-256-GCM under a key of the file's own, which stands before it
/// wrapped by the key of the day on which the content is to go, `keys/content/DAY.SUFFIX.key`. Destroying that key makes all
/// of that day unreadable, wherever copies of the files may be.
final class ContentKeeper: Sendable {
  /// Which text of an inference.
  enum Part: String, CaseIterable { case prompt, answer }

  /// Where the content of one inference lies: `DAY.SUFFIX/TIME-ID`.
  struct Place: Sendable, Hashable, CustomStringConvertible {
    let key: String
    let name: String
    var description: String { "\(key)/\(name)" }

    fileprivate init(key: String, name: String) {
      self.key = key
      self.name = name
    }

    /// Nil for what no record of ours says.
    init?(_ text: String) {
      let parts = text.split(separator: "/", omittingEmptySubsequences: false)
      func isPlain(_ part: Substring) -> Bool {
        !part.isEmpty && part.utf8.count <= 64 && !part.hasPrefix(".")
          && part.utf8.allSatisfy {
            (0x30...0x39).contains($0) || (0x61...0x7A).contains($0) || $0 == 0x2E || $0 == 0x2D
          }
      }
      guard parts.count == 2, parts.allSatisfy(isPlain) else { return nil }
      (key, name) = (String(parts[0]), String(parts[1]))
    }

    /// When it was kept, in Unix seconds.
    var time: Int64? { name.split(separator: "-").first.flatMap { Int64($0) } }
  }

  /// There is no room left in which a prompt could be kept, so that it must not be answered.
  struct Full: Error, CustomStringConvertible {
    let limit: UInt64
    var description: String {
      "the role asks to keep what is asked and answered, and the \(limit >> 20) MiB for that are used up"
    }
  }

  /// What is kept of one answer, in bytes; more of it is cut.
  static let longestAnswer = 1 << 20

  private let folder: String
  private let keys: PeriodKeys
  private let limit: UInt64
  private let now: @Sendable () -> Int64
  /// Bytes on disk, and such as are set aside for answers.
  private let used: Mutex<UInt64>

  /// - Parameters:
  ///   - limit: how many bytes may be used in all.
  ///   - now: the believed time in Unix seconds.
  ///
  /// Throws a `StorageError`.
  init(stateDirectory: String, limit: UInt64, now: @escaping @Sendable () -> Int64) throws {
    folder = stateDirectory + "/content"
    self.limit = limit
    self.now = now
    try DurableFile.makeDirectory(folder)
    keys = try PeriodKeys(folder: stateDirectory + "/keys/content")
    let alive = Set(try keys.names())
    var bytes: UInt64 = 0
    for day in try DurableFile.names(in: folder) {
      // Its key was destroyed before the files could go.
      guard alive.contains(day) else {
        try ContentKeeper.remove(folder + "/" + day)
        continue
      }
      for file in try DurableFile.names(in: "\(folder)/\(day)") {
        if file.hasSuffix(".tmp") { try DurableFile.destroy("\(folder)/\(day)/\(file)") }
        bytes += DurableFile.size("\(folder)/\(day)/\(file)") ?? 0
      }
    }
    used = Mutex(bytes)
  }

  var bytes: UInt64 { used.withLock { $0 } }

  /// Keeps a prompt for so many days; it is on disk when this returns. Throws `Full` or a `StorageError`: then it must not
  /// go to an engine.
  func keep(_ prompt: [UInt8], days: Int) throws -> KeptContent {
    let time = now()
    let room = UInt64(prompt.count + ContentKeeper.longestAnswer) + 1024
    try used.withLock { used in
      guard used + room <= limit else { throw Full(limit: limit) }
      used += room
    }
    do {
      let key = try keys.key(for: String((time + 86_399) / 86_400 + Int64(days)))
      try DurableFile.makeDirectory("\(folder)/\(key.name)")
      let place = Place(key: key.name, name: "\(time)-\(Hex.encode(SecureRandom.bytes(8)))")
      let digest = try write(prompt, .prompt, place, key)
      return KeptContent(place: place, prompt: digest, room: room, key: key, keeper: self)
    } catch {
      used.withLock { $0 -= min($0, room) }
      throw error
    }
  }

  /// Gives back the room that was set aside and not used.
  func settle(_ place: Place, room: UInt64) {
    let taken = Part.allCases.reduce(UInt64(0)) { $0 + (DurableFile.size(path(place, $1)) ?? 0) }
    used.withLock { $0 = $0 - min($0, room) + taken }
  }

  /// The digest of the file.
  func write(_ text: [UInt8], _ part: Part, _ place: Place, _ key: PeriodKeys.Key) throws -> Digest {
    let name = Array("\(place).\(part.rawValue)".utf8)
    let own = SecureRandom.bytes(AESGCM.keyLength)
    let file =
      AESGCM.seal(own, key: key.bytes, additional: name) + AESGCM.seal(text, key: own, additional: name)
    try DurableFile.replace(path(place, part), with: file)
    return Digest(of: file)
  }

  /// What was kept; nil when it is gone. Throws a `StorageError`, `.damaged` when it is not what the record says.
  func read(_ place: Place, _ part: Part, digest: Digest) throws -> [UInt8]? {
    guard let key = try keys.key(named: place.key), let file = try DurableFile.read(path(place, part), limit: 1 << 30)
    else { return nil }
    let wrapped = AESGCM.keyLength + AESGCM.overhead
    let name = Array("\(place).\(part.rawValue)".utf8)
    guard Digest(of: file) == digest, file.count >= wrapped,
      let own = AESGCM.open(Array(file[..<wrapped]), key: key.bytes, additional: name),
      let text = AESGCM.open(Array(file[wrapped...]), key: own, additional: name)
    else { throw StorageError.damaged(path: path(place, part), reason: "it is not what the record says") }
    return text
  }

  /// Everything that is there, with when it was kept.
  func places() throws -> [Place] {
    try DurableFile.names(in: folder).flatMap { day in
      Set(try DurableFile.names(in: "\(folder)/\(day)").map { String($0.prefix { $0 != "." }) }).sorted()
        .map { Place(key: day, name: $0) }
    }
  }

  func isThere(_ place: Place) -> Bool { Part.allCases.contains { DurableFile.exists(path(place, $0)) } }

  /// Destroys the content of these inferences. Throws a `StorageError`.
  func erase(_ places: [Place]) throws {
    for place in places {
      for part in Part.allCases {
        let size = DurableFile.size(path(place, part)) ?? 0
        try DurableFile.destroy(path(place, part))
        used.withLock { $0 -= min($0, size) }
      }
    }
  }

  /// The keys whose day has come by this time, in Unix seconds.
  func over(at now: Int64) throws -> [String] {
    try keys.names().filter { (Int64(PeriodKeys.period(of: $0)) ?? .max) * 86_400 <= now }
  }

  /// Destroys these keys and then what was kept under them. Throws a `StorageError`.
  func destroy(_ names: [String]) throws {
    try keys.destroy(names)
    for name in names {
      var size: UInt64 = 0
      for file in try DurableFile.names(in: "\(folder)/\(name)") {
        size += DurableFile.size("\(folder)/\(name)/\(file)") ?? 0
      }
      try ContentKeeper.remove("\(folder)/\(name)")
      used.withLock { $0 -= min($0, size) }
    }
  }

  private func path(_ place: Place, _ part: Part) -> String { "\(folder)/\(place).\(part.rawValue)" }

  private static func remove(_ day: String) throws {
    for file in try DurableFile.names(in: day) { try DurableFile.remove(day + "/" + file) }
    try DurableFile.removeDirectory(day)
  }
}

/// What is kept of one inference: its prompt, and in the end its answer.
final class KeptContent: Sendable {
  let place: ContentKeeper.Place
  let prompt: Digest
  private let room: UInt64
  private let key: PeriodKeys.Key
  private let keeper: ContentKeeper
  private let answer = Mutex<(whole: Aggregation?, bytes: Int, isCut: Bool)>((nil, 0, false))

  fileprivate init(place: ContentKeeper.Place, prompt: Digest, room: UInt64, key: PeriodKeys.Key, keeper: ContentKeeper)
  {
    self.place = place
    self.prompt = prompt
    self.room = room
    self.key = key
    self.keeper = keeper
  }

  /// A piece of the answer came from the engine.
  func add(_ chunk: JSONValue, bytes: Int, _ endpoint: InferenceRequest.Endpoint, _ shape: AnswerShape) {
    answer.withLock { answer in
      if answer.whole == nil { answer.whole = Aggregation(endpoint, shape) }
      // An event is longer than the text in it.
      guard answer.bytes + bytes <= 8 * ContentKeeper.longestAnswer else {
        answer.isCut = true
        return
      }
      answer.bytes += bytes
      answer.whole?.add(chunk)
    }
  }

  /// Keeps what came of the answer; the members of the record that tell of all that is kept. Throws a `StorageError`.
  func finish() throws -> [String: JSONValue] {
    let (whole, _, isCut) = answer.withLock { $0 }
    var fields: [String: JSONValue] = [
      "content": .string(place.description), "contentPrompt": .string(prompt.hex),
    ]
    defer { keeper.settle(place, room: room) }
    if let whole {
      var bytes = whole.response.encoded()
      var isShort = isCut
      if bytes.count > ContentKeeper.longestAnswer {
        // Still JSON: the beginning of the text.
        let text = String(decoding: Array(whole.text.utf8).prefix(ContentKeeper.longestAnswer / 2), as: UTF8.self)
        bytes = JSONValue.string(text).encoded()
        bytes = bytes.count > ContentKeeper.longestAnswer ? JSONValue.string("").encoded() : bytes
        isShort = true
      }
      fields["contentAnswer"] = .string(try keeper.write(bytes, .answer, place, key).hex)
      if isShort { fields["contentCut"] = true }
    }
    return fields
  }
}
