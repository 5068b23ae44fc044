// What `make bench` measures inside one process; scripts/bench.py measures the programs. One JSON object a line.
// With `--wait` it does nothing: how often the Swift runtime wakes up by itself.
if CommandLine.arguments.contains("--wait") { try await Task.sleep(for: .seconds(600)) }
try await AuditBench.run()
try AccessBench.run()
try DigestBench.run()
