#!/usr/bin/env python3
"""OpenAI's chat and text completions over ONNX Runtime GenAI, which is a library and comes with no server.

  genai_server.py --model FOLDER --alias NAME --port PORT

Listens on 127.0.0.1 and answers only who sends SKERRY_SECRET as a bearer. One request at a time is computed; others wait.
A client that goes ends its answer at the next token. Needs no package but onnxruntime-genai.
"""

import argparse
import http.server
import json
import os
import signal
import sys
import threading
import time

import onnxruntime_genai as og

SECRET = os.environ.pop("SKERRY_SECRET", "")


class Refused(Exception):
    """The request can't be answered; the message is for its caller."""


class Model:
    def __init__(self, folder):
        with open(os.path.join(folder, "genai_config.json"), encoding="utf-8") as file:
            self.context = json.load(file)["model"]["context_length"]
        self.model = og.Model(folder)
        self.tokenizer = og.Tokenizer(self.model)
        self.busy = threading.Lock()

    def prompt(self, request, is_chat):
        if not is_chat:
            return request["prompt"]
        return self.tokenizer.apply_chat_template(json.dumps(request["messages"]), add_generation_prompt=True)

    def generate(self, request, is_chat):
        """Yields ('', counts) first, then (text, counts) for each token; counts is (prompt, generated, why it ended)."""
        tokens = self.tokenizer.encode(self.prompt(request, is_chat))
        limit = request.get("max_completion_tokens") or request.get("max_tokens") or self.context
        room = min(limit, self.context - len(tokens))
        if room < 1:
            raise Refused(f"the prompt has {len(tokens)} tokens and the context {self.context}")
        options = {"max_length": len(tokens) + room}
        temperature = request.get("temperature")
        options["do_sample"] = temperature is not None and temperature > 0
        if options["do_sample"]:
            options["temperature"] = temperature
            if request.get("top_p") is not None:
                options["top_p"] = request["top_p"]
            if request.get("seed") is not None:
                options["random_seed"] = request["seed"]
        parameters = og.GeneratorParams(self.model)
        parameters.set_search_options(**options)
        with self.busy:
            generator = og.Generator(self.model, parameters)
            generator.append_tokens(tokens)
            stream = self.tokenizer.create_stream()
            yield "", (len(tokens), 0, None)
            made = 0
            while not generator.is_done():
                generator.generate_next_token()
                made += 1
                text = stream.decode(generator.get_next_tokens()[0])
                ended = ("length" if made >= room else "stop") if generator.is_done() else None
                yield text, (len(tokens), made, ended)


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    model = alias = None

    def log_message(self, *_):
        pass

    def answer(self, status, value):
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def fail(self, status, message):
        self.close_connection = True
        self.answer(status, {"error": {"message": message, "type": "invalid_request_error"}})

    def is_known(self):
        return not SECRET or self.headers.get("Authorization") == "Bearer " + SECRET

    def do_GET(self):
        if self.path == "/health":
            self.answer(200, {"status": "ok"})
        elif not self.is_known():
            self.fail(401, "who asks?")
        elif self.path == "/v1/models":
            self.answer(200, {"object": "list", "data": [{"id": self.alias, "object": "model"}]})
        else:
            self.fail(404, "there is no such path")

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        kinds = {"/v1/chat/completions": True, "/v1/completions": False}
        if not self.is_known():
            return self.fail(401, "who asks?")
        if self.path not in kinds:
            return self.fail(404, "this engine answers chats and text completions only")
        is_chat = kinds[self.path]
        try:
            request = json.loads(body)
            pieces = self.model.generate(request, is_chat)
            first = next(pieces)
        except (Refused, ValueError, KeyError, TypeError) as error:
            return self.fail(400, str(error))
        try:
            self.pieces(request, is_chat, first, pieces)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True
        finally:
            pieces.close()

    def pieces(self, request, is_chat, first, pieces):
        head = {"id": f"genai-{time.time_ns()}", "created": int(time.time()), "model": self.alias}
        usage = lambda c: {"prompt_tokens": c[0], "completion_tokens": c[1], "total_tokens": c[0] + c[1]}
        if not request.get("stream"):
            whole = [first, *pieces]
            text, counts = "".join(t for t, _ in whole), whole[-1][1]
            choice = {"index": 0, "finish_reason": counts[2]}
            choice |= {"message": {"role": "assistant", "content": text}} if is_chat else {"text": text}
            return self.answer(200, head | {"object": "chat.completion" if is_chat else "text_completion",
                                            "choices": [choice], "usage": usage(counts)})
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        self.close_connection = True
        kind = "chat.completion.chunk" if is_chat else "text_completion"

        def event(value):
            self.wfile.write(b"data: " + json.dumps(head | {"object": kind} | value).encode() + b"\n\n")
            self.wfile.flush()

        counts = first[1]
        if is_chat:
            event({"choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}, "finish_reason": None}]})
        for text, counts in pieces:
            choice = {"index": 0, "finish_reason": counts[2]}
            event({"choices": [choice | ({"delta": {"content": text}} if is_chat else {"text": text})]})
        if (request.get("stream_options") or {}).get("include_usage"):
            event({"choices": [], "usage": usage(counts)})
        self.wfile.write(b"data: [DONE]\n\n")


def main():
    parser = argparse.ArgumentParser()
    for name in ("--model", "--alias", "--port"):
        parser.add_argument(name, required=True)
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    Handler.model, Handler.alias = Model(options.model), options.alias
    server = http.server.ThreadingHTTPServer(("127.0.0.1", int(options.port)), Handler)
    server.daemon_threads = True
    server.serve_forever()


if __name__ == "__main__":
    sys.exit(main())
