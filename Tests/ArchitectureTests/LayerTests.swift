import FoundationEssentials
import Testing

/// The arrows of docs/architecture.md, proved on the sources themselves.
@Suite struct LayerTests {
  static let domain = ["Trust", "Access", "Models", "Fleet"]
  static let adapters = ["Storage", "Web", "Host", "CommandLine", "LineEditing"]
  static let composition = ["Agent", "Hub"]
  static let wrappers = [
    "CSQLite": "Storage", "CZstd": "Storage", "CFile": "Storage", "CCurl": "Web", "CMicroHTTPD": "Web",
    "COpenSSL": "Trust",
    "CSystemd": "Host", "CProcess": "Host", "CEdit": "LineEditing",
  ]
  static let root = #filePath.split(separator: "/").dropLast(3).reduce("") { $0 + "/" + $1 }

  struct Import: CustomStringConvertible {
    let target: String
    let file: String
    let module: String
    let text: String
    var description: String { "\(target)/\(file): \(text)" }
  }

  static func imports() throws -> [Import] {
    let files = FileManager.default
    var found: [Import] = []
    let sources = root + "/Sources"
    for target in try files.contentsOfDirectory(atPath: sources) {
      for path in try files.subpathsOfDirectory(atPath: sources + "/" + target) where path.hasSuffix(".swift") {
        let data = try #require(files.contents(atPath: "\(sources)/\(target)/\(path)"))
        for line in String(decoding: data, as: UTF8.self).split(separator: "\n") {
          let words = line.split(separator: " ").map(String.init)
          guard let at = words.firstIndex(of: "import"), at < 2, words.count > at + 1, !line.hasPrefix("//") else {
            continue
          }
          let module = words[at + 1].split(separator: ".").first.map(String.init) ?? words[at + 1]
          found.append(Import(target: target, file: path, module: module, text: String(line)))
        }
      }
    }
    return found
  }

  @Test func everyTargetIsSeen() throws {
    let seen = Set(try Self.imports().map(\.target))
    for target in Self.domain + Self.adapters + Self.composition where target != "CommandLine" {
      #expect(seen.contains(target), "no import was found in \(target): is this test looking in the right place?")
    }
  }

  @Test func theDomainKnowsNoAdapterNoNetworkAndNoClibraryButOpenSSL() throws {
    let forbidden = Set(Self.adapters + Self.composition + ["FoundationNetworking", "Foundation", "Glibc", "Dispatch"])
    for item in try Self.imports() where Self.domain.contains(item.target) {
      #expect(!forbidden.contains(item.module), "\(item)")
      if Self.wrappers[item.module] != nil {
        #expect(item.module == "COpenSSL" && item.target == "Trust", "\(item)")
      }
    }
  }

  @Test func adaptersDoNotKnowWhoComposesThem() throws {
    for item in try Self.imports() where Self.adapters.contains(item.target) {
      #expect(!Self.composition.contains(item.module), "\(item)")
    }
  }

  @Test func agentAndHubDoNotKnowEachOther() throws {
    for item in try Self.imports() where item.target == "Agent" { #expect(item.module != "Hub", "\(item)") }
    for item in try Self.imports() where item.target == "Hub" { #expect(item.module != "Agent", "\(item)") }
  }

  @Test func eachCLibraryIsWrappedOnceAndStaysInside() throws {
    for item in try Self.imports() {
      guard let owner = Self.wrappers[item.module] else { continue }
      #expect(item.target == owner, "\(item)")
      #expect(item.text.hasPrefix("internal import"), "\(item) should be an internal import")
    }
  }

  @Test func nothingShipsTheWholeOfFoundation() throws {
    for item in try Self.imports() {
      #expect(item.module != "Foundation" && item.module != "FoundationNetworking", "\(item)")
    }
  }

  @Test func theSourcesHaveNoForceTry() throws {
    let files = FileManager.default
    for path in try files.subpathsOfDirectory(atPath: Self.root + "/Sources") where path.hasSuffix(".swift") {
      let data = try #require(files.contents(atPath: Self.root + "/Sources/" + path))
      #expect(!String(decoding: data, as: UTF8.self).contains("try!"), "\(path)")
    }
  }
}
