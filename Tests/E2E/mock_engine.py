#!/usr/bin/env python3
"""An engine that computes nothing: started as llama-server is, it answers as llama-server does, at once or as slowly as told.

It listens where `--host` says (a path that ends in .sock, or an address with `--port`), answers `--parallel` requests at
a time and lets the others wait, first come, first served. With LLAMA_SERVER_ROUTER_PORT set it ends with its standard
input, as the agent wants it; SIGTERM ends it at once.

How it behaves is said by settings `name=value`, separated by commas or blanks. Later ones win:
the variable SKERRY_MOCK, the argument `--mock`, the alias after `mock.` (`mock.delay-50.tokens-20`, for an agent clears
the environment), and a request's own text in brackets: `[mock delay=50 crash=1]`.

  load=0      milliseconds until it is ready
  fail=0      1: ends at its start with an error, as on a file that is no model
  delay=0     milliseconds before the first token, beside the prompt's
  prefill=0   prompt tokens a second; 0: at once
  tokens=8    how many tokens an answer has; a request's max_tokens may make it fewer
  speed=0     tokens a second; 0: as fast as they can be written
  shared=0    1: streams that run at the same time share `speed` and `prefill`
  crash=0     n: kills itself (SIGKILL) at the nth request for an answer, before its first token; -n: after it
  hang=0      1: never answers
"""

import asyncio
import json
import os
import re
import signal
import sys
import time

DEFAULTS = {"load": 0.0, "fail": 0.0, "delay": 0.0, "prefill": 0.0, "tokens": 8.0, "speed": 0.0, "shared": 0.0,
            "crash": 0.0, "hang": 0.0}
CREATED = int(time.time())
WORD = " sea"


def settings(base, text, separator="="):
    found = dict(base)
    for name, value in re.findall(r"([a-z]+)" + separator + r"(-?[0-9]+(?:\.[0-9]+)?)", text):
        if name in DEFAULTS:
            found[name] = float(value)
    return found


class Slots:
    """As many requests at a time as the engine has slots; the others in the order in which they came."""

    def __init__(self, count):
        self.free, self.waiting, self.running = count, [], 0

    async def __aenter__(self):
        if self.free > 0 and not self.waiting:
            self.free -= 1
        else:
            turn = asyncio.get_running_loop().create_future()
            self.waiting.append(turn)
            try:
                await turn
            except asyncio.CancelledError:
                if turn in self.waiting:
                    self.waiting.remove(turn)
                elif turn.done() and not turn.cancelled():
                    self.hand_on()
                raise
        self.running += 1

    async def __aexit__(self, *_):
        self.running -= 1
        self.hand_on()

    def hand_on(self):
        while self.waiting:
            turn = self.waiting.pop(0)
            if not turn.done():
                turn.set_result(None)
                return
        self.free += 1


class Engine:
    def __init__(self, arguments):
        self.alias, self.model = arguments.get("--alias", "mock"), arguments.get("--model", "")
        self.slots = Slots(max(1, int(arguments.get("--parallel", "4"))))
        self.count = int(arguments.get("--parallel", "4"))
        self.context = int(arguments.get("--ctx-size", "4096")) // max(1, self.count)
        self.settings = settings(DEFAULTS, os.environ.get("SKERRY_MOCK", ""))
        self.settings = settings(self.settings, arguments.get("--mock", ""))
        if self.alias.startswith("mock."):
            self.settings = settings(self.settings, self.alias, "-")
        self.ready_at = time.monotonic() + self.settings["load"] / 1000
        self.answers, self.cancelled, self.cache = 0, 0, set()

    # What each answer is made of.

    def chunk(self, kind, choice, **more):
        base = {"id": "chatcmpl-mock", "object": kind, "created": CREATED, "model": self.alias,
                "system_fingerprint": "mock", "choices": [choice] if choice is not None else []}
        return b"data: " + json.dumps({**base, **more}, separators=(",", ":")).encode() + b"\n\n"

    async def rest(self, seconds):
        if seconds > 0:
            await asyncio.sleep(seconds)

    async def answer(self, path, body, write):
        """Writes one generated answer, streamed or not."""
        chat = path.endswith("/chat/completions")
        text = json.dumps(body.get("messages") if chat else body.get("prompt"))
        use = settings(self.settings, " ".join(re.findall(r"\[mock ([^\]]*)\]", text)))
        prompt = max(1, len(text) // 4)
        cached = prompt - 1 if text in self.cache else 0
        limit = body.get("max_completion_tokens") or body.get("max_tokens") or body.get("n_predict")
        tokens = min(int(use["tokens"]), int(limit)) if limit and limit > 0 else int(use["tokens"])
        streams = bool(body.get("stream"))
        async with self.slots:
            self.answers += 1
            started = time.monotonic()
            if use["hang"]:
                await asyncio.Event().wait()
            if use["crash"] > 0 and self.answers >= use["crash"]:
                os.kill(os.getpid(), signal.SIGKILL)
            share = max(1, self.slots.running) if use["shared"] else 1
            prefill = (prompt - cached) / use["prefill"] * share if use["prefill"] > 0 else 0
            await self.rest(use["delay"] / 1000 + prefill)
            first = time.monotonic()
            self.cache.add(text)
            kind = "chat.completion" if chat else "text_completion"

            def piece(content, finish=None):
                if chat:
                    return {"index": 0, "delta": {"content": content} if content is not None else {},
                            "finish_reason": finish, "logprobs": None}
                return {"index": 0, "text": content or "", "finish_reason": finish, "logprobs": None}
            kinds = kind + ".chunk" if chat else kind
            plain = self.chunk(kinds, piece(WORD))
            if streams:
                write.head(200, "text/event-stream")
                opening = b""
                if chat:
                    opening = self.chunk(kinds, {"index": 0, "finish_reason": None,
                                                 "delta": {"role": "assistant", "content": None}})
                if use["speed"] > 0:
                    # Token by token, each when it is due, so that one late wake-up does not slow the rest.
                    due = first
                    for n in range(tokens):
                        if n > 0:
                            due += (max(1, self.slots.running) if use["shared"] else 1) / use["speed"]
                            await self.rest(due - time.monotonic())
                        write.chunk(opening + plain)
                        opening = b""
                        if use["crash"] < 0 and self.answers >= -use["crash"]:
                            await self.rest(0.02)
                            os.kill(os.getpid(), signal.SIGKILL)
                        await write.drain()
                else:
                    for n in range(tokens):
                        write.chunk(opening + plain)
                        opening = b""
                        if n % 64 == 63:
                            await write.drain()
                            await asyncio.sleep(0)
            else:
                await self.rest(tokens / use["speed"] if use["speed"] > 0 else 0)
            ended = time.monotonic()
            finish = "length" if limit and limit <= tokens else "stop"
            usage = {"completion_tokens": tokens, "prompt_tokens": prompt, "total_tokens": prompt + tokens,
                     "prompt_tokens_details": {"cached_tokens": cached}}
            timings = {"cache_n": cached, "prompt_n": prompt - cached, "prompt_ms": (first - started) * 1000,
                       "predicted_n": tokens, "predicted_ms": (ended - first) * 1000}
            if not streams:
                choice = {"index": 0, "finish_reason": finish}
                if chat:
                    choice["message"] = {"role": "assistant", "content": WORD * tokens}
                else:
                    choice["text"] = WORD * tokens
                write.json(200, {"id": "chatcmpl-mock", "object": kind, "created": CREATED, "model": self.alias,
                                 "choices": [choice], "usage": usage, "timings": timings})
                return
            end = self.chunk(kinds, piece(None, finish))
            if (body.get("stream_options") or {}).get("include_usage"):
                end += self.chunk(kinds, None, usage=usage, timings=timings)
            write.chunk(end + b"data: [DONE]\n\n")
            write.end()

    async def embed(self, body, write):
        given = body.get("input")
        inputs = [given] if isinstance(given, str) or (given and isinstance(given[0], int)) else given
        if not inputs:
            return write.error(400, "\"input\" must not be empty")
        use = settings(self.settings, " ".join(re.findall(r"\[mock ([^\]]*)\]", json.dumps(inputs))))
        async with self.slots:
            self.answers += 1
            if use["crash"] > 0 and self.answers >= use["crash"]:
                os.kill(os.getpid(), signal.SIGKILL)
            await self.rest(use["delay"] / 1000)
            prompt = sum(max(1, len(json.dumps(i)) // 4) for i in inputs)
            vectors = [{"object": "embedding", "index": n, "embedding": [0.5, -0.5, 0.25, float(len(str(i)) % 7)]}
                       for n, i in enumerate(inputs)]
            write.json(200, {"object": "list", "model": self.alias, "data": vectors,
                             "usage": {"prompt_tokens": prompt, "total_tokens": prompt}})

    async def route(self, method, path, raw, write):
        if path in ("/health", "/v1/health"):
            if time.monotonic() < self.ready_at:
                return write.error(503, "Loading model")
            return write.json(200, {"status": "ok"})
        if method == "GET":
            if path in ("/v1/models", "/models"):
                return write.json(200, {"object": "list", "data": [{"id": self.alias, "object": "model"}]})
            if path == "/props":
                return write.json(200, {"total_slots": self.count, "model_path": self.model,
                                        "default_generation_settings": {"n_ctx": self.context}})
            if path == "/slots":
                return write.json(200, [{"id": n, "is_processing": n < self.slots.running, "n_ctx": self.context}
                                        for n in range(self.count)])
            if path == "/lora-adapters":
                return write.json(200, [])
            if path == "/mock":
                return write.json(200, {"answers": self.answers, "running": self.slots.running,
                                        "waiting": len(self.slots.waiting), "cancelled": self.cancelled,
                                        "arguments": sys.argv[1:], "pid": os.getpid()})
            return write.error(404, "File Not Found")
        try:
            body = json.loads(raw)
        except ValueError:
            return write.error(500, "the body is no JSON")
        if path in ("/v1/chat/completions", "/chat/completions", "/v1/completions", "/completion"):
            return await self.answer(path, body, write)
        if path in ("/v1/embeddings", "/embeddings"):
            return await self.embed(body, write)
        if path == "/v1/chat/completions/input_tokens":
            return write.json(200, {"object": "response.input_tokens",
                                    "input_tokens": max(1, len(json.dumps(body.get("messages", []))) // 4)})
        if path == "/tokenize":
            return write.json(200, {"tokens": list(range(max(1, len(str(body.get("content", ""))) // 4)))})
        if path == "/apply-template":
            return write.json(200, {"prompt": "".join(str(m.get("content")) for m in body.get("messages", []))})
        return write.error(404, "File Not Found")


class Writer:
    """One response, in HTTP/1.1."""

    REASONS = {200: "OK", 400: "Bad Request", 404: "Not Found", 500: "Internal Server Error", 503: "Unavailable"}

    def __init__(self, connection):
        self.connection, self.pending = connection, b""

    def head(self, status, kind, more="Transfer-Encoding: chunked\r\n"):
        # Held back until there is a first piece: one packet less.
        self.pending = (f"HTTP/1.1 {status} {self.REASONS.get(status, 'Other')}\r\nServer: llama.cpp\r\n"
                        f"Content-Type: {kind}\r\n{more}\r\n").encode()

    def chunk(self, data):
        self.connection.transport.write(self.pending + b"%x\r\n" % len(data) + data + b"\r\n")
        self.pending = b""

    def end(self):
        self.connection.transport.write(self.pending + b"0\r\n\r\n")

    async def drain(self):
        await self.connection.room.wait()

    def json(self, status, value):
        data = json.dumps(value).encode()
        self.head(status, "application/json; charset=utf-8", f"Content-Length: {len(data)}\r\n")
        self.connection.transport.write(self.pending + data)

    def error(self, status, message):
        self.json(status, {"error": {"code": status, "message": message, "type": "invalid_request_error"}})


class Connection(asyncio.Protocol):
    def __init__(self, engine):
        self.engine, self.buffer, self.task, self.transport = engine, bytearray(), None, None
        self.room = asyncio.Event()
        self.room.set()

    def connection_made(self, transport):
        self.transport = transport

    def pause_writing(self):
        self.room.clear()

    def resume_writing(self):
        self.room.set()

    def connection_lost(self, _):
        if self.task and not self.task.done():
            self.engine.cancelled += 1
            self.task.cancel()

    def data_received(self, data):
        self.buffer += data
        self.proceed()

    def proceed(self):
        if self.task and not self.task.done():
            return
        end = self.buffer.find(b"\r\n\r\n")
        if end < 0:
            return
        lines = bytes(self.buffer[:end]).decode("latin-1").split("\r\n")
        method, target, _ = lines[0].split(" ", 2)
        fields = {k.strip().lower(): v.strip() for k, _, v in (line.partition(":") for line in lines[1:])}
        length, start = int(fields.get("content-length", "0")), end + 4
        if fields.get("expect", "").lower() == "100-continue" and len(self.buffer) == start and length:
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        if len(self.buffer) < start + length:
            return
        raw = bytes(self.buffer[start:start + length])
        del self.buffer[:start + length]
        close = fields.get("connection", "").lower() == "close"
        self.task = asyncio.ensure_future(self.serve(method, target.split("?")[0], raw, close))

    async def serve(self, method, path, raw, close):
        try:
            await self.engine.route(method, path, raw, Writer(self))
        except asyncio.CancelledError:
            return
        except Exception as error:  # noqa: BLE001: an engine answers 500 and lives on
            Writer(self).error(500, repr(error))
        if close:
            self.transport.close()
        else:
            self.task = None
            self.proceed()


def parse(argv):
    found, at = {}, 0
    while at < len(argv):
        name = {"-m": "--model", "-np": "--parallel", "-c": "--ctx-size"}.get(argv[at], argv[at])
        if name.startswith("-") and at + 1 < len(argv) and not re.match(r"^--?[a-zA-Z]", argv[at + 1]):
            found[name] = argv[at + 1]
            at += 2
        else:
            found[name] = ""
            at += 1
    return found


async def main():
    arguments = parse(sys.argv[1:])
    engine = Engine(arguments)
    if engine.settings["fail"]:
        sys.exit("error: failed to load model: the mock was told so")
    if engine.model and not os.access(engine.model, os.R_OK):
        sys.exit(f"error: failed to open {engine.model}")
    loop = asyncio.get_running_loop()
    for name in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(name, lambda: os._exit(0))
    for host in arguments.get("--host", "127.0.0.1").split(","):
        if host.endswith(".sock"):
            if os.path.exists(host):
                sys.exit(f"error: couldn't bind {host}")
            await loop.create_unix_server(lambda: Connection(engine), host, backlog=512)
        else:
            await loop.create_server(lambda: Connection(engine), host, int(arguments.get("--port", "8080")))
    if "LLAMA_SERVER_ROUTER_PORT" in os.environ:
        def input_ended():
            if not os.read(0, 4096):
                os._exit(0)
        try:
            loop.add_reader(0, input_ended)
        except (OSError, PermissionError):
            pass  # a file or /dev/null has no end to wait for
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
