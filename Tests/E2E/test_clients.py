"""Unmodified clients against a running agent, and what a client sees when something is wrong."""

import base64
import concurrent.futures
import json
import socket
import time

import ollama
import openai
import pytest
from box import MODEL, wait_for

HELLO = [{"role": "user", "content": "Say hello."}]


@pytest.fixture(scope="module")
def client(box):
    return openai.OpenAI(base_url=f"http://127.0.0.1:{box.port}/v1", api_key=box.app, max_retries=0)


@pytest.fixture(scope="module")
def ollama_client(box):
    return ollama.Client(host=f"http://127.0.0.1:{box.port}", headers={"Authorization": f"Bearer {box.app}"})


def test_openai_lists_and_retrieves_models(client):
    assert [m.id for m in client.models.list()] == [MODEL]
    assert client.models.retrieve(MODEL).id == MODEL


def test_openai_chat(client):
    reply = client.chat.completions.create(model=MODEL, messages=HELLO, max_tokens=16, temperature=0)
    assert reply.choices[0].message.content.strip()
    assert reply.choices[0].finish_reason in ("stop", "length")
    assert 0 < reply.usage.completion_tokens <= 16


def test_openai_chat_streamed_says_the_same(client):
    whole = client.chat.completions.create(model=MODEL, messages=HELLO, max_tokens=16, temperature=0, seed=1)
    chunks = list(client.chat.completions.create(model=MODEL, messages=HELLO, max_tokens=16, temperature=0, seed=1,
                                                 stream=True, stream_options={"include_usage": True}))
    text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
    assert text == whole.choices[0].message.content
    assert chunks[-1].usage.completion_tokens == whole.usage.completion_tokens


def test_openai_completions(client):
    reply = client.completions.create(model=MODEL, prompt="The sea is", max_tokens=8, temperature=0)
    assert reply.choices[0].text


def test_openai_async(box):
    import asyncio

    async def ask():
        async with openai.AsyncOpenAI(base_url=f"http://127.0.0.1:{box.port}/v1", api_key=box.app) as client:
            return await client.chat.completions.create(model=MODEL, messages=HELLO, max_tokens=4)
    assert asyncio.run(ask()).choices[0].message.content


@pytest.mark.parametrize("failure,arguments", [
    (openai.NotFoundError, {"model": "no-such-model", "messages": HELLO}),
    (openai.BadRequestError, {"model": MODEL, "messages": "not a list"}),
])
def test_openai_errors_are_the_right_exceptions(client, failure, arguments):
    with pytest.raises(failure) as told:
        client.chat.completions.create(**arguments)
    assert told.value.body["message"]


def test_openai_denied_and_unknown(box):
    base = f"http://127.0.0.1:{box.port}/v1"
    with pytest.raises(openai.PermissionDeniedError) as denied:
        openai.OpenAI(base_url=base, api_key=box.auditor, max_retries=0).chat.completions.create(
            model=MODEL, messages=HELLO)
    assert "role bind" in json.dumps(denied.value.body)
    with pytest.raises(openai.AuthenticationError):
        openai.OpenAI(base_url=base, api_key="skt_unknown", max_retries=0).models.list()


def test_ollama_lists_shows_and_tells_its_version(ollama_client, box):
    assert [m.model for m in ollama_client.list().models][0].split(":")[0] == MODEL
    shown = ollama_client.show(MODEL)
    assert shown.modelinfo["general.architecture"] == "llama"
    status, _, body = box.request("GET", "/api/version", token=box.app)
    assert status == 200 and json.loads(body)["version"]


def test_ollama_chat_and_generate(ollama_client):
    options = {"num_predict": 12, "temperature": 0}
    whole = ollama_client.chat(model=MODEL, messages=HELLO, options=options)
    assert whole.message.content and whole.done and 0 < whole.eval_count <= 12
    parts = list(ollama_client.chat(model=MODEL, messages=HELLO, options=options, stream=True))
    assert "".join(p.message.content for p in parts) == whole.message.content
    assert parts[-1].done and not parts[0].done
    generated = ollama_client.generate(model=MODEL, prompt="The sea is", options=options)
    assert generated.response and generated.done_reason in ("stop", "length")
    assert [m.model for m in ollama_client.ps().models]


def test_ollama_unknown_model(ollama_client):
    with pytest.raises(ollama.ResponseError) as told:
        ollama_client.chat(model="no-such-model", messages=HELLO)
    assert told.value.status_code == 404


@pytest.mark.parametrize("body", [b"{", b"", b"[1]", b'{"model":1}', b'{"model":"%s"}' % MODEL.encode(),
                                  b"\xff\xfe", b'{"model":"%s","messages":{}}' % MODEL.encode()])
def test_malformed_bodies_are_400_with_a_reason(box, body):
    status, _, reply = box.request("POST", "/v1/chat/completions", body, box.app)
    assert status == 400, reply
    assert json.loads(reply)["error"]["message"]


def test_an_oversized_body_is_413(box):
    status, _, reply = box.request("POST", "/v1/chat/completions", b"x" * (9 << 20), box.app)
    assert status == 413 and json.loads(reply)["error"]["type"] == "invalid_request_error"


def test_an_oversized_body_is_told_in_ollamas_form_too(ollama_client):
    with pytest.raises(ollama.ResponseError) as told:
        ollama_client.generate(model=MODEL, prompt="x" * (9 << 20))
    assert told.value.status_code == 413 and "bytes" in told.value.error


def test_an_unknown_path_is_404_and_a_wrong_method_405(box):
    assert box.request("GET", "/v1/nothing", token=box.app)[0] == 404
    status, headers, _ = box.request("DELETE", "/v1/chat/completions", token=box.app)
    assert status == 405 and "POST" in headers["Allow"]


def test_broken_http_does_not_hurt(box):
    for junk in (b"\r\n\r\n", b"GET\r\n\r\n", b"GET / HTTP/9\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00",
                 b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: banana\r\n\r\n",
                 b"GET /" + b"a" * 70000 + b" HTTP/1.1\r\nHost: x\r\n\r\n"):
        with socket.create_connection(("127.0.0.1", box.port), 5) as s:
            s.settimeout(5)
            try:
                s.sendall(junk)
                s.shutdown(socket.SHUT_WR)
                while s.recv(4096):
                    pass
            except OSError:
                pass
    assert box.status()["version"]


def engine_busy(box):
    return any(e.get("requests", 0) > 0 for e in box.status()["engines"])


@pytest.mark.parametrize("stream", [True, False])
def test_a_client_that_hangs_up_frees_the_engine(box, stream):
    body = json.dumps({"model": MODEL, "stream": stream, "max_tokens": 1500, "ignore_eos": True,
                       "messages": [{"role": "user", "content": "Count to one thousand."}]}).encode()
    with socket.create_connection(("127.0.0.1", box.port), 5) as s:
        s.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
                  b"Authorization: Bearer " + box.app.encode() + b"\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        wait_for("the engine is busy", lambda: engine_busy(box), 10)
    gone = time.monotonic()
    wait_for("the engine is free again", lambda: not engine_busy(box), 3)
    assert time.monotonic() - gone < 3


def test_many_at_once_all_get_an_answer(client):
    def ask(number):
        return client.chat.completions.create(model=MODEL, max_tokens=4,
                                              messages=[{"role": "user", "content": f"Number {number}"}])
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        assert all(r.choices[0].message.content is not None for r in pool.map(ask, range(16)))


def test_prompts_never_reach_the_audit_log(box, client):
    secret = "the password is swordfish-4711"
    client.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": secret}], max_tokens=4)
    log = box.skerry("audit", "export", "--output", "-").stdout
    assert '"kind":"inference"' in log and "swordfish" not in log
    for path in box.state.rglob("*"):
        if path.is_file() and path.stat().st_size < 1 << 22:
            assert b"swordfish" not in path.read_bytes(), path


def test_an_answer_over_the_unix_socket_knows_its_caller(box):
    said = box.skerry("run", MODEL, "Say hello.")
    assert said.stdout.strip()
    entries = box.skerry("audit", "export", "--output", "-").stdout
    assert '"actor":"uid:0' in entries


def test_embeddings_float_and_base64_agree(client):
    try:
        plain = client.embeddings.create(model=MODEL, input="a skerry", encoding_format="float").data[0].embedding
    except openai.APIStatusError as error:
        assert error.status_code in (400, 501) and error.body["message"]
        return
    import array
    coded = client.embeddings.create(model=MODEL, input="a skerry", encoding_format="base64").data[0].embedding
    values = array.array("f", base64.b64decode(coded)) if isinstance(coded, str) else coded
    assert len(values) == len(plain)
    assert max(abs(a - b) for a, b in zip(values, plain)) < 1e-4
