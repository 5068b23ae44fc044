"""A verified cold start beside an unverified one, and the copies of a model that ten boxes of one site fetch."""

import concurrent.futures
import os
import pathlib
import socket
import statistics
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
from bench_inference import Line, chat, emit, fleet  # noqa: E402
from box import MODEL, Box, free_port, wait_for  # noqa: E402


def healthy(path):
    """Whether the engine at this socket says that it is ready."""
    try:
        with socket.socket(socket.AF_UNIX) as line:
            line.connect(path)
            line.sendall(b"GET /health HTTP/1.1\r\nHost: engine\r\nConnection: close\r\n\r\n")
            return line.recv(64).startswith(b"HTTP/1.1 200")
    except OSError:
        return False


def cold_start(programs, box, token):
    """From a request with no engine running to its first token: the agent hashes the weights first, the peer does not."""
    verified, unverified = [], []
    for _ in range(7):
        box.skerry("model", "unload", MODEL)
        wait_for("unloaded", lambda: not box.status()["engines"], 10)
        verified.append(Line(("127.0.0.1", box.port), token).ask(chat(1))[0])
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "e.sock")
            started = time.perf_counter()
            engine = subprocess.Popen([programs.engine, "-m", str(box.blob()), "--host", path, "--no-ui",
                                       "-c", "2048", "-np", "2", "-t", "2"],
                                      stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            try:
                while not healthy(path):
                    time.sleep(0.005)
                Line(path).ask(chat(1))
                unverified.append(time.perf_counter() - started)
            finally:
                engine.kill()
                engine.wait()
    a, d = statistics.median(verified), statistics.median(unverified)
    emit("engine.cold_start_to_first_token_verified", a, "s", d, a / d)


def site(programs, hub, home, count=10):
    """How many copies of a model's chunks the hub sends to boxes of one site that enrol and sync at the same time."""
    boxes = [Box(programs, home / f"s{n}", name=f"site-{n}").start() for n in range(count)]
    try:
        ports = [free_port() for _ in boxes]
        neighbours = [{"name": box.name, "address": f"127.0.0.1:{port}", "key": box.json("site")["key"]}
                      for box, port in zip(boxes, ports)]
        for box, port in zip(boxes, ports):
            box.daemon.stop()
            box.settings["site"] = {"listen": f"127.0.0.1:{port}", "neighbours": neighbours, "maxConnections": 512}
            box.write_config()
            box.start()
        tokens = [hub.token() for _ in boxes]
        with concurrent.futures.ThreadPoolExecutor(count) as pool:
            list(pool.map(lambda pair: pair[0].skerry("enroll", pair[1]), zip(boxes, tokens)))
            list(pool.map(lambda box: box.skerry("sync"), boxes))
        copies = sum(box.json("site")["hubBytes"] for box in boxes) / boxes[0].blob().stat().st_size
        emit(f"site.copies_from_the_hub_for_{count}_boxes", copies, "copies", count, copies / count)
    finally:
        for box in boxes:
            box.daemon.kill()


def main():
    with fleet({"engine": {"threads": 2}}) as (programs, home, hub, box):
        cold_start(programs, box, box.token("bench", "chat"))
        site(programs, hub, home)


main()
