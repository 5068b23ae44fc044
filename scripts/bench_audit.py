"""A long audit log: opening it, finding a subject's last hundred records, exporting and verifying it.

RECORDS says how long (a million); ten million take some 8 GB in $TMPDIR (default /var/tmp) while it runs. Beside each time
stands SHA-256 over the same bytes by one core, in the same run.
"""

import hashlib
import http.client
import json
import os
import pathlib
import socket
import statistics
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
from box import Box, Programs, wait_for  # noqa: E402

RECORDS = int(os.environ.get("RECORDS", "1000000"))
MIB = 1 << 20


def emit(name, value, unit, against=None):
    print(json.dumps({"name": f"audit.{name}_{RECORDS}_records", "value": round(value, 6), "unit": unit,
                      "against": None if against is None else round(against, 6),
                      "ratio": None if not against else round(value / against, 4)}), flush=True)


def sha256(path):
    """Seconds that one core needs for the file, and so that it is in memory for what comes after."""
    started = time.perf_counter()
    with open(path, "rb", buffering=0) as file:
        hashlib.file_digest(file, "sha256")
    return time.perf_counter() - started


def run(arguments):
    """(seconds, the most memory that it took, in MiB)"""
    started = time.perf_counter()
    child = subprocess.Popen([str(argument) for argument in arguments], stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise RuntimeError(f"{arguments[:3]} ended with {child.returncode}")
    return time.perf_counter() - started, usage.ru_maxrss / 1024


def most(box):
    """The most memory that the agent ever took, in MiB."""
    for line in pathlib.Path(f"/proc/{box.daemon.process.pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    return 0.0


def opened(box):
    started = time.perf_counter()
    box.daemon.start()
    wait_for("the agent answers", box.status, 900, 0.02)
    return time.perf_counter() - started


def search(box, subject):
    """(milliseconds, records found)"""
    line = http.client.HTTPConnection("localhost")
    line.sock = socket.socket(socket.AF_UNIX)
    line.sock.connect(str(box.socket))
    started = time.perf_counter()
    line.request("GET", f"/skerry/v1/audit/search?subject={subject}&limit=100")
    found = json.loads(line.getresponse().read())["entries"]
    line.close()
    return (time.perf_counter() - started) * 1000, len(found)


def main():
    programs = Programs.from_environment()
    bench = pathlib.Path(programs.skerryd).with_name("skerry-bench")
    parent = os.environ.get("TMPDIR", "/var/tmp")
    with tempfile.TemporaryDirectory(prefix="skerry-bench-", dir=parent, ignore_cleanup_errors=True) as folder:
        box = Box(programs, pathlib.Path(folder) / "b").start()
        try:
            key = box.status()["keys"]["device"]
            empty = most(box)
            box.daemon.stop()
            audit = box.state / "audit"
            # Begun anew and killed, the log has the head that it begins with, over nothing.
            for name in ("log.jsonl", "head", "hashes", "roots"):
                (audit / name).unlink(missing_ok=True)
            box.daemon.start()
            wait_for("the agent answers", box.status, 60, 0.02)
            box.daemon.kill()
            (audit / "hashes").unlink()
            with open(audit / "log.jsonl", "wb") as log:
                subprocess.run([bench, "records", str(RECORDS)], stdout=log, check=True)
            emit("open_and_mend", opened(box), "s")
            # The head is signed with an export. What counts use would read all records before it ends in peace.
            box.skerry("audit", "export", "--from", str(RECORDS), "--output", box.home / "head.jsonl")
            box.daemon.kill()
            bare = sha256(audit / "log.jsonl")
            emit("open", opened(box), "s", bare)
            emit("open_memory", most(box) - empty, "MiB")
            for subject, what in (("token:app-17", "frequent"), ("token:rare", "rare")):
                times = [search(box, subject) for _ in range(20)]
                if min(found for _, found in times) < min(100, RECORDS // 100_000):
                    raise RuntimeError(f"{subject} was not found")
                emit(f"search_last_100_of_a_{what}_subject", statistics.median(took for took, _ in times), "ms")
            before, target = most(box), box.home / "export.jsonl"
            seconds, memory = run([programs.skerry, "--socket", box.socket, "audit", "export", "--output", target])
            bare = sha256(target)
            emit("export", seconds, "s", bare)
            emit("export_memory", memory, "MiB")
            emit("export_memory_of_the_agent", most(box) - before, "MiB")
            seconds, memory = run([programs.skerry, "audit", "verify", target, "--key", key])
            emit("verify", seconds, "s", bare)
            emit("verify_memory", memory, "MiB")
        except BaseException:
            print(box.daemon.tail(), file=sys.stderr)
            raise
        finally:
            box.daemon.kill()


main()
