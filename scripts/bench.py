"""The agent measured against the engine that it wraps: paired, interleaved, medians.

Every speed stands beside the same llama-server called without the agent, in the same run on the same machine.
"""

import concurrent.futures
import glob
import http.client
import json
import os
import pathlib
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
from box import MODEL, Box, Hub, Programs, free_port, wait_for  # noqa: E402

ROUNDS = int(os.environ.get("ROUNDS", "40"))


def emit(name, value, unit, against=None, ratio=None):
    print(json.dumps({"name": name, "value": round(value, 6), "unit": unit,
                      "against": None if against is None else round(against, 6),
                      "ratio": None if ratio is None else round(ratio, 4)}), flush=True)


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path, timeout=120):
        super().__init__("localhost", timeout=timeout)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


def ask(connect, body, token=None):
    """(seconds to the first content, seconds in all, tokens) of one streamed chat on a new connection."""
    headers = {"Content-Type": "application/json"}
    if token:
        headers["Authorization"] = f"Bearer {token}"
    data = json.dumps(body).encode()
    started = time.perf_counter()
    connection = connect()
    connection.request("POST", "/v1/chat/completions", data, headers)
    reply = connection.getresponse()
    assert reply.status == 200, reply.read()
    first, tokens = None, 0
    for line in reply:
        if line.startswith(b"data: {"):
            chunk = json.loads(line[6:])
            if any((c.get("delta") or {}).get("content") for c in chunk.get("choices") or []):
                tokens += 1
                first = first or time.perf_counter()
    ended = time.perf_counter()
    connection.close()
    return (first or ended) - started, ended - started, tokens, ended - (first or started)


def chat(tokens, stream=True):
    return {"model": MODEL, "messages": [{"role": "user", "content": "Tell me about the sea."}], "stream": stream,
            "max_tokens": tokens, "temperature": 0, "seed": 1, "ignore_eos": True}


def served(box, token):
    """The agent's engine over TCP through the agent, and the same engine process at its own socket."""
    def through():
        return http.client.HTTPConnection("127.0.0.1", box.port, timeout=120)
    sockets = glob.glob(str(box.run / "engines" / "**" / "*.sock"), recursive=True)
    assert len(sockets) == 1, sockets

    def direct():
        return UnixConnection(sockets[0])
    for _ in range(3):
        ask(through, chat(1), token)
        ask(direct, chat(1))
    pairs = [(ask(through, chat(1), token)[1], ask(direct, chat(1))[1]) for _ in range(ROUNDS)]
    added = statistics.median(a - d for a, d in pairs) * 1000
    base = statistics.median(d for _, d in pairs) * 1000
    emit("chat.added_latency", added, "ms", base, (base + added) / base)
    rates = []
    for _ in range(max(5, ROUNDS // 5)):
        a, d = ask(through, chat(128), token), ask(direct, chat(128))
        rates.append(((a[2] - 1) / a[3], (d[2] - 1) / d[3]))
    agent = statistics.median(a for a, _ in rates)
    engine = statistics.median(d for _, d in rates)
    emit("chat.streamed_tokens_per_second", agent, "1/s", engine, statistics.median(a / d for a, d in rates))


def cold_start(programs, box, token):
    """From a request with no engine running to its first token: the agent hashes the weights first, the peer does not."""
    def through():
        return http.client.HTTPConnection("127.0.0.1", box.port, timeout=120)
    verified, unverified = [], []
    for _ in range(7):
        box.skerry("model", "unload", MODEL)
        wait_for("unloaded", lambda: not box.status()["engines"], 10)
        verified.append(ask(through, chat(1), token)[0])
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "e.sock")
            started = time.perf_counter()
            engine = subprocess.Popen([programs.engine, "-m", str(box.blob()), "--host", path, "--no-ui",
                                       "-c", "2048", "-np", "2", "-t", "2"],
                                      stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            try:
                while True:
                    try:
                        c = UnixConnection(path)
                        c.request("GET", "/health")
                        if c.getresponse().status == 200:
                            break
                    except OSError:
                        pass
                    time.sleep(0.005)
                first = ask(lambda: UnixConnection(path), chat(1))[0]
                unverified.append(time.perf_counter() - started)
                del first
            finally:
                engine.kill()
                engine.wait()
    a, d = statistics.median(verified), statistics.median(unverified)
    emit("engine.cold_start_to_first_token_verified", a, "s", d, a / d)


def memory(box):
    """Resident and proportional memory of an agent that has served nothing for a while."""
    box.skerry("model", "unload", MODEL)
    time.sleep(2)
    values = {}
    for line in open(f"/proc/{box.daemon.process.pid}/smaps_rollup"):
        if line.startswith(("Rss:", "Pss:")):
            values[line.split(":")[0]] = int(line.split()[1]) / 1024
    emit("agent.idle_resident", values["Rss"], "MiB")
    emit("agent.idle_proportional", values["Pss"], "MiB")


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
    programs = Programs.from_environment()
    home = pathlib.Path(tempfile.mkdtemp(prefix="skerry-bench-"))
    hub, box = Hub(programs, home / "h"), None
    try:
        hub.ready()
        box = Box(programs, home / "b", settings={"engine": {"threads": 2}}).start()
        box.skerry("enroll", hub.token())
        box.skerry("sync")
        token = box.token("bench", "chat")
        box.skerry("run", MODEL, "Hello")
        served(box, token)
        cold_start(programs, box, token)
        site(programs, hub, home)
        hub.daemon.stop()
        box.daemon.stop()
        box.start()
        memory(box)
    finally:
        if box:
            box.daemon.kill()
        hub.daemon.kill()
        shutil.rmtree(home, ignore_errors=True)


main()
