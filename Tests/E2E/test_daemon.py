"""skerryd as a process: its configuration, its life, its engine's life."""

import json
import os
import pathlib
import signal
import stat
import threading

import pytest
from box import MODEL, Box, call, wait_for
from conftest import enrolled

ASK = {"model": MODEL, "messages": [{"role": "user", "content": "Say hello."}], "max_tokens": 4}


def check(programs, tmp_path, text):
    config = tmp_path / "agent.json5"
    config.write_text(text)
    return call([programs.skerryd, "--check", "--config", config], check=False)


@pytest.mark.parametrize("text,named", [
    ("{nonsense: 1}", "nonsense"),
    ('{engine: {slots: "two"}}', "engine.slots"),
    ("{engine: {slots: 0}}", "engine.slots"),
    ("{sync: {probeSeconds: -1}}", "sync.probeSeconds"),
    ('{engine: {sandbox: "maybe"}}', "required"),
    ("{\n  name: 'x',\n  broken", "agent.json5"),
])
def test_a_bad_configuration_names_the_key_and_what_is_allowed(programs, tmp_path, text, named):
    done = check(programs, tmp_path, text)
    assert done.returncode == 78
    assert named in done.stderr and "agent.json5" in done.stderr


def test_check_prints_what_is_in_force(programs, tmp_path):
    done = check(programs, tmp_path, "{ // a comment\n name: 'pump-house', }")
    assert done.returncode == 0 and "pump-house" in done.stdout


def test_check_says_which_engine_is_missing_and_how_to_get_it(programs, tmp_path):
    done = check(programs, tmp_path, """{engine: {path: "/nowhere/llama-server"}, models: {"big-*": {engine: "vllm"}}}""")
    assert done.returncode == 0, done.stderr
    missing = [line for line in done.stderr.splitlines() if "is not installed" in line]
    assert len(missing) == 2, done.stderr
    assert "/nowhere/llama-server" in missing[0] and "engine.path" in missing[0]
    assert "vllm" in missing[1] and "pip install vllm" in missing[1]
    done = check(programs, tmp_path, f"{{engine: {{path: '{programs.skerryd}'}}}}")
    assert done.returncode == 0 and "not installed" not in done.stderr


def test_the_shipped_configuration_is_good(programs):
    root = pathlib.Path(__file__).resolve().parents[2]
    done = call([programs.skerryd, "--check", "--config", root / "config" / "agent.json5"], check=False)
    assert done.returncode == 0, done.stderr


def test_one_agent_to_a_state_directory(programs, box):
    second = call([programs.skerryd, "--config", box.config], check=False, timeout=20)
    assert second.returncode != 0
    assert str(box.state) in second.stderr
    assert box.status()["version"]


@pytest.mark.skipif(not hasattr(os, "unshare") and os.getuid() != 0, reason="needs root to mount")
def test_a_read_only_state_directory_is_an_error_that_says_so(programs, tmp_path):
    box = Box(programs, tmp_path / "b")
    box.state.mkdir()
    done = call(["unshare", "-m", "sh", "-c",
                 f"mount --bind {box.state} {box.state} && mount -o remount,ro,bind {box.state} && "
                 f"exec {programs.skerryd} --config {box.config}"], check=False, timeout=20)
    assert done.returncode != 0 and "read-only" in done.stderr.lower()
    assert list(box.state.iterdir()) == []


def test_a_full_state_directory_is_an_error_that_says_so(programs, tmp_path):
    box = Box(programs, tmp_path / "b")
    box.state.mkdir()
    done = call(["unshare", "-m", "sh", "-c",
                 f"mount -t tmpfs -o size=64k tmpfs {box.state} && "
                 f"dd if=/dev/zero of={box.state}/filler bs=4k >/dev/null 2>&1; "
                 f"exec {programs.skerryd} --config {box.config}"], check=False, timeout=20)
    assert done.returncode != 0
    assert "full" in done.stderr.lower() or "space" in done.stderr.lower()


def test_a_damaged_database_is_an_error_and_is_left_alone(programs, tmp_path):
    box = Box(programs, tmp_path / "b").start()
    box.daemon.stop()
    database = box.state / "agent.sqlite"
    damaged = b"this is no database " * 500
    database.write_bytes(damaged)
    for name in ("agent.sqlite-wal", "agent.sqlite-shm"):
        (box.state / name).unlink(missing_ok=True)
    done = call([programs.skerryd, "--config", box.config], check=False, timeout=20)
    assert done.returncode != 0 and "agent.sqlite" in done.stderr
    assert database.read_bytes() == damaged


def test_state_and_keys_are_private(box):
    assert stat.S_IMODE(box.state.stat().st_mode) == 0o700
    for path in (box.state / "keys").rglob("*"):
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path


def test_sigterm_lets_a_live_stream_finish(programs, hub, tmp_path):
    box = enrolled(programs, hub, tmp_path / "b")
    token = box.token("app", "chat")
    lines, started = [], threading.Event()

    def read():
        for line in box.stream("/v1/chat/completions", {**ASK, "stream": True, "max_tokens": 60, "ignore_eos": True},
                               token):
            lines.append(line)
            started.set()
    reader = threading.Thread(target=read)
    reader.start()
    assert started.wait(30)
    engines = [e["pid"] for e in box.status()["engines"]]
    box.daemon.stop(30)
    reader.join(5)
    assert lines and [line for line in lines if line][-1] == "data: [DONE]"
    assert box.daemon.process.returncode == 0
    assert engines
    for pid in engines:
        wait_for("the engine is gone", lambda p=pid: not os.path.exists(f"/proc/{p}"), 3)


def test_sighup_takes_new_policies_and_keeps_the_old_when_they_are_bad(programs, tmp_path):
    box = Box(programs, tmp_path / "b").start()
    try:
        roles = tmp_path / "b" / "etc" / "policies" / "roles.json5"
        good = roles.read_text()
        before = box.json("role", "list")
        roles.write_text("{ this is broken")
        box.daemon.process.send_signal(signal.SIGHUP)
        wait_for("the refusal is logged", lambda: "roles.json5" in box.daemon.tail(), 5)
        assert box.json("role", "list") == before
        roles.write_text(good.replace("roles: {", "roles: { inspector: { summary: 'Reads the log', "
                                      "allow: [{ verbs: ['audit.read'], resources: ['*'] }] },", 1))
        box.daemon.process.send_signal(signal.SIGHUP)
        wait_for("the new role is there", lambda: "inspector" in json.dumps(box.json("role", "list")), 5)
    finally:
        box.daemon.kill()


def test_an_engine_that_is_killed_comes_back(box):
    assert box.request("POST", "/v1/chat/completions", ASK, box.app)[0] == 200
    pid = box.status()["engines"][0]["pid"]
    os.kill(pid, signal.SIGKILL)

    def answered():
        return box.request("POST", "/v1/chat/completions", ASK, box.app)[0] == 200
    wait_for("the engine answers again", answered, 20)
    assert box.status()["engines"][0]["pid"] != pid


def test_the_engine_dies_with_the_agent(programs, hub, tmp_path):
    box = enrolled(programs, hub, tmp_path / "b")
    box.skerry("run", MODEL, "Hello")
    pid = box.status()["engines"][0]["pid"]
    box.daemon.kill()
    wait_for("the engine is gone", lambda: not os.path.exists(f"/proc/{pid}"), 5)
    box.start()
    assert box.skerry("run", MODEL, "Hello").stdout.strip()
    box.daemon.stop()


def test_an_idle_engine_is_unloaded(programs, hub, tmp_path):
    box = enrolled(programs, hub, tmp_path / "b", settings={"engine": {"idleSeconds": 2}})
    box.skerry("run", MODEL, "Hello")
    assert box.status()["engines"]
    wait_for("the engine is unloaded", lambda: not box.status()["engines"], 10)
    assert box.skerry("run", MODEL, "Hello").stdout.strip()
    box.daemon.stop()


def test_an_engine_that_cannot_start_is_503_with_its_last_words(programs, hub, tmp_path):
    fake = tmp_path / "engine"
    fake.write_text("#!/bin/sh\necho 'the flux capacitor is missing' >&2\nexit 3\n")
    fake.chmod(0o755)
    box = enrolled(programs, hub, tmp_path / "b", settings={"engine": {"path": str(fake), "sandbox": "off"}})
    token = box.token("app", "chat")
    status, _, body = box.request("POST", "/v1/chat/completions", ASK, token)
    assert status == 503 and "flux capacitor" in json.loads(body)["error"]["message"]
    mute = tmp_path / "mute"
    mute.write_text("#!/bin/sh\nexit 7\n")
    mute.chmod(0o755)
    box.settings["engine"]["path"] = str(mute)
    box.write_config()
    box.daemon.stop()
    box.start()
    status, _, body = box.request("POST", "/v1/chat/completions", ASK, token)
    assert status == 503 and "exit status 7" in json.loads(body)["error"]["message"]
    box.settings["engine"]["path"] = str(tmp_path / "missing")
    box.write_config()
    box.daemon.stop()
    box.start()
    status, _, body = box.request("POST", "/v1/chat/completions", ASK, token)
    assert status == 503 and str(tmp_path / "missing") in json.loads(body)["error"]["message"]
    box.daemon.stop()


def test_the_engine_has_no_network_and_sees_only_its_model(box):
    sandbox = box.status()["sandbox"]
    if sandbox["state"] != "active":
        pytest.skip(f"no sandbox on this machine: {sandbox.get('reason')}")
    assert box.request("POST", "/v1/chat/completions", ASK, box.app)[0] == 200
    pid = box.status()["engines"][0]["pid"]
    names = []
    for process in pathlib.Path("/proc").iterdir():
        try:
            if process.name.isdigit() and "llama-server" in os.readlink(process / "exe"):
                if os.readlink(process / "ns" / "net") != os.readlink("/proc/self/ns/net"):
                    names = [line.split()[4] for line in open(process / "mountinfo")]
        except OSError:
            continue
    assert names, f"no engine in a network namespace of its own (agent says pid {pid})"
    assert not any("agent.sqlite" in n or n.endswith("/keys") or n.startswith("/home") for n in names)


def test_the_socket_is_taken_over_from_a_dead_agent(programs, tmp_path):
    box = Box(programs, tmp_path / "b").start()
    box.daemon.kill()
    assert box.socket.exists()
    box.start()
    box.daemon.stop()


def test_logs_have_no_raw_control_characters(box):
    box.request("GET", "/v1/models/%1b%5b31m%0aforged", token=box.app)
    text = open(box.daemon.log, "rb").read()
    assert b"\x1b" not in text
