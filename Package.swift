// swift-tools-version: 6.2
import PackageDescription

// The layers of docs/architecture.md: domain, adapters, composition, programs. Arrows point down only;
// Tests/ArchitectureTests proves it.

let strict: [SwiftSetting] = [.swiftLanguageMode(.v6), .treatAllWarnings(as: .error)]

func module(_ name: String, _ dependencies: [Target.Dependency]) -> Target {
  .target(name: name, dependencies: dependencies, swiftSettings: strict)
}
func program(_ name: String, _ dependencies: [Target.Dependency]) -> Target {
  .executableTarget(name: name, dependencies: dependencies, swiftSettings: strict)
}
func tests(_ name: String, _ dependencies: [Target.Dependency]) -> Target {
  .testTarget(name: name + "Tests", dependencies: dependencies, swiftSettings: strict)
}

let small: [LinkerSetting] = [.unsafeFlags(["-nostartfiles", "-static-stdlib"])]
let domain: [Target.Dependency] = ["Trust", "Access", "Models", "Fleet"]

let package = Package(
  name: "skerry",
  products: [
    .executable(name: "skerryd", targets: ["skerryd"]),
    .executable(name: "skerry", targets: ["skerry"]),
    .executable(name: "skerry-hub", targets: ["skerry-hub"]),
    .executable(name: "skerry-confine", targets: ["skerry-confine"]),
  ],
  targets: [
    // C libraries, each wrapped once.
    .systemLibrary(name: "COpenSSL", pkgConfig: "libcrypto", providers: [.apt(["libssl-dev"])]),
    .systemLibrary(name: "CSQLite", pkgConfig: "sqlite3", providers: [.apt(["libsqlite3-dev"])]),
    .systemLibrary(name: "CCurl", pkgConfig: "libcurl", providers: [.apt(["libcurl4-openssl-dev"])]),
    .systemLibrary(name: "CMicroHTTPD", pkgConfig: "libmicrohttpd", providers: [.apt(["libmicrohttpd-dev"])]),
    .systemLibrary(name: "CSystemd", pkgConfig: "libsystemd", providers: [.apt(["libsystemd-dev"])]),
    .systemLibrary(name: "CZstd", pkgConfig: "libzstd", providers: [.apt(["libzstd-dev"])]),

    // fork, exec and signal handlers, which Swift can't express.
    .target(name: "CProcess"),

    // Holes in files, which Swift's Glibc does not show.
    .target(name: "CFile"),

    // The first program inside an engine's sandbox, and what tries to break out of it in tests. Inside there is no Swift
    // runtime, which the linker is told to leave out.
    .executableTarget(name: "skerry-confine", linkerSettings: small),
    .executableTarget(name: "skerry-probe", linkerSettings: small),

    // libedit, whose functions take variable arguments.
    .target(name: "CEdit", linkerSettings: [.linkedLibrary("edit")]),

    // Domain: bytes and values in, decisions out.
    module("Trust", ["COpenSSL"]),
    module("Access", ["Trust"]),
    module("Models", ["Trust"]),
    module("Fleet", ["Trust", "Models"]),

    // Adapters.
    module("Storage", ["Trust", "Models", "CFile", "CSQLite", "CZstd"]),
    module("Web", ["Trust", "CCurl", "CMicroHTTPD"]),
    module("Host", ["CSystemd", "CProcess"]),
    module("CommandLine", []),
    module("LineEditing", ["CEdit"]),

    // Composition.
    module("Agent", domain + ["Storage", "Web", "Host"]),
    module("Hub", domain + ["Storage", "Web", "Host"]),

    // Programs.
    program("skerryd", ["Agent", "CommandLine"]),
    program("skerry", domain + ["Storage", "Web", "Host", "CommandLine", "LineEditing"]),
    program("skerry-hub", ["Hub", "CommandLine", "Fleet", "Host", "Storage", "Trust"]),

    program("skerry-tuf-client", ["Trust", "Storage", "Web", "CommandLine"]),
    program("skerry-bench", ["Agent", "Access", "Trust"]),

    tests("Trust", ["Trust"]),
    tests("Access", ["Access", "Trust"]),
    tests("Models", ["Models", "Trust"]),
    tests("Fleet", ["Fleet", "Trust"]),
    tests("Storage", ["Storage", "Trust", "Models"]),
    tests("Web", ["Web", "Trust"]),
    tests("Host", ["Host"]),
    tests("CommandLine", ["CommandLine"]),
    tests("LineEditing", ["LineEditing"]),
    tests("CLI", ["skerry", "CommandLine", "Web", "Fleet", "Access", "Trust"]),
    tests("Agent", domain + ["Agent", "Storage", "Web", "Host"]),
    tests("Hub", domain + ["Hub", "Storage", "Web", "Host"]),
    tests("Architecture", []),
    tests("Fuzz", domain + ["Agent", "Storage"]),
  ]
)
