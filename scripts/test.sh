#!/usr/bin/env bash
# Runs the tests, all of them or one kind: unit, e2e, system, chaos, fuzz. Installs what they need first.
set -euo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/lib.sh"
cd "$ROOT"
what=${1:-all}
STRICT='--explicit-target-dependency-import-check error'

wants() { [ "$what" = all ] || [ "$what" = "$1" ]; }
heading() { printf '\n== %s\n' "$*"; }

heading 'What the tests need'
scripts/setup.sh packages
engine=$(scripts/setup.sh engine)
weights=$(scripts/setup.sh weights)
gemma=$(scripts/setup.sh gemma)
python=$(scripts/setup.sh venv)
SKERRY_TLOG_PEER=$(scripts/setup.sh tlog)
export SKERRY_TLOG_PEER
export SKERRY_LLAMA_SERVER=$engine SKERRY_TEST_WEIGHTS=$weights SKERRY_TEST_GEMMA=$gemma SKERRY_PEERS_PYTHON=$python

if [ "$what" = fuzz ]; then
  heading 'Fuzz: random bytes into every parser, optimised'
  # A build of its own: what ships is not built for tests.
  fast="-c release --scratch-path .build/fuzz $STRICT"
  # shellcheck disable=SC2086
  swift build --build-tests -Xswiftc -enable-testing $fast
  # shellcheck disable=SC2086
  COUNT=${COUNT:-1000000} swift test --skip-build --filter Fuzz $fast
  exit
fi

heading 'Build'
# shellcheck disable=SC2086
swift build --build-tests $STRICT
bin=$(swift build --show-bin-path)
export SKERRY_BIN=$bin/skerry SKERRYD_BIN=$bin/skerryd SKERRY_HUB_BIN=$bin/skerry-hub

if wants unit; then
  heading 'Format'
  swift format lint --strict -r Package.swift Sources Tests
  heading 'Unit tests'
  # shellcheck disable=SC2086
  swift test --skip-build --no-parallel --skip Fuzz $STRICT
fi
if [ "$what" = all ]; then
  heading 'Fuzz: random bytes into every parser'
  # shellcheck disable=SC2086
  COUNT=2000 swift test --skip-build --filter Fuzz $STRICT
fi
if wants e2e; then
  # Where they can't be had, their tests are skipped, and say so.
  if others=$(scripts/setup.sh engines); then export SKERRY_ENGINES=$others; fi
  heading 'Peers and real clients'
  "$python" -m pytest -q -p no:cacheprovider Tests/Peers Tests/E2E -m 'not chaos'
fi
if wants system; then
  heading 'A real systemd'
  Tests/System/systemd_test.sh "$bin/skerryd" "$bin/skerry" "$bin/skerry-hub"
fi
if wants chaos; then
  heading 'kill -9 at any point'
  COUNT=${COUNT:-15} "$python" -m pytest -q -p no:cacheprovider Tests/E2E -m chaos
fi
