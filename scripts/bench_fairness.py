"""How long a light client waits for its first token beside a greedy one that keeps 32 requests open: through the agent, and
beside it the same at the same engine process without the agent."""

import os
import pathlib
import socket
import sys
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
from bench_inference import Line, chat, emit, engine_socket, fleet, percentile  # noqa: E402

DEPTH = 32
ROUNDS = max(20, int(os.environ.get("ROUNDS", "40")))


class Flood:
    """A client that has always so many requests open, on as many connections."""

    def __init__(self, make, depth=DEPTH, tokens=24):
        self.ended, self.words, self.lock = threading.Event(), 0, threading.Lock()
        self.lines = [make() for _ in range(depth)]
        self.threads = [threading.Thread(target=self.run, args=(line, n, tokens)) for n, line in enumerate(self.lines)]

    def run(self, line, number, tokens):
        # The last in a queue of 32 waits for long on a slow machine.
        line.connect()
        line.socket.settimeout(900)
        while not self.ended.is_set():
            try:
                words = line.ask(chat(tokens, prompt=f"Tell me a long story, number {number}."))[2]
            except OSError:
                if self.ended.is_set():
                    return
                raise
            with self.lock:
                self.words += words

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        time.sleep(3)
        self.since, self.words = time.monotonic(), 0
        return self

    def __exit__(self, *_):
        self.speed = self.words / (time.monotonic() - self.since)
        # Hangs up, and does not call again.
        self.ended.set()
        for line in self.lines:
            line.address = "/nowhere"
            line.socket.shutdown(socket.SHUT_RDWR)
        for thread in self.threads:
            thread.join()


def waits(line, rounds, pause=0.2):
    """Seconds to the first token of short answers, one after the other, each to a prompt of its own."""
    found = []
    for n in range(rounds):
        found.append(line.ask(chat(4, prompt=f"What is {n} and {n + 1} together?"))[0])
        time.sleep(pause)
    return found


def fairness(box):
    """The box needs an engine with at least two slots; its policy may not limit the role `chat`."""
    greedy, light = box.token("bench-greedy", "chat"), box.token("bench-light", "chat")

    def through(token):
        return Line(("127.0.0.1", box.port), token)
    # Alone, with a greedy client that has left: as it is met in practice.
    waits(through(light), 3)
    alone = waits(through(light), ROUNDS)
    with Flood(lambda: through(greedy)) as flood:
        waits(through(light), 2)
        beside = waits(through(light), ROUNDS)
    own, base = percentile(beside, 0.95) * 1000, percentile(alone, 0.95) * 1000
    emit("fairness.light_first_token_p95_beside_greedy", own, "ms", base, own / base)
    address = engine_socket(box)
    direct_alone = waits(Line(address), ROUNDS)
    with Flood(lambda: Line(address)) as unfair:
        # Without queues of their own each waits behind all 32: a few rounds tell it.
        unfair_beside = waits(Line(address), 3, 0)
    theirs, base = percentile(unfair_beside, 0.5) * 1000, percentile(direct_alone, 0.95) * 1000
    emit("fairness.engine_alone_first_token_median_beside_greedy", theirs, "ms", base, theirs / base)
    emit("fairness.greedy_tokens_per_second", flood.speed, "1/s", unfair.speed, flood.speed / max(unfair.speed, 1e-9))


def main():
    with fleet() as (_, _, _, box):
        fairness(box)


if __name__ == "__main__":
    main()
