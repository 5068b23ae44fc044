"""The agent on a disk that fails: whatever happens to the audit folder, nothing is done that is not on record, whoever asks
is told why within two seconds, service comes back by itself, and the outage is on record."""

import errno
import http.client
import json
import os
import shutil
import socket
import time

import pytest
from box import MODEL, wait_for
from conftest import serving
from fuse_disk import Disk, why_not

pytestmark = pytest.mark.skipif(why_not() is not None, reason=f"skipped: no failing disk here: {why_not()}")
ASK = {"model": MODEL, "messages": [{"role": "user", "content": "Say hello."}], "max_tokens": 4}
ALL = ["write", "fsync", "truncate", "create", "rename", "link", "unlink", "mkdir", "allocate", "fsyncdir"]


@pytest.fixture(scope="module")
def box(mock_programs, tmp_path_factory):
    home = tmp_path_factory.mktemp("d")
    state = home / "box" / "lib"
    state.mkdir(parents=True, mode=0o700)
    with Disk(state / "audit") as disk, serving(mock_programs, home) as box:
        box.disk = disk
        try:
            yield box
        finally:
            disk.calm()


@pytest.fixture(autouse=True)
def well(box):
    assert chat(box)[0] == 200
    yield
    box.disk.calm()
    resumes(box)


def chat(box, **more):
    """(status, message, seconds)"""
    started = time.monotonic()
    status, _, body = box.request("POST", "/v1/chat/completions", {**ASK, **more}, box.app, timeout=30)
    text = body.decode()
    return status, json.loads(text)["error"]["message"] if status != 200 else text, time.monotonic() - started


def answers(box):
    """How many requests the engines that run now were ever given."""
    count = 0
    for path in (box.run / "engines").rglob("*.sock"):
        connection = http.client.HTTPConnection("engine")
        connection.sock = socket.socket(socket.AF_UNIX)
        try:
            connection.sock.connect(str(path))
            connection.request("GET", "/mock")
            count += json.loads(connection.getresponse().read())["answers"]
        except OSError:
            pass
        finally:
            connection.close()
    return count


def records(box, **wanted):
    lines = (box.state / "audit" / "log.jsonl").read_bytes().splitlines()
    found = [json.loads(line) for line in lines]
    return [record for record in found if all(record.get(key) == value for key, value in wanted.items())]


def permissions(box):
    return len(records(box, kind="decision", verb="infer", allowed=True))


def resumes(box, seconds=5):
    started = time.monotonic()
    wait_for("it answers again by itself", lambda: chat(box)[0] == 200, seconds, 0.1)
    return time.monotonic() - started


def refused(box, said, times=4):
    """Everybody who asks is refused in time and told why; who asks for nothing is answered. An engine may have begun on the
    first request before it was known that its record can't be written; of the others it never hears."""
    before, took = None, []
    for number in range(times):
        status, message, seconds = chat(box, stream=number % 2 == 1)
        assert status == 503, message
        assert "the audit log can't be written" in message and said in message, message
        took.append(seconds)
        before = answers(box) if before is None else before
    assert sorted(took)[len(took) // 2] < 2, took
    assert answers(box) == before, "an engine was asked without a record"
    status, _, body = box.request("GET", "/skerry/v1/health", timeout=5)
    assert status == 200 and json.loads(body)["audit"]["cause"]
    # Either it was looked at a moment ago, or it can't be put on record; it says so and what to do in both cases.
    told = box.skerry("status", check=False)
    assert "NOT WRITTEN" in told.stdout + told.stderr, told


def outage(box, cause, since):
    """The record of the outage, which comes within seconds of its end."""
    def find():
        return [record for record in records(box, kind="audit", event="outage") if record["t"] >= since]
    found = wait_for("the outage is on record", find, 5, 0.1)
    assert found[-1]["cause"] == cause, found
    return found[-1]


def now():
    return int(time.time() * 1000)


@pytest.mark.parametrize("operations,code,said,cause", [
    (["write"], errno.EIO, "Input/output error", "inputOutput"),
    (["fsync"], errno.EIO, "Input/output error", "inputOutput"),
    (ALL, errno.EROFS, "read-only", "readOnly"),
])
def test_errors_are_told_and_service_comes_back(box, operations, code, said, cause):
    since, asked = now(), permissions(box)
    box.disk.fail(operations, code)
    refused(box, said)
    box.disk.calm()
    resumes(box)
    assert outage(box, cause, since)["refused"] >= 1
    # What was refused did not come later.
    assert permissions(box) - asked <= 4


def test_a_full_disk(box):
    since = now()
    box.disk.full()
    refused(box, "no space left")
    # A refusal has no effect, so it may use the room that is kept.
    assert box.request("GET", "/skerry/v1/audit", token=box.app)[0] == 403
    assert records(box, kind="decision", verb="audit.read", allowed=False)[-1]["t"] >= since
    box.disk.calm()
    resumes(box)
    outage(box, "full", since)


def test_a_sync_that_failed_is_not_believed_the_next_time(box):
    """Linux marks pages that it could not write as written: the next fsync succeeds and they are nowhere."""
    box.disk.fail(["fsync"], errno.EIO, name="log.jsonl", times=1, drop=True)
    assert chat(box)[0] == 503
    assert chat(box)[0] == 200
    promised = (box.state / "audit" / "log.jsonl").read_bytes()
    box.daemon.kill()
    box.disk.cut(1)
    kept = (box.state / "audit" / "log.jsonl").read_bytes()
    box.start()
    permitted = [line for line in promised.splitlines() if b'"verb":"infer"' in line]
    assert permitted[-1] in kept.splitlines()
    box.skerry("audit", "export", "--output", box.home / "after.jsonl")
    box.skerry("audit", "verify", box.home / "after.jsonl", "--key", box.status()["keys"]["device"])


def test_a_disk_that_hangs_for_a_minute(box):
    since = now()
    box.disk.hang(["write", "fsync"])
    began = time.monotonic()
    for moment in (0, 15, 35, 55):
        time.sleep(max(0, began + moment - time.monotonic()))
        refused(box, "has not answered for", times=3)
    time.sleep(max(0, began + 60 - time.monotonic()))
    assert box.disk.state()["waiting"] > 0
    box.disk.calm()
    resumes(box)
    record = outage(box, "stalled", since)
    assert record["milliseconds"] > 55_000 and record["refused"] >= 8


def test_a_file_that_is_removed_is_put_back(box):
    since, before = now(), records(box)
    (box.state / "audit" / "log.jsonl").unlink()
    assert chat(box)[0] == 200
    assert outage(box, "removed", since)["putBack"] is True
    assert records(box)[:len(before)] == before


@pytest.mark.parametrize("cause", ["moved", "replaced"])
def test_a_file_that_is_elsewhere_is_waited_for(box, cause):
    since, log = now(), box.state / "audit" / "log.jsonl"
    away = log.with_name("elsewhere")
    os.rename(log, away)
    if cause == "replaced":
        log.write_text("{}\n")
    refused(box, "another file" if cause == "replaced" else "moved")
    os.rename(away, log)
    resumes(box)
    outage(box, cause, since)


def test_a_file_that_is_cut_off_stops_the_box_and_it_says_what_to_do(box):
    log = box.state / "audit" / "log.jsonl"
    whole = log.with_name("copy")
    shutil.copy(log, whole)
    with open(log, "r+b") as file:
        file.truncate(log.stat().st_size - 200)
    refused(box, "cut it off")
    # Nothing of it mends itself; whoever puts the bytes back has the log back.
    time.sleep(3)
    assert chat(box)[0] == 503
    with open(log, "r+b") as file:
        file.write(whole.read_bytes())
    whole.unlink()
    resumes(box)
