#!/usr/bin/env bash
# Installs what `make release` built: programs, units, default configuration, manual pages, completion.
#   scripts/install.sh DESTDIR PREFIX        (make install DESTDIR=… PREFIX=…)
# Configuration that is there already is left as it is.
set -euo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname "$0")/lib.sh"
dest=${1:-} prefix=${2:-/usr/local}
bin=$(cd "$ROOT" && swift build -c release --static-swift-stdlib --show-bin-path)
[ -x "$bin/skerryd" ] || die 'nothing is built; run make release first'

for program in skerryd skerry skerry-hub; do
  install -D -s -m 0755 "$bin/$program" "$dest$prefix/bin/$program"
done
install -D -s -m 0755 "$bin/skerry-confine" "$dest/usr/lib/skerry/skerry-confine"
install -D -m 0755 "$ROOT/scripts/engines/genai_server.py" "$dest/usr/lib/skerry/engines/genai_server.py"
for unit in "$ROOT"/systemd/*.service "$ROOT"/systemd/*.socket "$ROOT"/systemd/*.timer; do
  mkdir -p "$dest/usr/lib/systemd/system"
  sed "s#/usr/bin/#$prefix/bin/#g" "$unit" >"$dest/usr/lib/systemd/system/$(basename "$unit")"
done
install -D -m 0644 "$ROOT/systemd/sysusers.d/skerry.conf" "$dest/usr/lib/sysusers.d/skerry.conf"
install -D -m 0644 "$ROOT/systemd/tmpfiles.d/skerry.conf" "$dest/usr/lib/tmpfiles.d/skerry.conf"
[ -e "$dest/etc/skerry/agent.json5" ] || install -D -m 0644 "$ROOT/config/agent.json5" "$dest/etc/skerry/agent.json5"
[ -e "$dest/etc/skerry/policies/roles.json5" ] ||
  install -D -m 0644 "$ROOT/policies/roles.json5" "$dest/etc/skerry/policies/roles.json5"
mkdir -p "$dest$prefix/share/man/man1" "$dest$prefix/share/man/man8" "$dest$prefix/share/bash-completion/completions"
"$bin/skerry" man >"$dest$prefix/share/man/man1/skerry.1"
for service in skerryd skerry-hub; do "$bin/$service" --man >"$dest$prefix/share/man/man8/$service.8"; done
"$bin/skerry" completion bash >"$dest$prefix/share/bash-completion/completions/skerry"
if engine=$("$ROOT/scripts/setup.sh" engine 2>/dev/null); then
  install -D -m 0755 "$engine" "$dest/usr/lib/skerry/llama-server"
fi
say "installed under $dest$prefix; next: systemd-sysusers && systemctl daemon-reload && systemctl enable --now skerryd"
