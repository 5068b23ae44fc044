"""kill -9 at any point of enrolment, sync, activation and inference: the last good state or the next one."""

import os
import random
import subprocess
import time

import pytest
from box import MODEL, Box, flip_bit, wait_for

COUNT = int(os.environ.get("COUNT", "15"))
ASK = {"model": MODEL, "messages": [{"role": "user", "content": "Say hello."}], "max_tokens": 4}


def audit_holds(box):
    out = box.home / "kill-export.jsonl"
    box.skerry("audit", "export", "--output", out)
    box.skerry("audit", "verify", out, "--key", box.status()["keys"]["device"])
    return len(out.read_text().splitlines()) - 1


def background(box, *arguments):
    return subprocess.Popen([box.programs.skerry, "--socket", str(box.socket), *arguments],
                            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


@pytest.mark.chaos
def test_kill_the_agent_anywhere_in_enrolment_and_first_sync(programs, hub, tmp_path):
    """One box a round would cost a model copy each; a box is wiped when it has all, so every stage is hit often."""
    seed = random.randrange(1 << 30)
    print("seed", seed)
    chance = random.Random(seed)
    box, token, size, finished = None, None, 0, 0
    try:
        for number in range(COUNT):
            if box is None:
                box = Box(programs, tmp_path / f"b{number}").start()
                token, size = hub.token(), 0
            if not box.status()["enrolled"]:
                client = background(box, "enroll", token)
            else:
                client = background(box, "sync")
            time.sleep(chance.random() ** 2 * 1.2)
            box.daemon.kill()
            client.wait(10)
            box.start()
            grown = audit_holds(box)
            assert grown >= size, f"acknowledged audit records were lost: {size} -> {grown}"
            size = grown
            models = box.status()["models"]
            if any(m["state"] == "active" for m in models):
                box.skerry("model", "verify", MODEL)
                finished += 1
                box.daemon.kill()
                box = None
        if box is None:
            box = Box(programs, tmp_path / "last").start()
            token = hub.token()
        if not box.status()["enrolled"]:
            box.skerry("enroll", token)
        box.skerry("sync")
        wait_for("the model is active after all kills", lambda: box.status()["models"][0]["state"] == "active", 60)
        assert box.skerry("run", MODEL, "Hello").stdout.strip()
        print(f"{COUNT} kills, {finished} boxes had finished")
    finally:
        if box:
            print(box.daemon.tail(30))
            box.daemon.kill()


@pytest.mark.chaos
def test_kill_the_agent_while_it_mends_and_answers(programs, hub, tmp_path):
    from conftest import enrolled
    chance = random.Random(7)
    box = enrolled(programs, hub, tmp_path / "b")
    app = box.token("app", "chat")
    try:
        for _ in range(max(3, COUNT // 3)):
            box.skerry("model", "unload", MODEL)
            blob = box.blob()
            for _ in range(20):
                flip_bit(blob, chance.randrange(blob.stat().st_size))
            assert box.request("POST", "/v1/chat/completions", ASK, app)[0] == 503
            client = background(box, "sync")
            time.sleep(chance.random() * 0.5)
            box.daemon.kill()
            client.wait(10)
            box.start()
            status = box.request("POST", "/v1/chat/completions", ASK, app)[0]
            assert status in (200, 503)
            box.skerry("sync")
            wait_for("mended", lambda: box.request("POST", "/v1/chat/completions", ASK, app)[0] == 200, 30)
            audit_holds(box)
    finally:
        print(box.daemon.tail(30))
        box.daemon.kill()


@pytest.mark.chaos
def test_kill_the_hub_under_a_syncing_box(programs, tmp_path):
    from box import Hub
    chance = random.Random(11)
    hub = Hub(programs, tmp_path / "h").ready()
    box = Box(programs, tmp_path / "b", settings={"sync": {"probeSeconds": 1}}).start()
    try:
        token = hub.token()
        for _ in range(max(3, COUNT // 3)):
            client = background(box, "sync") if box.status()["enrolled"] else background(box, "enroll", token)
            time.sleep(chance.random() * 0.4)
            hub.daemon.kill()
            client.wait(60)
            assert box.status()["version"]
            hub.start()
        if not box.status()["enrolled"]:
            box.skerry("enroll", token)
        wait_for("it syncs after all", lambda: box.skerry("sync", check=False).returncode == 0, 60, 0.5)
        wait_for("active", lambda: box.status()["models"][0]["state"] == "active", 60)
        device = wait_for("cosigned", lambda: (hub.device(box.status()["deviceID"]).get("audit") or {})
                          .get("cosignedSize"), 20)
        assert device > 0
    finally:
        print(box.daemon.tail(30), hub.daemon.tail(30))
        box.daemon.kill()
        hub.daemon.kill()
