#!/bin/bash
# Runs inside the container that systemd_test.sh boots, as root. /results/out is what the person sees.
passed=0 failed=0
socket=/run/skerry/skerry.sock

check() { # check NAME COMMAND…
  local name=$1 output
  shift
  if output=$("$@" 2>&1); then
    passed=$((passed + 1)) && echo "ok    $name"
  else
    failed=$((failed + 1)) && echo "FAIL  $name"
    [ -z "$output" ] || sed 's/^/        /' <<<"$output" | tail -n 12
  fi
}
equal() { [ "$1" = "$2" ] || { echo "got '$1', wanted '$2'"; return 1; }; }
differ() { [ "$1" != "$2" ] || { echo "still '$1'"; return 1; }; }
matches() { [[ $1 =~ $2 ]] || { echo "got '$1', wanted $2"; return 1; }; }
property() { systemctl show --value -p "$2" "$1"; }
main_pid() { property skerryd MainPID; }
status() { curl -sS -m 20 --unix-socket $socket http://localhost/skerry/v1/status; }
answers() { local got; got=$(status) && matches "$got" '"version"'; }
as() { # as USER COMMAND…: without PAM, whose configuration this machine does not have
  local user=$1
  shift
  setpriv --reuid "$user" --regid "$user" --init-groups -- "$@"
}
eventually() { # eventually SECONDS COMMAND…
  local end=$((SECONDS + $1))
  shift
  while ! "$@" >/dev/null 2>&1; do
    [ $SECONDS -lt $end ] || { "$@"; return 1; }
    sleep 0.1
  done
}
is_active() { equal "$(systemctl is-active skerryd)" active; }
has_new_pid() { is_active && differ "$(main_pid)" "$1" && differ "$(main_pid)" 0; }

mkdir -p /etc/skerry && cp -r /results/policies /etc/skerry/

# --- installation
check 'systemd-analyze verify has nothing to say' \
  bash -c 'out=$(systemd-analyze verify --man=no /usr/lib/systemd/system/skerry*.{service,socket,timer} 2>&1 | grep skerry | grep -v checks); echo "$out"; [ -z "$out" ]'
check 'users and group exist' sh -c 'id skerry && id skerry-hub && getent group skerry-admin'

# --- socket activation
systemctl start skerryd.socket
check 'the socket is open, the agent not yet started' equal "$(systemctl is-active skerryd.socket skerryd | xargs)" 'active inactive'
check 'everybody may connect' equal "$(stat -c '%a %U' $socket)" '666 skerry'
check 'the first caller starts the agent and is answered' answers
check 'the agent told systemd that it is ready' equal "$(property skerryd ActiveState)-$(property skerryd SubState)-$(property skerryd Type)" active-running-notify
check 'it says in words what it does' matches "$(property skerryd StatusText)" '...'
first=$(main_pid)
identity=$(status | grep -o '"deviceID":"[^"]*"')
check 'it has an identity' matches "$identity" '[0-9a-f]{32}'

# --- who it is and what it may do
check 'it runs as skerry' equal "$(stat -c %U /proc/"$first")" skerry
check 'it holds no capability and can gain none' equal "$(grep -E 'CapEff|CapBnd|CapAmb|NoNewPrivs' /proc/"$first"/status | cut -f 2 | xargs)" '0000000000000000 0000000000000000 0000000000000000 1'
check 'its system calls are filtered' equal "$(grep '^Seccomp:' /proc/"$first"/status | cut -f 2)" 2
check 'its state is its own' equal "$(stat -c '%a %U' /var/lib/skerry)" '700 skerry'
check 'no file of its state is open to others' equal "$(find /var/lib/skerry/ -perm /077 ! -type l | head -5)" ''
check 'it sees its own folder writable, the rest not' sh -c "nsenter -t $first -m touch /var/lib/skerry/x && rm /var/lib/skerry/x &&
  for folder in /usr /etc /var /var/lib; do ! nsenter -t $first -m touch \$folder/x 2>/dev/null || { echo \$folder; exit 1; }; done"

# --- logs
check 'its lines are in the journal as entries with fields' sh -c 'journalctl -u skerryd -o json _TRANSPORT=journal _COMM=skerryd | grep -q "\"MESSAGE\""'

output=$(as skerry timeout 10 /usr/bin/skerryd 2>&1)
code=$?

# --- one instance
check 'a second agent is turned away' sh -c "[ $code -ne 0 ] && [ $code -ne 124 ]"
check '… and told by whom' matches "$output" "$first"
check '… and the first goes on' has_new_pid 0

# --- kill -9
before=$(main_pid)
kill -KILL "$before"
check 'a caller in the moment of a kill is answered, not refused' answers
check 'systemd starts a killed agent again' eventually 10 has_new_pid "$before"
check 'it is the same box as before' equal "$(status | grep -o '"deviceID":"[^"]*"')" "$identity"

# --- watchdog
before=$(main_pid)
kill -STOP "$before"
check 'an agent that hangs is replaced by the watchdog' eventually 15 has_new_pid "$before"
check '… and the new one answers' answers

# --- reload
before=$(main_pid)
check 'reload succeeds' systemctl reload skerryd
check '… in the same process' equal "$(main_pid)" "$before"
check '… which answers' answers

# --- the sandbox, from inside the unit
if as skerry bwrap --unshare-all --ro-bind /usr /usr --symlink usr/lib /lib --symlink usr/lib64 /lib64 --proc /proc --dev /dev /usr/bin/true 2>/results/bwrap; then
  check 'the system-call filter is in force' matches "$(status)" '"systemCalls":"filtered"'
  check 'the unit leaves bubblewrap what it needs' matches "$(status)" '"sandbox":[{].*"reason":null,"state":"active"[}]'
else
  echo "note  bubblewrap does not work in this container, with or without the unit: $(tail -n 1 /results/bwrap)"
fi

# --- sync
systemctl start skerry-sync.service
check 'the sync unit reaches the agent and may sync' sh -c 'code=$(systemctl show --value -p ExecMainStatus skerry-sync); echo "exit status $code"; [ "$code" != 77 ] && [ "$code" != 203 ] && [ "$code" != 64 ] && [ "$code" != 69 ]'
systemctl start skerry-sync.timer
check 'the timer has a next time' matches "$(systemctl list-timers --no-legend skerry-sync.timer)" 'skerry-sync.service'

# --- stop
started=$SECONDS
systemctl stop skerryd.socket skerryd
check 'it stops within its deadline' sh -c "[ $((SECONDS - started)) -lt 20 ]"
check '… by itself' equal "$(property skerryd Result)" success
check '… and leaves no process' equal "$(pgrep -u skerry | xargs)" ''
check '… and no socket' sh -c "! [ -e $socket ]"
systemctl start skerryd
check 'it starts without its socket unit being started first' eventually 10 answers
check 'it is the same box as before' equal "$(status | grep -o '"deviceID":"[^"]*"')" "$identity"
systemctl stop skerryd.socket skerryd

# --- a configuration that can't be right
echo '{ nosuchkey: 1 }' >/etc/skerry/agent.json5
systemctl start skerryd
sleep 2
check 'a wrong configuration is exit status 78, once' equal "$(property skerryd ExecMainStatus)-$(property skerryd NRestarts)-$(systemctl is-active skerryd)" 78-0-failed
check '… and the journal names the key' sh -c 'journalctl -u skerryd -o cat | grep -q nosuchkey'
rm /etc/skerry/agent.json5
systemctl reset-failed skerryd
systemctl stop skerryd.socket

# --- hub
install -d -m 700 -o skerry-hub -g skerry-hub /var/lib/skerry-hub
init_hub() { as skerry-hub skerry-hub init --state /var/lib/skerry-hub --url https://127.0.0.1:8443 --json >/run/hub.json; }
check 'the hub sets itself up as its own user' init_hub
check 'the hub starts' sh -c 'systemctl start skerry-hub && systemctl is-active skerry-hub'
check 'the hub answers over TLS' eventually 10 sh -c 'curl -sSk -m 5 https://127.0.0.1:8443/v1/health | grep -q ok'

# --- a model, from the publisher to an answer, with every part in its unit
word() { tr -d ' \n' | grep -o "\"$1\":\"[^\"]*\"" | head -n 1 | cut -d '"' -f 4; } # word KEY: a string from JSON
ask() {
  curl -sS -m 60 --unix-socket $socket http://localhost/v1/chat/completions -H 'content-type: application/json' \
    -d '{"model":"smollm2","max_tokens":8,"messages":[{"role":"user","content":"Say hello."}]}'
}
is_answered() { local got; got=$(ask) && matches "$got" '"content":"[^"]'; }
engine_pid() { pgrep -u skerry -x llama-server | head -n 1; }
admin() { # the options of whoever runs the hub
  echo "--hub https://127.0.0.1:8443 --pin $(word pin </run/hub.json) --admin-token-file $(word adminTokenFile </run/hub.json)"
}
publish() {
  local offline="--keys /run/keys --passphrase-file /run/passphrase"
  echo 'only the publisher knows' >/run/passphrase && chmod 600 /run/passphrase
  # shellcheck disable=SC2046,SC2086
  skerry repo init /run/publisher $offline --online-key "$(word onlineKey </run/hub.json)" &&
    skerry repo add /run/publisher /weights.gguf $offline --name smollm2 --version 1.0.0 &&
    skerry repo publish /run/publisher $(admin)
}
enroll() {
  local token
  # shellcheck disable=SC2046
  token=$(skerry hub token create --json $(admin) | word token) && skerry enroll "$token"
}
if [ -s /weights.gguf ]; then
  check 'a publisher signs a model and hands it to the hub' publish
  systemctl start skerryd
  check 'the box joins the fleet' enroll
  check 'the sync unit brings the model' sh -c 'systemctl start skerry-sync && [ "$(systemctl show --value -p ExecMainStatus skerry-sync)" = 0 ] && skerry model list | grep -w smollm2 | grep -w active'
  check 'the agent answers with it' is_answered
  engine=$(engine_pid)
  check 'the engine runs as skerry' differ "$engine" ''
  check '… in a network of its own' differ "$(readlink /proc/"$engine"/ns/net)" "$(readlink /proc/"$(main_pid)"/ns/net)"
  check '… with filtered system calls and no capability' equal "$(grep -E '^Seccomp:|CapEff|CapBnd' /proc/"$engine"/status | cut -f 2 | sort | xargs)" '0000000000000000 0000000000000000 2'
  check '… with a filter of its own besides the unit'"'"'s' sh -c "[ \$(grep '^Seccomp_filters:' /proc/$engine/status | cut -f 2) -gt \$(grep '^Seccomp_filters:' /proc/$(main_pid)/status | cut -f 2) ]"
  check '… and a bound on processes' sh -c "grep '^Max processes' /proc/$engine/limits | grep -Eq ' [0-9]{3} +[0-9]{3} '"
  before=$(main_pid)
  kill -KILL "$before"
  check 'no engine outlives a killed agent' eventually 3 sh -c "! [ -d /proc/$engine ]"
  check 'the next agent answers with the model' eventually 20 is_answered
  started=$SECONDS
  systemctl stop skerryd.socket skerryd
  check 'with an engine at work it stops within its deadline' sh -c "[ $((SECONDS - started)) -lt 20 ]"
  check '… by itself, and leaves no process' equal "$(property skerryd Result)$(pgrep -u skerry | xargs)" success
else
  echo 'note  no weights given in SKERRY_TEST_WEIGHTS: no engine was started'
fi
check 'the hub stops' sh -c 'systemctl stop skerry-hub && [ "$(systemctl show --value -p Result skerry-hub)" = success ]'

echo
for unit in skerryd skerry-hub skerry-sync; do systemd-analyze security "$unit.service" --no-pager | tail -n 1 | sed 's/^[^O]*//; s/[^a-zA-Z0-9.: -]*$//'; done
echo
journalctl --no-pager -o short-monotonic >/results/journal
echo "$passed passed, $failed failed"
