"""How models travel, beside curl (the whole file) and casync (the same chunks from a static server); and how fast a
stored model is verified, beside `openssl speed`. Bytes are counted on the way, by a proxy or by the server."""

import functools
import http.server
import json
import os
import pathlib
import random
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "Tests" / "E2E")]
import big_models  # noqa: E402
from box import Box, Programs, call  # noqa: E402
from counting_hub import CountingHub  # noqa: E402

MiB = 1 << 20
SIZE = int(os.environ.get("TRANSFER_MIB", "1024")) * MiB


def emit(name, value, unit, against=None):
    print(json.dumps({"name": name, "value": round(value, 6), "unit": unit,
                      "against": None if against is None else round(against, 6),
                      "ratio": None if not against else round(value / against, 6)}), flush=True)


class Static:
    """A folder behind Python's own web server, and how many bytes of content went out."""

    def __init__(self, folder):
        self.bytes = 0

        class Handler(http.server.SimpleHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            # Head and body in one packet: apart, each chunk would cost casync a delayed acknowledgement of 40 ms.
            wbufsize = 1 << 20

            def log_message(self, *_):
                pass

            def copyfile(handler, source, target):
                data = source.read()
                self.bytes += len(data)
                target.write(data)

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=folder))
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


def timed(work):
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def index(hub, version):
    targets = json.loads(call([hub.programs.skerry, "repo", "status", hub.repo, "--json"]).stdout)["targets"]
    return next(t["custom"]["skerry"]["index"]["sha256"] for t in targets if t["custom"]["skerry"]["version"] == version)


def transfers(programs, home):
    chance = random.Random(6)
    run = SIZE // 100
    places = [(SIZE // 10 * n + chance.randrange(0, SIZE // 20), run) for n in range(10)]
    versions = {
        "1": big_models.noise(home / "m1.gguf", SIZE, note=b"first"),
        "2": big_models.noise(home / "m2.gguf", SIZE, note=b"second, with more to say"),
        "3": big_models.noise(home / "m3.gguf", SIZE, note=b"second, with more to say", changed=places),
    }
    hub = CountingHub(programs, home / "h")
    box = None
    try:
        hub.init()
        hub.start()
        hub.create_repository()
        static = Static(hub.repo)
        plain = Static(home)
        box = Box(programs, home / "b").start()
        for version, file in versions.items():
            hub.add_model(weights=file, name="bench", version=version)
            hub.publish()
            if version == "1":
                box.skerry("enroll", hub.token())
            hub.forget()
            ours = timed(lambda: box.skerry("sync", timeout=1200))
            assert [m["version"] for m in box.status()["models"]] == [version]
            bytes_ours = hub.total

            plain.bytes = 0
            whole = timed(lambda: call(["curl", "-s", "-o", home / "curl.out", f"{plain.url}/{file.name}"]))
            static.bytes = 0
            seeds = [f"--seed={home / 'casync.out'}"] if version != "1" else []
            theirs = timed(lambda: call(["casync", "--digest=sha256", f"--store={static.url}/chunks", *seeds, "extract",
                                         f"{static.url}/indexes/{index(hub, version)}.caibx", home / "casync.new"]))
            (home / "casync.new").rename(home / "casync.out")
            name = {"1": "first", "2": "metadata_edit", "3": "tenth_changed"}[version]
            emit(f"transfer.{name}_bytes_against_whole", bytes_ours, "B", plain.bytes)
            emit(f"transfer.{name}_bytes_against_casync", bytes_ours, "B", static.bytes)
            emit(f"transfer.{name}_seconds_against_whole", ours, "s", whole)
            emit(f"transfer.{name}_seconds_against_casync", ours, "s", theirs)
        verification(box, file)
    finally:
        if box:
            box.daemon.kill()
        hub.close()


def verification(box, file):
    """A stored model hashed by the agent, on one core and with a second one beside it, against OpenSSL on one core."""
    size = file.stat().st_size / MiB
    said = subprocess.run(["openssl", "speed", "-seconds", "3", "-bytes", str(MiB), "-evp", "sha256"],
                          capture_output=True, text=True).stdout
    peer = float(re.findall(r"([\d.]+)k\s*$", said, re.M)[-1]) * 1000 / MiB
    box.skerry("model", "verify", "bench")

    def verify():
        box.skerry("model", "verify", "bench", timeout=600)

    one = min(timed(verify) for _ in range(5))
    emit("verify.one_core", size / one, "MiB/s", peer)

    def pair():
        threads = [threading.Thread(target=verify) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    two = min(timed(pair) for _ in range(3))
    emit("verify.two_at_a_time", 2 * size / two, "MiB/s", peer)


def main():
    home = pathlib.Path(tempfile.mkdtemp(prefix="skerry-transfer-", dir=os.environ.get("TMPDIR", "/var/tmp")))
    try:
        transfers(Programs.from_environment(), home)
    finally:
        shutil.rmtree(home, ignore_errors=True)


main()
