#!/usr/bin/env bash
# Step 1 of the demo needs a shell; the rest is scripts/demo.py.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
cd "$ROOT"
command -v swift >/dev/null || die 'the demo needs Swift 6.3 on PATH (https://www.swift.org/install/linux)'
command -v python3 >/dev/null || die 'the demo needs Python 3'
exec python3 -u scripts/demo.py
