"""What authentication, roles, audit and metering cost: paired and interleaved against the very engine that is asked.

Over a mock engine that answers at once the agent's own time shows; over a real one what an application feels. Beside them,
in the same run: llama-server's router mode over its own child, and llama-cpp-python's server over the same weights.
"""

import concurrent.futures
import contextlib
import glob
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
from box import MODEL, ROOT, Box, Hub, Programs, free_port, wait_for  # noqa: E402

ROUNDS = int(os.environ.get("ROUNDS", "40"))
MOCK = ROOT / "Tests" / "E2E" / "mock_engine.py"


def emit(name, value, unit, against=None, ratio=None):
    print(json.dumps({"name": name, "value": round(value, 6), "unit": unit,
                      "against": None if against is None else round(against, 6),
                      "ratio": None if ratio is None else round(ratio, 4)}), flush=True)


class Line:
    """One connection that is kept open, with as little of a client in it as goes: what is measured is the server."""

    def __init__(self, address, token=None, path="/v1/chat/completions"):
        self.address, self.token, self.path, self.socket = address, token, path, None

    def connect(self):
        self.close()
        unix = isinstance(self.address, str)
        self.socket = socket.socket(socket.AF_UNIX if unix else socket.AF_INET)
        self.socket.settimeout(120)
        self.socket.connect(self.address)
        if not unix:
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def close(self):
        if self.socket:
            self.socket.close()
            self.socket = None

    def ask(self, body):
        """(seconds to the first word, seconds in all, words) of one streamed answer."""
        data = json.dumps(body).encode()
        head = (f"POST {self.path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
                f"Content-Length: {len(data)}\r\n" + (f"Authorization: Bearer {self.token}\r\n" if self.token else "")
                + "\r\n").encode()
        for attempt in (0, 1):
            if self.socket is None:
                self.connect()
            try:
                return self.exchange(head + data)
            except OSError:
                # The engine closes a kept connection after a hundred requests.
                self.close()
                if attempt:
                    raise

    def exchange(self, request):
        started = time.perf_counter()
        self.socket.sendall(request)
        got, first = b"", None
        while b"\r\n0\r\n\r\n" not in got[-64:]:
            piece = self.socket.recv(1 << 16)
            if not piece:
                raise OSError("closed")
            got += piece
            if first is None and b'"content":"' in got:
                first = time.perf_counter()
        ended = time.perf_counter()
        if not got.startswith(b"HTTP/1.1 200"):
            raise AssertionError(got[:600])
        if b"Connection: close" in got[:600]:
            self.close()
        return (first or ended) - started, ended - started, got.count(b'"content":"')


def chat(tokens, model=MODEL, prompt="Tell me about the sea."):
    return {"model": model, "messages": [{"role": "user", "content": prompt}], "stream": True, "max_tokens": tokens,
            "temperature": 0, "seed": 1, "ignore_eos": True}


def percentile(values, part):
    return sorted(values)[min(len(values) - 1, int(len(values) * part))]


def paired(through, direct, body, rounds):
    """Both in turn, who begins changing; the lists of what each `ask` gave."""
    a, d = [], []
    for n in range(rounds):
        for which in (0, 1) if n % 2 else (1, 0):
            (a if which else d).append((through if which else direct).ask(body))
    return a, d


def added(name, a, d, at=1):
    """Milliseconds that the first has more, as median and 99th percentile."""
    differences = [(x[at] - y[at]) * 1000 for x, y in zip(a, d)]
    base = statistics.median(y[at] for y in d) * 1000
    middle = statistics.median(differences)
    emit(f"{name}.added_median", middle, "ms", base, (base + middle) / base)
    # A pair's own difference swings by both; the tail is that of the distributions.
    tail = (percentile([x[at] for x in a], 0.99) - percentile([y[at] for y in d], 0.99)) * 1000
    emit(f"{name}.added_p99", tail, "ms", percentile([y[at] for y in d], 0.99) * 1000, None)


def engine_socket(box):
    sockets = glob.glob(str(box.run / "engines" / "**" / "*.sock"), recursive=True)
    assert len(sockets) == 1, sockets
    return sockets[0]


def over_mock(programs, hub, home):
    """At once: nothing of the agent's work is hidden behind the engine's. After 5 ms, less than any real engine takes for
    its first token: the decision's record is on disk by then."""
    for name, settings in (("agent.over_mock", "delay=0"), ("agent.over_mock_of_5_ms", "delay=5")):
        box = Box(programs, home / name, name="mock", settings={
            "engine": {"path": str(MOCK), "sandbox": "off", "arguments": ["--mock", settings]}}).start()
        try:
            box.skerry("enroll", hub.token())
            box.skerry("sync")
            through = Line(("127.0.0.1", box.port), box.token("bench", "chat"))
            through.ask(chat(1))
            direct = Line(engine_socket(box))
            paired(through, direct, chat(1), 50)
            added(name, *paired(through, direct, chat(1), ROUNDS * 20))
        finally:
            box.daemon.kill()


def throughput(make, body, clients, rounds):
    """Words a second that so many clients get together."""
    lines = [make() for _ in range(clients)]
    with concurrent.futures.ThreadPoolExecutor(clients) as pool:
        started = time.perf_counter()
        words = sum(pool.map(lambda line: sum(line.ask(body)[2] for _ in range(rounds)), lines))
        seconds = time.perf_counter() - started
    for line in lines:
        line.close()
    return words / seconds


def over_engine(box, token):
    def agent():
        return Line(("127.0.0.1", box.port), token)

    def engine():
        return Line(engine_socket(box))
    through, direct = agent(), engine()
    paired(through, direct, chat(1), 5)
    a, d = paired(through, direct, chat(1), ROUNDS * 5)
    added("chat.first_token", a, d, at=0)
    a, d = paired(through, direct, chat(256), max(5, ROUNDS // 5))
    slower = statistics.median(x[1] / y[1] for x, y in zip(a, d))
    emit("chat.stream_of_256_tokens", statistics.median(x[1] for x in a), "s", statistics.median(y[1] for y in d),
         slower)
    ours, theirs = [], []
    for _ in range(3):
        ours.append(throughput(agent, chat(64), 8, 2))
        theirs.append(throughput(engine, chat(64), 8, 2))
    emit("chat.throughput_of_8_clients", statistics.median(ours), "tokens/s", statistics.median(theirs),
         statistics.median(ours) / statistics.median(theirs))


@contextlib.contextmanager
def started(argv, ready, seconds=90, **options):
    process = subprocess.Popen([str(a) for a in argv], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **options)
    try:
        wait_for(argv[0], ready, seconds)
        yield process
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def rivals(programs, box, token, home):
    """The same questions to the others, each in turn with ours."""
    ours = Line(("127.0.0.1", box.port), token)
    weights = home / "rival" / f"{MODEL}.gguf"
    weights.parent.mkdir()
    weights.symlink_to(programs.weights)

    port = free_port()
    router = [programs.engine, "--models-dir", weights.parent, "--host", "127.0.0.1", "--port", port, "--no-ui"]
    line = Line(("127.0.0.1", port))
    with started(router, lambda: line.ask(chat(1))):
        theirs, mine = paired(line, ours, chat(1), ROUNDS * 2)
        report("chat.first_token.beside_router_mode", mine, theirs)

    rival = os.environ.get("SKERRY_RIVAL_PYTHON")
    if rival:
        port = free_port()
        line = Line(("127.0.0.1", port))
        argv = [rival, "-m", "llama_cpp.server", "--model", weights, "--model_alias", MODEL, "--host", "127.0.0.1",
                "--port", port, "--n_ctx", "2048"]
        with started(argv, lambda: line.ask(chat(1))):
            theirs, mine = paired(line, ours, chat(1), ROUNDS * 2)
            report("chat.first_token.beside_llama_cpp_python", mine, theirs)
            theirs, mine = paired(line, ours, chat(256), max(5, ROUNDS // 8))
            report("chat.stream_of_256_tokens.beside_llama_cpp_python", mine, theirs, at=1)


def report(name, mine, theirs, at=0):
    a, b = (statistics.median(x[at] for x in side) for side in (mine, theirs))
    emit(name, a, "s", b, a / b)


def memory(pid):
    values = {}
    for line in open(f"/proc/{pid}/smaps_rollup"):
        if line.startswith(("Rss:", "Pss:")):
            values[line.split(":")[0]] = int(line.split()[1]) / 1024
    return values


def switches(pid):
    """How often each of its threads has waited for something, by thread."""
    found = {}
    for path in glob.glob(f"/proc/{pid}/task/*/status"):
        with contextlib.suppress(OSError):
            found[path] = next(int(line.split()[1]) for line in open(path) if line.startswith("voluntary_ctxt_switches"))
    return found


def woken(pid, before):
    return sum(max(0, count - before.get(thread, 0)) for thread, count in switches(pid).items())


def idle(programs, home):
    """An agent that nobody asks anything: memory, wake-ups, and what a thousand open connections add."""
    box = Box(programs, home / "i", name="idle", settings={"limits": {"maxConnections": 1100}}).start()
    lines = []
    try:
        pid = box.daemon.process.pid
        time.sleep(3)
        quiet = memory(pid)
        emit("agent.idle_resident", quiet["Rss"], "MiB")
        emit("agent.idle_proportional", quiet["Pss"], "MiB", 20, quiet["Pss"] / 20)
        with started([os.environ["SKERRY_BENCH"], "--wait"], lambda: True) as waiting:
            time.sleep(2)
            before, floor, began = switches(pid), switches(waiting.pid), time.monotonic()
            time.sleep(60)
            seconds = time.monotonic() - began
            # Swift's dispatch library looks after its threads once a second, in every program.
            floor = woken(waiting.pid, floor) / seconds
            value = woken(pid, before) / seconds
            emit("agent.idle_wakeups", value, "1/s", floor, value / floor if floor else None)
        for _ in range(1000):
            line = socket.create_connection(("127.0.0.1", box.port), 10)
            line.sendall(b"GET /skerry/v1/health HTTP/1.1\r\nHost: localhost\r\n\r\n")
            lines.append(line)
            assert line.recv(4096).startswith(b"HTTP/1.1 200")
        more = memory(pid)["Pss"] - quiet["Pss"]
        emit("agent.thousand_idle_connections", more, "MiB", 32, more / 32)
    finally:
        for line in lines:
            line.close()
        box.daemon.kill()


@contextlib.contextmanager
def fleet(settings=None):
    """(programs, folder, hub, box): a box that holds the hub's one model, gone afterwards."""
    programs = Programs.from_environment()
    with tempfile.TemporaryDirectory(prefix="skerry-bench-", ignore_cleanup_errors=True) as folder:
        home = pathlib.Path(folder)
        hub, box = Hub(programs, home / "h"), None
        try:
            hub.ready()
            box = Box(programs, home / "b", settings=settings).start()
            box.skerry("enroll", hub.token())
            box.skerry("sync")
            yield programs, home, hub, box
        finally:
            if box:
                box.daemon.kill()
            hub.daemon.kill()


def main():
    with tempfile.TemporaryDirectory(prefix="skerry-bench-", ignore_cleanup_errors=True) as folder:
        # Before any other agent runs: two share the pages that one is charged for.
        idle(Programs.from_environment(), pathlib.Path(folder))
    with fleet({"engine": {"slots": 8, "contextTokens": 1024}}) as (programs, home, hub, box):
        over_mock(programs, hub, home)
        token = box.token("bench", "chat")
        Line(("127.0.0.1", box.port), token).ask(chat(1))
        over_engine(box, token)
        rivals(programs, box, token, home)


if __name__ == "__main__":
    main()
