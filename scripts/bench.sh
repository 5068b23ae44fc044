#!/usr/bin/env bash
# One JSON object a line on stdout: {"name","value","unit","against","ratio"}. Progress goes to stderr.
set -euo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/lib.sh"
cd "$ROOT"
scripts/setup.sh packages
SKERRY_LLAMA_SERVER=$(scripts/setup.sh engine)
SKERRY_TEST_WEIGHTS=$(scripts/setup.sh weights)
SKERRY_RIVAL_PYTHON=$(scripts/setup.sh rival)
export SKERRY_LLAMA_SERVER SKERRY_TEST_WEIGHTS SKERRY_RIVAL_PYTHON
build=(swift build -c release --static-swift-stdlib --explicit-target-dependency-import-check error)
say 'building in release mode'
log=$(mktemp)
trap 'rm -f "$log"' EXIT
quietly "$log" "${build[@]}"
bin=$("${build[@]}" --show-bin-path)
export SKERRY_BIN=$bin/skerry SKERRYD_BIN=$bin/skerryd SKERRY_HUB_BIN=$bin/skerry-hub SKERRY_BENCH=$bin/skerry-bench
"$bin/skerry-bench"
python3 scripts/bench_inference.py
python3 scripts/bench_fairness.py
python3 scripts/bench.py
python3 scripts/bench_transfer.py
python3 scripts/bench_audit.py
