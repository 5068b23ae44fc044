// What `make bench` measures inside one process; scripts/bench*.py measure the programs. One JSON object a line.
//
// With `--wait` it does nothing: how often the Swift runtime wakes up by itself. `skerry-bench records N` writes the records
// of a long audit log, for scripts/bench_audit.py; `skerry-bench append FOLDER WRITERS` appends to one until it is killed, for
// Tests/E2E/test_audit_chaos.py.
let arguments = CommandLine.arguments.dropFirst()
switch (arguments.first, arguments.count) {
case ("--wait", _): try await Task.sleep(for: .seconds(600))
case ("records", 2): try AuditRecords.write(Int(arguments.last ?? "") ?? 0)
case ("append", 3):
  try await AuditAppender.run(arguments.dropFirst().first ?? "", writers: Int(arguments.last ?? "") ?? 1)
default:
  try await AuditBench.run()
  try AccessBench.run()
  try DigestBench.run()
}
