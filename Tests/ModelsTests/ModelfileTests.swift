import Models
import Testing
import Trust

@Suite struct ModelfileTests {
  @Test func theFourInstructionsAreRead() throws {
    let file = try Modelfile(
      parsing: """
        # a pirate
        from smollm2-135m:1.0.0
        PARAMETER temperature 0.5
        PARAMETER num_predict 20
        parameter stop "</s>"
        PARAMETER stop END
        SYSTEM \"\"\"You are "Ada",
        a pirate.\"\"\"
        MESSAGE user   who are you?
        MESSAGE assistant "arr, "quoted" words"
        """)
    #expect(file.from == "smollm2-135m:1.0.0")
    #expect(file.parameters == ["temperature": .double(0.5), "num_predict": 20, "stop": ["</s>", "END"]])
    #expect(file.system == "You are \"Ada\",\na pirate.")
    #expect(
      file.messages == [
        .init(role: "user", content: "who are you?"), .init(role: "assistant", content: "arr, \"quoted\" words"),
      ])
    #expect(try Modelfile(parsing: "FROM a\r\nSYSTEM b\r\n") == Modelfile(from: "a", system: "b"))
  }

  @Test(arguments: [
    ("SYSTEM x", "there is no FROM"), ("FROM a\nFROM b", "FROM stands twice"), ("FROM", "a value is missing"),
    ("FROM a\nTEMPLATE x", "line 2: TEMPLATE is refused"), ("FROM a\nADAPTER x", "ADAPTER is refused"),
    ("FROM a\nLICENSE x", "LICENSE is refused"), ("FROM a\nRUN rm", "unknown instruction RUN"),
    ("FROM a\nPARAMETER tempo 1", "unknown parameter 'tempo'"),
    ("FROM a\nPARAMETER temperature hot", "temperature must be a number"),
    ("FROM a\nPARAMETER num_predict 1.5", "num_predict must be a whole number"),
    ("FROM a\n\nSYSTEM \"\"\"never", "line 3: a quoted value has no end"), ("", "there is no FROM"),
  ])
  func whatIsWrongIsNamed(_ text: String, _ reason: String) {
    let error = #expect(throws: ModelfileError.self) { try Modelfile(parsing: text) }
    #expect(error?.description.contains(reason) == true, "\(error?.description ?? "")")
  }

  @Test func whatIsWrittenIsReadBack() throws {
    var random = SystemRandomNumberGenerator()
    let pieces = ["\"", "\"\"", "\n", "a", " ", "#", "SYSTEM", "\t", "é", "\"\"\"x", "\r;"]
    func text() -> String {
      var text = "x" + (0..<Int.random(in: 0..<8, using: &random)).map { _ in pieces.randomElement() ?? "" }.joined()
      // The one thing that the format can't say: three quotes at the end of a line inside of a value.
      while text.contains("\"\"\"\n") || text.contains("\"\"\" ") || text.contains("\"\"\"\t")
        || text.contains("\"\"\"\r")
      {
        text = text.replacing("\"\"\"", with: "\"\"")
      }
      return text
    }
    for _ in 0..<2000 {
      let file = Modelfile(
        from: "a:1", system: text(), parameters: ["stop": [.string(text())], "seed": 3, "top_p": .double(0.25)],
        messages: [.init(role: "user", content: text())])
      #expect(try Modelfile(parsing: file.description) == file, "\(file)")
    }
  }

  @Test func variantsAreChecked() throws {
    #expect(try ModelVariant(name: "ada:latest", base: "m").name == "ada")
    for name in ["", "Ada", "a/b", "a:", "a:b:c", String(repeating: "a", count: 65)] {
      #expect(throws: VariantError.self) { try ModelVariant(name: name, base: "m") }
    }
    #expect(throws: VariantError.base("./x.gguf")) { try ModelVariant(name: "a", base: "./x.gguf") }
    #expect(throws: VariantError.parameter("tempo")) {
      try ModelVariant(name: "a", base: "m", parameters: ["tempo": 1])
    }
    #expect(throws: VariantError.role("tool")) {
      try ModelVariant(name: "a", base: "m", messages: [.init(role: "tool", content: "x")])
    }
    #expect(throws: VariantError.self) {
      try ModelVariant(name: "a", base: "m", system: String(repeating: "x", count: 65537))
    }
    let one = try ModelVariant(name: "a", base: "m", parameters: ["num_ctx": 1, "seed": .null])
    #expect(one.idleParameters == ["num_ctx"] && one.parameters["seed"] == nil)
    #expect(try one.definitionDigest == ModelVariant(name: "b", base: "m", parameters: ["num_ctx": 1]).definitionDigest)
  }
}
