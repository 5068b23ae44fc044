import Glibc
import Trust

extension AgentConfiguration.Engine {
  static func devices(_ field: JSONField) throws(JSONFieldError) -> [String] {
    let allowed = "[\"auto\"], or device nodes or folders of them below /dev, such as \"/dev/dri\""
    var found: [String] = []
    for element in try field.array(of: "strings") { found.append(try element.string(allowed)) }
    if found == ["auto"] { return found }
    for path in found {
      guard path.hasPrefix("/dev/"), !path.contains("/.."), !path.utf8.contains(0), path.utf8.count < 256 else {
        throw field.wrong("\"\(path)\" is none", allowed: allowed)
      }
    }
    return found
  }
}
