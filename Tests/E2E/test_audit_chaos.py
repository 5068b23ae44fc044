"""kill -9 and power cuts while several writers append: no acknowledged record is lost or changed, none is missing between
others, heads that were signed still hold, and the log goes on."""

import errno
import hashlib
import json
import os
import pathlib
import random
import subprocess
import threading
import time

import pytest
from box import Box
from fuse_disk import MUTATING, Disk, why_not

COUNT = int(os.environ.get("COUNT", "15"))
KILLS, CUTS = (10 * COUNT, 2 * COUNT) if COUNT >= 100 else (30, 20)
# A new log after so many, so that the rounds stay as quick as the first.
LIFE = 25


class Appender:
    """skerry-bench's `append`: a real audit log, and on a pipe what it acknowledged."""

    def __init__(self, folder, writers):
        program = pathlib.Path(os.environ["SKERRYD_BIN"]).with_name("skerry-bench")
        self.process = subprocess.Popen([program, "append", str(folder), str(writers)], stdin=subprocess.DEVNULL,
                                        stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.lines = []
        self.reader = threading.Thread(target=self.read, daemon=True)
        self.reader.start()

    def read(self):
        for line in self.process.stdout:
            if line.endswith(b"\n"):
                self.lines.append(line[:-1])

    def kill(self):
        self.process.kill()

    def wait(self):
        self.process.wait(30)
        self.reader.join(10)
        errors = self.process.stderr.read().decode()
        self.process.stdout.close()
        self.process.stderr.close()
        return errors


class Ledger:
    """What was promised of one log, and whether its folder keeps it."""

    def __init__(self, folder):
        self.folder, self.acknowledged, self.heads, self.refused = pathlib.Path(folder), {}, {0: None}, 0

    def note(self, lines):
        for line in lines:
            word, rest = line.split(b" ", 1)
            if word == b"ack":
                index, record = rest.split(b" ", 1)
                assert int(index) not in self.acknowledged, f"entry {int(index)} was given away twice"
                self.acknowledged[int(index)] = record
            elif word in (b"head", b"open"):
                size, root = rest.split(b" ")
                self.heads[int(size)] = root.decode()
            else:
                assert word == b"refused", line
                self.refused += 1

    def check(self):
        """By the file alone, with an RFC 6962 tree that is not ours."""
        whole = (self.folder / "log.jsonl").read_bytes()
        records = whole.split(b"\n")
        assert records.pop() == b"", "the log ends within a record after it was opened"
        assert len(records) >= len(self.acknowledged)
        edge = []
        for index, record in enumerate(records):
            assert json.loads(record)["n"] == index, f"entry {index} is not where it belongs"
            promised = self.acknowledged.get(index)
            assert promised is None or promised == record, f"the acknowledged entry {index} was changed"
            level, node = 0, hashlib.sha256(b"\0" + record).digest()
            while edge and edge[-1][0] == level:
                level, node = level + 1, hashlib.sha256(b"\1" + edge.pop()[1] + node).digest()
            edge.append((level, node))
            if (expected := self.heads.get(index + 1)) is not None:
                root = edge[-1][1]
                for _, left in reversed(edge[:-1]):
                    root = hashlib.sha256(b"\1" + left + root).digest()
                assert root.hex() == expected, f"the head of {index + 1} entries does not hold any more"
        lost = [index for index in self.acknowledged if index >= len(records)]
        assert not lost, f"acknowledged entries were lost: {lost[:5]}"
        assert max(self.heads) <= len(records), "a head was signed over more than there is"
        return len(records)


def reopened(ledger):
    """Opens it once more, which must succeed; what the log says of itself is held to what was promised."""
    appender = Appender(ledger.folder, 1)
    deadline = time.monotonic() + 30
    while len(appender.lines) < 3 and time.monotonic() < deadline and appender.process.poll() is None:
        time.sleep(0.002)
    appender.kill()
    errors = appender.wait()
    ledger.note(appender.lines)
    assert len(appender.lines) >= 3, f"the log does not go on: {errors}"


@pytest.mark.chaos
def test_no_acknowledged_record_is_lost_by_kill(tmp_path):
    seed = random.randrange(1 << 30)
    print("seed", seed)
    chance = random.Random(seed)
    ledger, acknowledged = None, 0
    for number in range(KILLS):
        if number % LIFE == 0:
            ledger = Ledger(tmp_path / f"log{number}")
        appender = Appender(ledger.folder, chance.choice([1, 4, 16, 64]))
        # Most of them while it appends, some while it opens.
        opening = chance.random() < 0.2
        while not opening and not appender.lines and appender.process.poll() is None:
            time.sleep(0.002)
        time.sleep(chance.random() ** 2 * 0.2)
        appender.kill()
        errors = appender.wait()
        assert not errors, errors
        before = len(ledger.acknowledged)
        ledger.note(appender.lines)
        acknowledged += len(ledger.acknowledged) - before
        if number % LIFE == LIFE - 1 or number == KILLS - 1 or chance.random() < 0.2:
            reopened(ledger)
            ledger.check()
    assert acknowledged > KILLS
    print(f"{KILLS} kills, {acknowledged} acknowledged records, none lost")


@pytest.mark.chaos
@pytest.mark.skipif(why_not() is not None, reason=f"skipped: no power cuts here: {why_not()}")
def test_no_acknowledged_record_is_lost_by_a_power_cut(tmp_path):
    """The disk stops at a random request to it, what was not synced goes or is torn, and it comes up again; in half of
    the rounds it failed before that as well."""
    seed = random.randrange(1 << 30)
    print("seed", seed)
    chance = random.Random(seed)
    ledger, acknowledged, total, refused = None, 0, {"kept": 0, "lost": 0, "torn": 0}, 0
    disk = None
    try:
        for number in range(CUTS):
            if number % LIFE == 0:
                if disk:
                    disk.__exit__()
                disk = Disk(tmp_path / f"disk{number}")
                ledger = Ledger(tmp_path / f"disk{number}")
            if chance.random() < 0.5:
                fail(disk, chance)
            # The first forty requests are those of opening.
            disk.hang(MUTATING, after=chance.randrange(40) if chance.random() < 0.4 else chance.randrange(2000))
            appender = Appender(ledger.folder, chance.choice([1, 4, 16, 64]))
            deadline = time.monotonic() + 5
            while not disk.state()["waiting"] and time.monotonic() < deadline and appender.process.poll() is None:
                time.sleep(0.01)
            appender.kill()
            for what, count in disk.cut(chance.randrange(1 << 30)).items():
                total[what] += count
            errors = appender.wait()
            # Where the disk failed on opening, it may say so and end.
            assert not errors or "input/output" in errors.lower() or "space" in errors, errors
            before = len(ledger.acknowledged)
            ledger.note(appender.lines)
            acknowledged += len(ledger.acknowledged) - before
            reopened(ledger)
            ledger.check()
            refused += ledger.refused
            ledger.refused = 0
        assert acknowledged > CUTS and total["lost"] + total["torn"] > CUTS
        print(f"{CUTS} power cuts, {acknowledged} acknowledged records, none lost; changes on the disk: {total}, "
              f"{refused} records refused")
    finally:
        if disk:
            disk.__exit__()


@pytest.mark.chaos
@pytest.mark.skipif(why_not() is not None, reason=f"skipped: no power cuts here: {why_not()}")
def test_the_whole_agent_survives_power_cuts(mock_programs, tmp_path):
    """Its audit log, its database and its keys on one disk: what it said yes to is there, and nothing else is done
    than what is on record."""
    seed = random.randrange(1 << 30)
    print("seed", seed)
    chance = random.Random(seed)
    home = tmp_path / "b"
    home.mkdir()
    with Disk(home / "lib") as disk:
        box = Box(mock_programs, home).start()
        given, number, key = set(), 0, box.status()["keys"]["device"]
        try:
            for _ in range(max(5, CUTS // 10)):
                disk.hang(MUTATING, after=chance.randrange(400))
                deadline = time.monotonic() + 20
                while not disk.state()["waiting"] and time.monotonic() < deadline:
                    number += 1
                    try:
                        made = box.skerry("token", "create", f"app-{number}", "--role", "chat", check=False, timeout=2)
                    except subprocess.TimeoutExpired:
                        break
                    if made.returncode == 0:
                        given.add(f"app-{number}")
                box.daemon.process.kill()
                disk.cut(chance.randrange(1 << 30))
                box.daemon.process.wait(20)
                box.start()
                there = {token["name"] for token in box.json("token", "list")["tokens"]}
                assert given <= there, f"tokens were lost: {given - there}"
                records = [json.loads(line) for line in (box.state / "audit" / "log.jsonl").read_bytes().splitlines()]
                recorded = json.dumps([record for record in records if record["kind"] == "token"])
                assert all(f'"{name}"' in recorded or f":{name}" in recorded for name in there)
                box.skerry("audit", "export", "--output", home / "export.jsonl")
                box.skerry("audit", "verify", home / "export.jsonl", "--key", key)
            assert given
            print(f"{len(given)} tokens were given, none lost")
        finally:
            disk.calm()
            print(box.daemon.tail())
            box.daemon.kill()


@pytest.mark.skipif(why_not() is not None, reason=f"skipped: no power cuts here: {why_not()}")
def test_what_a_killed_process_had_not_synced_is_durable_once_the_log_is_open(tmp_path):
    """Else a head would be signed over it, and the log without it would be tampering."""
    with Disk(tmp_path / "disk") as disk:
        ledger = Ledger(tmp_path / "disk")
        reopened(ledger)
        log = ledger.folder / "log.jsonl"
        last = log.read_bytes().splitlines()[-1]
        number = json.loads(last)["n"]
        with open(log, "ab") as file:
            file.write(last.replace(b'"n":%d,' % number, b'"n":%d,' % (number + 1)) + b"\n")
        appender = Appender(ledger.folder, 1)
        while not appender.lines and appender.process.poll() is None:
            time.sleep(0.001)
        appender.kill()
        disk.cut(0, keep="none")
        assert not appender.wait()
        ledger.note(appender.lines)
        assert number + 2 in ledger.heads
        ledger.check()


@pytest.mark.skipif(why_not() is not None, reason=f"skipped: no power cuts here: {why_not()}")
def test_on_a_disk_that_lies_records_are_lost_and_that_is_seen(tmp_path):
    """The proof of this file's own checks: fsync says yes and does nothing."""
    with Disk(tmp_path / "disk") as disk:
        ledger = Ledger(tmp_path / "disk")
        reopened(ledger)
        disk.lie()
        appender = Appender(ledger.folder, 4)
        while len(appender.lines) < 50 and appender.process.poll() is None:
            time.sleep(0.01)
        appender.kill()
        disk.cut(0, keep="none")
        appender.wait()
        ledger.note(appender.lines)
        with pytest.raises(AssertionError):
            ledger.check()


def fail(disk, chance):
    """Trouble before the cut; the log must neither believe a sync that failed nor a later one that says it succeeded."""
    after = chance.randrange(300)
    kind = chance.choice(["write", "fsync", "lost", "full"])
    if kind == "full":
        return disk.fail(["write"], errno.ENOSPC, name="log.jsonl", after=after, times=chance.randint(1, 20))
    operation = "write" if kind == "write" else "fsync"
    disk.fail([operation], errno.EIO, name="log.jsonl", after=after, times=chance.randint(1, 3), drop=kind == "lost")
