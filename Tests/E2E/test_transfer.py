"""How models travel: nothing twice, in little memory, within the limits that are set. Through a proxy that counts."""

import json
import os
import random
import shutil
import signal
import subprocess
import time

import big_models
import pytest
from box import Box, Failed, call, wait_for
from counting_hub import CountingHub

COUNT = int(os.environ.get("COUNT", "15"))
# `make chaos` does all of it; the tests for every day do the same on smaller files.
FULL = COUNT >= 100
MiB = 1 << 20
GiB = 1 << 30
# casync's longest chunk.
CHUNK = 256 << 10


@pytest.fixture(scope="module")
def counting(programs, tmp_path_factory):
    hub = CountingHub(programs, tmp_path_factory.mktemp("hub"))
    try:
        hub.init()
        hub.start()
        hub.create_repository()
        yield hub
    finally:
        print(hub.daemon.tail(20))
        hub.close()


def add(hub, file, name, version="1", *options):
    call([hub.programs.skerry, "repo", "add", hub.repo, file, "--keys", hub.keys, "--name", name, "--version", version,
          "--passphrase-file", hub.passphrase, *options])


def publish(hub, file, name, version="1", *options):
    """This model alone, so that each test's box fetches what it is about."""
    status = json.loads(call([hub.programs.skerry, "repo", "status", hub.repo, "--json"]).stdout)
    for old in {t["custom"]["skerry"]["name"] for t in status["targets"]} - {name}:
        call([hub.programs.skerry, "repo", "remove", hub.repo, old, "--keys", hub.keys,
              "--passphrase-file", hub.passphrase])
    add(hub, file, name, version, *options)
    hub.publish()
    hub.forget()


def active(box, name):
    return any(m["name"] == name and m["state"] == "active" for m in box.status()["models"])


def syncing_until(box, event, what):
    """Has the box sync, again and again, until something happens to it."""
    deadline = time.monotonic() + 120
    while not event.is_set():
        if time.monotonic() > deadline:
            raise Failed(f"{what}: it never came to that")
        client = subprocess.Popen([box.programs.skerry, "--socket", str(box.socket), "sync"],
                                  stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_for(what, lambda: event.is_set() or client.poll() is not None, 120, 0.005)
        if event.is_set():
            client.kill()
        client.wait()


def same(left, right):
    return subprocess.run(["cmp", "-s", str(left), str(right)]).returncode == 0


def blobs(box):
    return [p for p in (box.state / "registry/blobs").rglob("*") if p.is_file()]


def disk(path, size):
    path.mkdir(parents=True)
    if subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "skerry-test", path]).returncode:
        pytest.skip("a disk of its own can't be mounted here")
    return path


# Nothing twice


@pytest.mark.chaos
def test_interruptions_anywhere_cost_at_most_a_chunk_each(programs, counting, tmp_path):
    """The agent killed or told to stop, the line cut, the hub killed, the disk full: each at a random byte."""
    size, points = (2 * GiB, 5 * COUNT) if FULL else (64 * MiB, 50)
    seed = random.randrange(1 << 30)
    print("seed", seed)
    chance = random.Random(seed)
    model = big_models.noise(tmp_path / "big.gguf", size, seed=chance.randrange(1 << 20))
    publish(counting, model, "big")
    home = disk(tmp_path / "box", size + 256 * MiB)
    box = Box(programs, home, settings={"sync": {"probeSeconds": 1}})
    ballast = home / "ballast"
    try:
        box.start()
        box.skerry("enroll", counting.token())
        counting.forget()

        def fill():
            with open(ballast, "wb", buffering=0) as file:
                try:
                    while file.write(bytes(65536)):
                        pass
                except OSError:
                    pass

        def restart_hub():
            counting.daemon.kill()
            counting.cut()

        troubles = {
            "agent killed": lambda: box.daemon.kill(),
            "line cut": counting.cut,
            "agent stopped": lambda: box.daemon.process.send_signal(signal.SIGTERM),
            "hub killed": restart_hub,
            "disk full": fill,
        }
        done = 0
        while done < points:
            left = size - counting.total + counting.twice()
            # Somewhat early, since boxes also sync between these points: the last one must still find something to fetch.
            after = int(chance.random() * 1.4 * left / (points - done + 1)) + 1
            what = chance.choice(list(troubles))
            before = counting.twice()
            counting.arm(after, troubles[what])
            started = time.monotonic()
            syncing_until(box, counting.troubled, f"{done}: {what} after {after} bytes")
            if what == "disk full":
                wait_for("the agent says so", lambda: "space" in box.skerry("sync", check=False).stderr, 30)
                ballast.unlink()
            elif what == "agent stopped":
                box.daemon.process.wait(30)
            if what == "hub killed":
                counting.start()
            if not box.daemon.running:
                box.start()
            # What is half here is no model.
            assert not active(box, "big") and blobs(box) == []
            twice = counting.twice() - before
            print(f"{done}: {what} after {after} bytes: {twice} twice, {time.monotonic() - started:.1f} s")
            done += 1
        wait_for("the model is there", lambda: box.skerry("sync", check=False).returncode == 0 and active(box, "big"), 240)
        assert same(blobs(box)[0], model)
        total_twice = counting.twice()
        print(f"{done} interruptions of {size >> 20} MiB: {total_twice} bytes twice, {total_twice // max(1, done)} for each")
        assert total_twice <= done * CHUNK
    finally:
        print(box.daemon.tail(30))
        box.daemon.kill()
        subprocess.run(["umount", "-l", home])


def test_a_whole_file_goes_on_where_it_stopped(programs, counting, tmp_path):
    chance = random.Random(4)
    model = big_models.noise(tmp_path / "whole.gguf", 24 * MiB, seed=31)
    publish(counting, model, "whole", "1", "--no-chunks")
    box = Box(programs, tmp_path / "b", settings={"sync": {"probeSeconds": 1}}).start()
    try:
        box.skerry("enroll", counting.token())
        counting.forget()
        troubles = [box.daemon.kill, counting.cut] * 5
        for trouble in troubles:
            # All of them together before the file's end.
            counting.arm(chance.randrange(1, 2 * MiB), trouble)
            syncing_until(box, counting.troubled, "trouble")
            if not box.daemon.running:
                box.start()
            assert not active(box, "whole") and blobs(box) == []
        wait_for("the model is there", lambda: box.skerry("sync", check=False).returncode == 0 and active(box, "whole"), 60)
        assert same(blobs(box)[0], model)
        travelled = counting.total
        assert travelled - model.stat().st_size <= len(troubles) * CHUNK
    finally:
        print(box.daemon.tail(30))
        box.daemon.kill()
    # The hub serves it to anybody's client: a part, and no part of another file (RFC 9110, If-Range).
    target = next(t for t in counting.bodies if "/repo/targets/" in t)
    url = f"https://127.0.0.1:{counting.behind}{target}"
    whole = model.read_bytes()

    def curl(*options):
        return subprocess.run(["curl", "-sk", *options, url], capture_output=True, check=True).stdout

    assert curl("-r", "1000-1999") == whole[1000:2000]
    tag = next(line.split(": ")[1].strip() for line in curl("-I", "-X", "GET").decode().splitlines()
               if line.lower().startswith("etag"))
    assert curl("-r", "5-9", "-H", f"If-Range: {tag}") == whole[5:10]
    assert curl("-r", "5-9", "-H", 'If-Range: "another"') == whole


def test_an_upload_to_the_hub_goes_on_and_is_checked(counting, tmp_path):
    """The admin API's pieces, by a client of our own."""
    import hashlib
    token = open(counting.facts["adminTokenFile"]).read().strip()
    content = random.Random(8).randbytes(3 * MiB)
    digest = hashlib.sha256(content).hexdigest()
    url = f"https://127.0.0.1:{counting.behind}/admin/v1/repo/targets/models/up/1/{digest}.up.gguf"

    def put(body, content_range, to=url):
        done = subprocess.run(["curl", "-sk", "-X", "PUT", "-H", f"Authorization: Bearer {token}",
                               "-H", f"Content-Range: bytes {content_range}/{len(content)}", "--data-binary", "@-",
                               "-w", "\n%{http_code}", to], input=body, capture_output=True, check=True).stdout
        text, status = done.decode().rsplit("\n", 1)
        return int(status), json.loads(text)

    assert put(b"", "*") == (200, {"have": 0, "complete": False})
    assert put(content[:MiB], f"0-{MiB - 1}") == (200, {"have": MiB, "complete": False})
    assert put(content[:MiB], f"0-{MiB - 1}")[0] == 409, "it is there already"
    assert put(b"", "*")[1]["have"] == MiB
    assert put(content[MiB:2 * MiB + 5], f"{MiB}-{2 * MiB - 1}")[0] == 400, "more than it said"
    have = put(b"", "*")[1]["have"]
    assert put(content[have:], f"{have}-{len(content) - 1}") == (200, {"have": len(content), "complete": True})
    assert put(b"", "*") == (200, {"have": len(content), "complete": True})
    # What does not have the digest in its name is not kept.
    other = url.replace(digest, hashlib.sha256(b"other").hexdigest())
    assert put(content, f"0-{len(content) - 1}", other)[0] == 400
    assert put(b"", "*", other) == (200, {"have": 0, "complete": False})
    assert put(content, f"0-{len(content) - 1}", url.replace("/models/", "/../models/"))[0] in (400, 404)


def travelled(programs, counting, home, first, second, name):
    """(bytes of chunks, bytes of the index) that a box with the first file fetches for the second."""
    publish(counting, first, name, "1")
    box = Box(programs, home).start()
    try:
        box.skerry("enroll", counting.token())
        box.skerry("sync")
        wait_for("the first version", lambda: active(box, name), 120)
        publish(counting, second, name, "2")
        box.skerry("sync")
        wait_for("the second version", lambda: [m["version"] for m in box.status()["models"]] == ["2"], 120)
        # The version before is kept beside it, the last good one.
        assert any(same(blob, second) for blob in blobs(box))
        chunks = sum(n for t, n in counting.bodies.items() if "/chunks/" in t)
        return chunks, counting.total - chunks
    finally:
        print(box.daemon.tail(20))
        box.daemon.kill()


# An edit's price does not depend on the file's length, so a small file shows what a large one costs.
@pytest.mark.chaos
@pytest.mark.parametrize("note", [b"a description", b"a description that is longer by far than the one before"])
def test_a_metadata_edit_costs_a_thousandth(programs, counting, tmp_path, note):
    size = GiB if FULL else 24 * MiB
    before = big_models.noise(tmp_path / "a.gguf", size, seed=41, note=b"A description", tokens=30_000)
    after = big_models.noise(tmp_path / "b.gguf", size, seed=41, note=note, tokens=30_000)
    chunks, index = travelled(programs, counting, tmp_path / "box", before, after, f"edited-{len(note)}")
    print(f"{chunks} bytes of chunks, {index} of the index: {chunks / GiB:.5%} of 1 GiB")
    assert chunks <= GiB // 1000


@pytest.mark.chaos
def test_a_tenth_changed_in_ten_runs_costs_little_more(programs, counting, tmp_path):
    size = GiB if FULL else 40 * MiB
    run, chance = size // 100, random.Random(6)
    places = [(size // 10 * n + chance.randrange(0, size // 20), run) for n in range(10)]
    before = big_models.noise(tmp_path / "a.gguf", size, seed=42)
    after = big_models.noise(tmp_path / "b.gguf", size, seed=42, changed=places)
    chunks, index = travelled(programs, counting, tmp_path / "box", before, after, "retrained")
    more = chunks - 10 * run
    print(f"{chunks} bytes of chunks ({chunks / size:.3%}), {index} of the index; {more} more than changed")
    assert more <= GiB // 200, "half a per cent of 1 GiB"
    if FULL:
        assert chunks <= size * 0.105


# Space, memory, pace


def test_too_small_a_disk_is_told_before_the_first_byte(programs, counting, tmp_path):
    publish(counting, big_models.noise(tmp_path / "m.gguf", 48 * MiB, seed=51), "roomy")
    home = disk(tmp_path / "box", 64 * MiB)
    box = Box(programs, home).start()
    try:
        box.skerry("enroll", counting.token())
        counting.forget()
        refused = box.skerry("sync", check=False)
        assert refused.returncode == 75
        said = refused.stderr
        assert "disk space for roomy:1" in said and "are free" in said and "free at least" in said, said
        assert counting.total == 0
        subprocess.run(["mount", "-o", f"remount,size={128 * MiB}", home], check=True)
        box.skerry("sync")
        assert active(box, "roomy")
    finally:
        print(box.daemon.tail(20))
        box.daemon.kill()
        subprocess.run(["umount", "-l", home])


def peak(box):
    for line in open(f"/proc/{box.daemon.process.pid}/status"):
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024


def test_twenty_gigabytes_in_little_memory(programs, counting, tmp_path):
    """A sparse model: its zeros are known without travelling, and all of it is hashed. The box wants room for all of it
    and a reserve before it begins: on a fuller disk the model is smaller."""
    size = min(20 * GiB, shutil.disk_usage(tmp_path).free - 4 * GiB)
    if size < 4 * GiB:
        pytest.skip("less than 8 GiB of the disk are free")
    print(f"{size / GiB:.1f} GiB")
    model = big_models.sparse(tmp_path / "huge.gguf", size)
    publish(counting, model, "huge")
    box = Box(programs, tmp_path / "b").start()
    try:
        box.skerry("enroll", counting.token())
        idle = peak(box)
        box.skerry("sync", timeout=400)
        assert active(box, "huge")
        print(f"at most {peak(box) / MiB:.1f} MiB resident, {idle / MiB:.1f} before")
        assert peak(box) <= 64 * MiB
        assert blobs(box)[0].stat().st_blocks * 512 < 16 * MiB
    finally:
        print(box.daemon.tail(20))
        box.daemon.kill()


def test_the_limit_holds_over_all_connections_and_they_are_used_again(programs, counting, tmp_path):
    size, rate = 12 * MiB, 3_000_000
    publish(counting, big_models.noise(tmp_path / "m.gguf", size, seed=61), "paced")
    best = 0
    for number in range(3):
        box = Box(programs, tmp_path / f"b{number}", settings={"sync": {"bandwidth": rate}}).start()
        try:
            box.skerry("enroll", counting.token())
            counting.forget()
            box.skerry("sync")
            assert active(box, "paced")
            share = (counting.total - CHUNK) / (counting.last - counting.first) / rate
            # The first bytes of each connection wait in its buffers: the proxy may see them early, never many.
            assert share < 1.05, share
            best = max(best, share)
            requests = sum(counting.requests.values())
            assert requests > 100 and counting.connections <= 16, (requests, counting.connections)
            status = box.status()["sync"]["transfer"]
            assert status["bandwidth"] == rate and status["usedBytes"] >= size
        finally:
            box.daemon.kill()
        if best > 0.95:
            break
    print(f"{best:.3f} of the limit")
    assert best > 0.9


def test_quiet_hours_and_a_used_up_budget_hold_models_and_nothing_else(programs, counting, tmp_path):
    publish(counting, big_models.noise(tmp_path / "m.gguf", 4 * MiB, seed=71), "waiting")
    minute = time.localtime().tm_hour * 60 + time.localtime().tm_min

    def clock(of):
        return f"{of // 60 % 24:02d}:{of % 60:02d}"

    for settings, word in (({"quietHours": [f"{clock(minute + 1435)}-{clock(minute + 60)}"]}, "quiet hours"),
                           ({"monthlyBytes": 100_000}, "100000 bytes")):
        box = Box(programs, tmp_path / word.split()[0], settings={"sync": settings}).start()
        try:
            box.skerry("enroll", counting.token())
            counting.forget()
            said = box.skerry("sync")
            assert word in said.stdout and "--now" in said.stdout, said.stdout
            assert counting.total < 100_000 and not active(box, "waiting")
            status = box.status()
            assert word in status["sync"]["transfer"]["waits"] and not status["sync"].get("lastError")
            assert word in box.skerry("status").stdout
            assert (status["audit"]["cosignedSize"] or 0) > 0, "what is small travels"
            box.skerry("sync", "--now")
            assert active(box, "waiting")
            # The account survives a kill and is never too low.
            box.daemon.kill()
            box.start()
            assert box.status()["sync"]["transfer"]["usedBytes"] >= 4 * MiB
        finally:
            print(box.daemon.tail(20))
            box.daemon.kill()
