// What `make bench` measures inside one process; scripts/bench.py measures the programs. One JSON object a line.
try await AuditBench.run()
try AccessBench.run()
try DigestBench.run()
