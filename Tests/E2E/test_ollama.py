"""Every call of Ollama's official Python client, synchronous and asynchronous, against a running agent."""

import asyncio
import json
import os
import pathlib
import signal
import subprocess
import sys

import httpx
import ollama
import openai
import pytest
from box import MODEL, Hub, wait_for
from conftest import enrolled

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "Peers"))
from tiny_gguf import gguf  # noqa: E402

GEMMA = "gemma3-270m"
SHORT = {"num_predict": 8, "temperature": 0, "seed": 1}
HELLO = [{"role": "user", "content": "Say hello."}]
SCHEMA = {"type": "object", "required": ["zeta", "alpha"],
          "properties": {"zeta": {"type": "integer"}, "alpha": {"type": "string", "enum": ["x", "y"]}}}
PIXEL = ("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==")


@pytest.fixture(scope="module")
def hub(programs, tmp_path_factory):
    hub = Hub(programs, tmp_path_factory.mktemp("hub"))
    try:
        hub.init()
        hub.start()
        hub.create_repository()
        hub.add_model(None, MODEL, "1.0.0", "--no-chunks")
        hub.add_model(os.environ["SKERRY_TEST_GEMMA"], GEMMA, "1.0.0", "--no-chunks")
        hub.publish()
        yield hub
    finally:
        hub.daemon.kill()


@pytest.fixture(scope="module")
def box(programs, hub, tmp_path_factory):
    box = enrolled(programs, hub, tmp_path_factory.mktemp("b"))
    try:
        wait_for("both are active", lambda: sum(m["state"] == "active" for m in box.status()["models"]) == 2, 60)
        box.app, box.operator = box.token("app", "chat"), box.token("operator", "operator")
        yield box
    finally:
        print(box.daemon.tail(40))
        box.daemon.kill()


class Caller:
    """One of the two clients behind one face: what streams comes as a list."""

    def __init__(self, kind, box, token):
        arguments = {"host": f"http://127.0.0.1:{box.port}", "headers": {"Authorization": f"Bearer {token}"}}
        self.loop = asyncio.new_event_loop() if kind == "async" else None
        self.client = (ollama.AsyncClient if self.loop else ollama.Client)(**arguments)

    def __getattr__(self, name):
        def call(*arguments, **options):
            made = getattr(self.client, name)(*arguments, **options)
            if self.loop:
                return self.loop.run_until_complete(self.all_of(made, options.get("stream", False)))
            return list(made) if options.get("stream") else made
        return call

    async def all_of(self, made, stream):
        made = await made
        return [part async for part in made] if stream else made


@pytest.fixture(scope="module", params=["sync", "async"])
def app(request, box):
    return Caller(request.param, box, box.app)


@pytest.fixture(scope="module", params=["sync", "async"])
def operator(request, box):
    return Caller(request.param, box, box.operator)


def refused(status, words, call):
    with pytest.raises(ollama.ResponseError) as told:
        call()
    assert told.value.status_code == status, told.value
    for word in [words] if isinstance(words, str) else words:
        assert word in told.value.error
    return told.value


# MARK: models

def test_list(app):
    models = {m.model: m for m in app.list().models}
    assert {MODEL, GEMMA} <= set(models)
    assert models[MODEL].size == os.path.getsize(os.environ["SKERRY_TEST_WEIGHTS"]) and len(models[MODEL].digest) == 64
    assert models[MODEL].details.parameter_size == "134.52M" and models[MODEL].details.quantization_level == "Q4_1"
    assert models[GEMMA].details.family == "gemma3" and models[GEMMA].details.quantization_level == "Q4_K_M"
    assert models[GEMMA].modified_at.year > 2020


@pytest.mark.parametrize("name,architecture,context", [(MODEL, "llama", 8192), (GEMMA, "gemma3", 32768)])
def test_show(app, name, architecture, context):
    shown = app.show(name + ":latest")
    assert shown.modelinfo["general.architecture"] == architecture
    assert shown.modelinfo[f"{architecture}.context_length"] == context
    assert shown.modelinfo["tokenizer.ggml.tokens"] is None and shown.modelinfo["general.parameter_count"] > 10 ** 8
    assert "completion" in shown.capabilities and "vision" not in shown.capabilities
    assert f"FROM {name}" in shown.modelfile and shown.details.format == "gguf"
    assert ("<|im_start|>" in shown.template) == (name == MODEL)


def test_what_is_unknown_is_404_everywhere(app, operator):
    for call in (lambda: app.show("no-such"), lambda: app.chat("no-such", HELLO), lambda: app.generate("no-such", "x"),
                 lambda: app.chat("no-such", HELLO, stream=True), lambda: app.embed("no-such", "x"),
                 lambda: operator.copy("no-such", "x"), lambda: operator.delete("no-such"),
                 lambda: operator.create("x", from_="no-such")):
        refused(404, ["no-such", "skerry model list"], call)


def test_ps_tells_memory_context_and_until_when(app):
    app.generate(MODEL, keep_alive="10m")
    model = next(m for m in app.ps().models if m.model == MODEL)
    left = model.expires_at.timestamp() - __import__("time").time()
    assert 500 < left < 610 and model.context_length == 2048 and model.size > 100 << 20 and model.size_vram == 0


@pytest.mark.parametrize("value,years", [(-1, True), ("-1m", True), ("1h30m", False), (60, False)])
def test_keep_alive_counts(app, value, years):
    app.chat(MODEL, HELLO, options=SHORT, keep_alive=value)
    model = next(m for m in app.ps().models if m.model == MODEL)
    assert (model.expires_at.year > 2200) == years


def test_keep_alive_zero_lets_the_model_go(app):
    assert app.generate(MODEL, "Hi", options=SHORT, keep_alive=0).response
    wait_for("the engine is gone", lambda: all(m.model != MODEL for m in app.ps().models), 10)
    assert app.generate(MODEL).done_reason == "load"
    assert app.generate(MODEL, keep_alive=0).done_reason == "unload"
    wait_for("the engine is gone", lambda: all(m.model != MODEL for m in app.ps().models), 10)
    assert app.chat(MODEL, [], keep_alive="5m").done_reason == "load"


def test_a_wrong_keep_alive_is_400(app):
    refused(400, "keep_alive", lambda: app.generate(MODEL, "x", keep_alive="a while"))


# MARK: generate

@pytest.mark.parametrize("name", [MODEL, GEMMA])
def test_generate_streamed_says_the_same(app, name):
    whole = app.generate(name, "The sea is", options=SHORT)
    assert whole.response and whole.done and whole.eval_count <= 8 and whole.done_reason in ("stop", "length")
    assert whole.total_duration > whole.eval_duration > 0 and whole.prompt_eval_count > 0
    parts = app.generate(name + ":latest", "The sea is", options=SHORT, stream=True)
    assert "".join(p.response for p in parts) == whole.response
    assert [p.done for p in parts] == [False] * (len(parts) - 1) + [True]


def test_generate_raw_passes_the_template_by(app):
    raw = app.generate(MODEL, "The sea is", raw=True, options=SHORT)
    assert raw.response and raw.context is None and raw.prompt_eval_count < 6
    refused(400, "system", lambda: app.generate(MODEL, "x", raw=True, system="s"))


def test_generate_with_a_system_prompt(app):
    plain = app.generate(MODEL, "Who are you?", options=SHORT)
    told = app.generate(MODEL, "Who are you?", system="You are a pirate named Ada. " * 4, options=SHORT)
    assert told.prompt_eval_count != plain.prompt_eval_count


def test_generate_carries_a_conversation_on(app):
    first = app.generate(MODEL, "My name is Ada.", options=SHORT)
    alone = app.generate(MODEL, "What is my name?", options=SHORT)
    second = app.generate(MODEL, "What is my name?", context=first.context, options=SHORT)
    assert second.prompt_eval_count > alone.prompt_eval_count and len(second.context) > len(first.context)
    last = app.generate(MODEL, "What is my name?", context=first.context, options=SHORT, stream=True)[-1]
    assert last.context == second.context
    refused(400, "context", lambda: app.generate(MODEL, "x", context=[1, 2, 3]))


def test_generate_in_json_and_by_a_schema(app):
    answer = app.generate(MODEL, "A JSON object with a name.", format=SCHEMA, options={**SHORT, "num_predict": 60})
    assert list(json.loads(answer.response)) == ["zeta", "alpha"]
    assert app.generate(MODEL, "A JSON object.", format="json", options=SHORT).response.lstrip().startswith("{")
    refused(400, "format", lambda: Raw(app).post("/api/generate", {"model": MODEL, "prompt": "x", "format": "xml"}))


def test_generate_refuses_what_the_model_cannot(app):
    refused(400, ["insert", MODEL], lambda: app.generate(MODEL, "a", suffix="b"))
    refused(400, "no eyes", lambda: app.generate(MODEL, "a", images=[PIXEL]))
    refused(400, "thinking", lambda: app.generate(MODEL, "a", think=True))
    refused(400, "template", lambda: app.generate(MODEL, "a", template="{{ .Prompt }}"))
    refused(400, "width", lambda: app.generate(MODEL, "a", width=64))
    refused(400, "options.temperature", lambda: app.generate(MODEL, "a", options={"temperature": "hot"}))
    assert app.generate(MODEL, "a", think=False, options=SHORT).thinking is None


def test_options_count(app):
    assert app.generate(MODEL, "Count: 1, 2, 3,", options={**SHORT, "num_predict": 2}).eval_count == 2
    stopped = app.generate(MODEL, "1, 2, 3,", raw=True, options={**SHORT, "num_predict": 30, "stop": ["5"]})
    assert "5" not in stopped.response and stopped.done_reason == "stop"
    warm = {"num_predict": 8, "temperature": 1.5, "seed": 7}
    assert app.generate(MODEL, "Tell.", options=warm).response == app.generate(MODEL, "Tell.", options=warm).response
    assert app.generate(MODEL, "a", options=ollama.Options(num_ctx=1024, num_thread=1, num_predict=2)).eval_count <= 2


def test_logprobs(app):
    answer = app.generate(MODEL, "The sea is", logprobs=True, top_logprobs=2, options=SHORT)
    assert len(answer.logprobs) >= answer.eval_count - 1 and len(answer.logprobs[0].top_logprobs) == 2
    parts = app.chat(MODEL, HELLO, logprobs=True, options=SHORT, stream=True)
    tokens = [token for part in parts for token in part.logprobs or []]
    assert tokens and all(token.logprob <= 0 and not token.top_logprobs for token in tokens)


# MARK: chat

@pytest.mark.parametrize("name", [MODEL, GEMMA])
def test_chat_streamed_says_the_same(app, name):
    whole = app.chat(name, HELLO, options=SHORT)
    assert whole.message.role == "assistant" and whole.message.content and whole.eval_count <= 8
    parts = app.chat(name, HELLO, options=SHORT, stream=True)
    assert "".join(p.message.content for p in parts) == whole.message.content
    assert parts[-1].done and parts[-1].done_reason == whole.done_reason


def get_weather(city: str) -> str:
    """Tells the weather.

    Args:
      city: where
    """


def test_chat_takes_tools_and_their_results(app):
    # A model whose template knows no tools writes a call or an answer, whichever it likes, within so many tokens.
    answer = app.chat(MODEL, [{"role": "user", "content": "The weather in Oslo?"}], tools=[get_weather],
                      options={**SHORT, "num_predict": 60})
    for call in answer.message.tool_calls or []:
        assert call.function.name == "get_weather" and set(call.function.arguments) <= {"city"}
    assert answer.message.content or answer.message.tool_calls or answer.done_reason == "length"
    talk = [{"role": "user", "content": "The weather in Oslo?"},
            {"role": "assistant", "tool_calls": [{"function": {"name": "get_weather", "arguments": {"city": "Oslo"}}}]},
            {"role": "tool", "tool_name": "get_weather", "content": "rain"}]
    assert app.chat(MODEL, talk, tools=[get_weather], options=SHORT).done


def test_chat_by_a_schema(app):
    parts = app.chat(MODEL, HELLO, format=SCHEMA, options={**SHORT, "num_predict": 60}, stream=True)
    assert list(json.loads("".join(p.message.content for p in parts))) == ["zeta", "alpha"]


def test_chat_refuses_what_the_model_cannot(app):
    refused(400, "no eyes", lambda: app.chat(MODEL, [{"role": "user", "content": "see", "images": [PIXEL]}]))
    refused(400, "thinking", lambda: app.chat(MODEL, HELLO, think="high"))
    refused(400, "messages[0].role", lambda: app.chat(MODEL, [{"role": "wizard", "content": "x"}]))


# MARK: embeddings

def test_embed(app):
    both = app.embed(MODEL, ["a skerry", "a rock in the sea"])
    assert len(both.embeddings) == 2 and both.prompt_eval_count > 4
    one = app.embed(MODEL, "a skerry").embeddings[0]
    assert len(one) == 576 and max(abs(a - b) for a, b in zip(one, both.embeddings[0])) < 1e-2
    cut = app.embed(MODEL, "a skerry", dimensions=16).embeddings[0]
    assert len(cut) == 16 and abs(sum(x * x for x in cut) - 1) < 1e-6
    assert app.embed(MODEL, "").embeddings == []
    refused(400, "too large", lambda: app.embed(MODEL, "word " * 4000))


def test_embeddings_of_old(app):
    assert len(app.embeddings(MODEL, "a skerry", keep_alive="5m").embedding) == 576
    assert app.embeddings(MODEL, "").embedding == []


# MARK: variants

ADA = {"system": "You are Ada, a pirate.", "parameters": {"temperature": 0, "num_predict": 5, "num_ctx": 1024},
       "messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "arr"}]}


def test_create_show_ask_copy_delete(app, operator, box):
    lines = operator.create("ada", from_=MODEL + ":latest", stream=True, **ADA)
    assert lines[-1].status == "success" and any("num_ctx" in line.status for line in lines)
    shown = app.show("ada")
    assert shown.details.parent_model == f"{MODEL}:1.0.0" and 'SYSTEM "You are Ada, a pirate."' in shown.modelfile
    assert "num_predict" in shown.parameters
    answer = app.chat("ada", HELLO)
    assert answer.model == "ada" and answer.eval_count <= 5
    assert answer.prompt_eval_count > app.chat(MODEL, HELLO, options=SHORT).prompt_eval_count
    assert app.generate("ada:latest", "x", options={"num_predict": 2}).eval_count <= 2
    assert operator.copy("ada", "ada:v2").status == "success"
    assert {"ada", "ada:v2"} <= {m.model for m in app.list().models}
    # Another one on top of it: what it doesn't say it takes over.
    assert operator.create("eve", from_="ada:v2", parameters={"seed": 3}).status == "success"
    eve = app.show("eve")
    assert "You are Ada" in eve.modelfile and "seed" in eve.parameters and "MESSAGE assistant \"arr\"" in eve.modelfile
    client = openai.OpenAI(base_url=f"http://127.0.0.1:{box.port}/v1", api_key=box.app, max_retries=0)
    assert "ada:v2" in {m.id for m in client.models.list()}
    assert client.chat.completions.create(model="ada:v2", messages=HELLO).usage.completion_tokens <= 5
    for name in ("ada", "ada:v2", "eve"):
        assert operator.delete(name).status == "success"
    refused(404, "ada", lambda: app.chat("ada", HELLO))
    log = box.skerry("audit", "export", "--output", "-").stdout
    assert '"variant":"ada:v2"' in log and "a pirate" not in log


def test_a_modelfile_makes_a_variant(operator):
    text = f'FROM {MODEL}\nPARAMETER stop "</s>"\nPARAMETER stop END\nSYSTEM """two\nlines"""\nMESSAGE user hi\n'
    raw = Raw(operator)
    raw.post("/api/create", {"name": "filed", "modelfile": text, "stream": False})
    shown = operator.show("filed")
    assert text.splitlines()[1] in shown.modelfile and 'SYSTEM """two\nlines"""' in shown.modelfile
    # What show gives, create takes.
    raw.post("/api/create", {"name": "again", "modelfile": shown.modelfile, "stream": False})
    assert operator.show("again").modelfile == shown.modelfile
    for name in ("filed", "again"):
        operator.delete(name)
    refused(400, ["line 2", "TEMPLATE"], lambda: raw.post(
        "/api/create", {"name": "x", "modelfile": f"FROM {MODEL}\nTEMPLATE x"}))


@pytest.mark.parametrize("arguments,words", [
    ({"files": {"a.gguf": "sha256:00"}}, "files"), ({"from_": MODEL, "quantize": "q4_0"}, "quantize"),
    ({"from_": MODEL, "template": "x"}, "TEMPLATE"), ({"from_": MODEL, "license": "MIT"}, "LICENSE"),
    ({"from_": MODEL, "adapters": {"a": "sha256:00"}}, "ADAPTER"), ({"from_": "./model.gguf"}, "model.gguf"),
    ({"from_": "hf.co/someone/model"}, "hf.co"), ({"from_": MODEL, "parameters": {"tempo": 1}}, "tempo"),
    ({"from_": MODEL, "parameters": {"seed": "x"}}, "seed"), ({"system": "no model"}, "from"),
    ({"from_": MODEL, "messages": [{"role": "tool", "content": "x"}]}, "role"),
])
def test_create_refuses_what_a_variant_cannot_be(operator, arguments, words):
    refused(400, words, lambda: operator.create("x", **arguments))
    assert "x" not in {m.model for m in operator.list().models}


def test_variants_are_for_who_may_and_never_over_a_signed_name(app, operator):
    refused(403, ["model.create", "skerry role bind"], lambda: app.create("mine", from_=MODEL))
    refused(403, "model.create", lambda: app.copy(MODEL, "mine"))
    refused(403, "model.create", lambda: app.delete("mine"))
    refused(409, "signed model", lambda: operator.copy(MODEL, GEMMA))
    refused(409, "signed model", lambda: operator.create(f"{MODEL}:mine", from_=MODEL))
    refused(400, "no name", lambda: operator.create("Some/Body", from_=MODEL))
    told = refused(403, "fleet", lambda: operator.delete(MODEL))
    assert "skerry hub" in told.error and MODEL in {m.model for m in app.list().models}


# MARK: pull, push

def test_pull_of_what_is_here(app, operator):
    digest = {m.model: m.digest for m in app.list().models}[MODEL]
    for caller in (app, operator):
        lines = caller.pull(MODEL, stream=True)
        assert lines[0].status == "pulling manifest" and lines[-1].status == "success"
        assert any(line.digest == f"sha256:{digest}" and line.completed == line.total for line in lines)
        assert caller.pull(MODEL).status == "success"


def test_pull_of_what_the_fleet_does_not_give(app, operator):
    refused(404, ["llama3.2", "fleet"], lambda: operator.pull("llama3.2"))
    refused(-1, ["llama3.2", "fleet"], lambda: operator.pull("llama3.2:latest", stream=True))
    refused(403, "sync.run", lambda: app.pull("llama3.2"))


def test_pull_brings_what_was_published_and_variants_follow(hub, box, tmp_path):
    operator = Caller("sync", box, box.operator)
    hub.add_model(gguf(tmp_path / "one.gguf", seed=1), "tiny", "1.0.0")
    hub.publish()
    lines = operator.pull("tiny", stream=True)
    moved = [line for line in lines if line.total and line.status.startswith("pulling")]
    assert lines[-1].status == "success" and moved[-1].completed == moved[-1].total > 400_000
    assert all(line.digest.startswith("sha256:") for line in moved)
    assert "writing manifest" in [line.status for line in lines]
    operator.create("small", from_="tiny")
    operator.create("fixed", from_="tiny:1.0.0")
    hub.add_model(gguf(tmp_path / "two.gguf", seed=2), "tiny", "2.0.0")
    hub.publish()
    assert operator.pull("tiny").status == "success"
    assert operator.show("small").details.parent_model == "tiny:2.0.0"
    refused(404, ["fixed", "tiny:1.0.0"], lambda: operator.show("fixed"))
    for name in ("small", "fixed"):
        operator.delete(name)


def test_pull_without_a_hub(hub, box):
    operator = Caller("sync", box, box.operator)
    hub.daemon.stop()
    try:
        lines = operator.pull(MODEL, stream=True)
        assert lines[-1].status == "success" and any("what is here stays" in line.status for line in lines)
        refused(503, "hub", lambda: operator.pull("llama3.2"))
    finally:
        hub.start()


def test_push_blobs_and_the_rest_are_refused(app, tmp_path):
    refused(403, "publisher", lambda: app.push(MODEL))
    refused(403, "publisher", lambda: app.push(MODEL, stream=True))
    if not app.loop:
        file = tmp_path / "x.gguf"
        file.write_bytes(b"GGUF")
        refused(403, "unsigned", lambda: app.create_blob(file))
    question = {"a": {"type": "noul", "instructions": "x"}}
    refused(501, "System One", lambda: app.systemone(MODEL, "x", question))


# MARK: habits and unhappy paths

class Raw:
    """What the client has no method for, with its own errors."""

    def __init__(self, caller):
        source = caller.client._client
        self.base, self.headers = str(source.base_url), {"authorization": source.headers["authorization"]}

    def post(self, path, body):
        answer = httpx.post(self.base.rstrip("/") + path, json=body, headers=self.headers, timeout=60)
        if answer.status_code != 200:
            raise ollama.ResponseError(answer.text, answer.status_code)
        return answer


def test_the_server_is_there_and_searches_nothing(app, box):
    base = f"http://127.0.0.1:{box.port}"
    assert httpx.head(base + "/").status_code == 200 and "running" in httpx.get(base + "/").text
    assert httpx.get(base + "/api/version").json()["version"]
    assert httpx.head(base + "/api/blobs/sha256:00", headers=Raw(app).headers).status_code == 404
    for path in ("/api/web_search", "/api/web_fetch"):
        refused(501, "web", lambda: Raw(app).post(path, {"query": "x"}))


def test_who_is_unknown_is_401_and_a_key_may_come_from_the_environment(box, monkeypatch):
    refused(401, "token", lambda: Caller("sync", box, "skt_wrong").list())
    monkeypatch.setenv("OLLAMA_API_KEY", box.app)
    assert ollama.Client(host=f"http://127.0.0.1:{box.port}").list().models
    monkeypatch.setenv("OLLAMA_API_KEY", "")
    refused(401, "token", lambda: ollama.Client(host=f"http://127.0.0.1:{box.port}").list())


@pytest.mark.parametrize("body", [b"{", b"", b"[]", b'{"model":7}', b'{"model":"x","messages":{}}', b"\xff"])
def test_malformed_bodies_are_400_with_a_reason(box, body):
    status, _, reply = box.request("POST", "/api/chat", body, box.app)
    assert status == 400 and json.loads(reply)["error"]


def answering(box):
    """The engine that writes answers; beside it may be one for embeddings."""
    return next(e for e in box.json("ps")["engines"]
                if e["model"].startswith(MODEL + ":") and e["kind"] == "generate" and e["state"] == "ready")


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_an_engine_that_dies_is_an_error_in_the_middle_of_the_stream(box, kind):
    app = Caller(kind, box, box.app)
    app.generate(MODEL)
    pid = answering(box)["pid"]
    options = {"num_predict": 1500, "temperature": 0}
    long = [{"role": "user", "content": "Write a very long story about a lighthouse, in many chapters."}]
    killed = []

    def kill():
        if not killed:
            killed.append(os.kill(pid, signal.SIGKILL))

    def read():
        for part in app.client.chat(MODEL, long, options=options, stream=True):
            kill()

    async def read_too():
        async for part in await app.client.chat(MODEL, long, options=options, stream=True):
            kill()
    with pytest.raises(ollama.ResponseError) as told:
        read() if kind == "sync" else app.loop.run_until_complete(read_too())
    assert MODEL in told.value.error and "ended" in told.value.error
    wait_for("it answers again", lambda: Caller("sync", box, box.app).generate(MODEL, "x", options=SHORT).done, 30)


def test_ps_of_the_command_line_names_the_engine(box):
    Caller("sync", box, box.app).generate(MODEL, keep_alive="10m")
    said = box.skerry("ps").stdout
    assert said.startswith("MODEL") and MODEL in said and "llama.cpp" in said
    assert "in 9m" in said or "in 10m" in said
    engine = answering(box)
    assert engine["memoryBytes"] > 100 << 20 and engine["slots"] >= 1 and engine["contextTokens"] == 2048
    assert 500 < engine["expiresInSeconds"] <= 600


def test_a_variant_in_the_terminal(box):
    Caller("sync", box, box.operator).create("short", from_=MODEL, parameters={"num_predict": 3, "temperature": 0})
    done = subprocess.run([box.programs.skerry, "--socket", box.socket, "run", "short", "--json"], input="Say hello.",
                          capture_output=True, text=True, timeout=60)
    said = json.loads(done.stdout)
    assert said["model"] == "short" and said["usage"]["completion_tokens"] <= 3
    Caller("sync", box, box.operator).delete("short")
