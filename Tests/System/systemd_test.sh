#!/usr/bin/env bash
# The units under a real systemd: boots one in a container whose /etc and /var are empty and whose /usr is this
# machine's with Skerry installed on top, and lets Tests/System/inside.sh look at it from within.
#   systemd_test.sh SKERRYD SKERRY SKERRY-HUB
# With SKERRY_LLAMA_SERVER and SKERRY_TEST_WEIGHTS also a model's whole way, from the publisher to an answer.
# A line for each check, then "N passed, N failed". Where no container can be booted at all: says so, exit 0.
set -euo pipefail
[ $# -eq 3 ] || { echo "usage: $0 SKERRYD SKERRY SKERRY-HUB" >&2; exit 64; }
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)

skip() { echo "skipped: $*"; exit 0; }
[ "$(id -u)" -eq 0 ] || skip "booting a container needs root"
command -v systemd-nspawn >/dev/null || skip "systemd-nspawn is not installed (package systemd-container)"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
stage=$work/usr results=$work/results
mkdir -p "$stage"/bin "$stage"/lib/{systemd/system,sysusers.d,tmpfiles.d,skerry} "$results"

# boot SECONDS OPTION…: a volatile machine of its own, without this machine's network.
boot() {
  local seconds=$1
  shift
  SYSTEMD_NSPAWN_API_VFS_WRITABLE=network timeout -k 5 "$seconds" systemd-nspawn --quiet --register=no --keep-unit \
    --console=pipe --private-network --volatile=yes -D / -M skerry-test -b "$@" systemd.firstboot=no \
    </dev/null >"$work/console" 2>&1
}

boot 60 systemd.unit=poweroff.target ||
  skip "systemd-nspawn cannot boot here: $(tail -n 1 "$work/console")"

# As a package would install it.
install -m 755 "$1" "$stage/bin/skerryd"
install -m 755 "$2" "$stage/bin/skerry"
install -m 755 "$3" "$stage/bin/skerry-hub"
# SwiftPM puts it beside the agent.
install -m 755 "$(dirname "$1")/skerry-confine" "$stage/lib/skerry/skerry-confine"
if [ -n "${SKERRY_LLAMA_SERVER:-}" ]; then
  install -m 755 "$SKERRY_LLAMA_SERVER" "$stage/lib/skerry/llama-server"
fi
install -m 644 "$root"/systemd/*.service "$root"/systemd/*.socket "$root"/systemd/*.timer "$stage/lib/systemd/system/"
install -m 644 "$root/systemd/sysusers.d/skerry.conf" "$stage/lib/sysusers.d/"
install -m 644 "$root/systemd/tmpfiles.d/skerry.conf" "$stage/lib/tmpfiles.d/"
# A debug build finds Swift's libraries in the toolchain, which the container does not have.
libraries=$stage/lib/$(gcc -print-multiarch 2>/dev/null || echo x86_64-linux-gnu)
mkdir -p "$libraries"
for program in "$1" "$2" "$3"; do
  { ldd "$program" 2>/dev/null || true; } | awk '$3 ~ /^\// { print $3 }' | while read -r library; do
    case $library in /lib/* | /usr/lib/*) ;; *) cp -nL "$library" "$libraries/" ;; esac
  done
done

# The checks run as a unit and switch the machine off in the end.
cat >"$stage/lib/systemd/system/skerry-checks.service" <<'UNIT'
[Unit]
After=basic.target systemd-sysusers.service
Wants=systemd-sysusers.service
[Service]
Type=oneshot
ExecStart=/results/inside.sh
ExecStopPost=/bin/systemctl --no-block poweroff
StandardOutput=file:/results/out
StandardError=file:/results/err
TimeoutStartSec=240
UNIT
# Only for the test: a watchdog that we have the time to wait for.
mkdir -p "$stage/lib/systemd/system/skerryd.service.d"
printf '[Service]\nWatchdogSec=3\n' >"$stage/lib/systemd/system/skerryd.service.d/test.conf"
mkdir "$results/policies"
cp "$root"/policies/*.json5 "$results/policies/"
install -m 755 "$here/inside.sh" "$results/inside.sh"

weights=()
if [ -n "${SKERRY_LLAMA_SERVER:-}" ] && [ -n "${SKERRY_TEST_WEIGHTS:-}" ]; then
  weights=(--bind-ro="$(realpath "$SKERRY_TEST_WEIGHTS"):/weights.gguf")
fi
boot 300 --overlay-ro="/usr:$stage:/usr" --bind="$results:/results" "${weights[@]}" systemd.unit=skerry-checks.service || true
cat "$results/out" 2>/dev/null || true
if ! grep -q '^[0-9]* passed, [0-9]* failed$' "$results/out" 2>/dev/null; then
  echo "the checks did not come to their end; the console's and the checks' last lines:"
  tail -n 20 "$work/console" "$results/err" 2>/dev/null
  exit 1
fi
if ! grep -q '^[0-9]* passed, 0 failed$' "$results/out"; then
  echo "--- the journal's last lines"
  tail -n 60 "$results/journal" 2>/dev/null || true
  exit 1
fi
