import CommandLine
import Fleet
import Trust

let auditSchemaSpec = CommandSpec(
  "schema", "print the schema of audit records (JSON Schema 2020-12)",
  discussion: """
    Every line of the log, and every record of an export, is valid against it: kinds, members, types and lengths. \
    docs/audit.md has the same as a table. Needs no agent.
    """,
  examples: [Example("skerry audit schema > audit-record.schema.json", "for a validator, or a collector's parser")])

let auditSchema: Runner = { invocation in
  invocation.answer(AuditSchema.document) { String(decoding: AuditSchema.document.encodedPretty(), as: UTF8.self) }
}
