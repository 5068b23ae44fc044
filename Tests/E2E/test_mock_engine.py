"""The engine that computes nothing, behind a real agent: what the other tests build on."""

import concurrent.futures
import json
import time

import pytest
from box import MODEL, wait_for
from conftest import serving

HELLO = {"model": MODEL, "messages": [{"role": "user", "content": "Say hello."}]}


@pytest.fixture(scope="module")
def box(mock_programs, tmp_path_factory):
    settings = {"engine": {"arguments": ["--mock", "tokens=5"], "slots": 2}}
    with serving(mock_programs, tmp_path_factory.mktemp("m"), settings=settings) as box:
        yield box


def said(text):
    return {"model": MODEL, "messages": [{"role": "user", "content": text}]}


def test_it_answers_whole_and_streamed(box):
    status, _, body = box.request("POST", "/v1/chat/completions", HELLO, box.app)
    assert status == 200
    reply = json.loads(body)
    assert reply["choices"][0]["message"]["content"] == " sea" * 5
    assert reply["usage"]["completion_tokens"] == 5
    lines = [line for line in box.stream("/v1/chat/completions", {**HELLO, "stream": True}, box.app) if line]
    assert lines[-1] == "data: [DONE]"
    assert sum('"content":" sea"' in line for line in lines) == 5


def test_it_takes_its_time_as_told(box):
    started = time.monotonic()
    lines = box.stream("/v1/chat/completions", {**said("[mock delay=300 tokens=6 speed=20]"), "stream": True}, box.app)
    first = next(t for line, t in ((line, time.monotonic()) for line in lines) if " sea" in line)
    assert first - started >= 0.3
    for _ in lines:
        pass
    assert time.monotonic() - first >= 0.2


def test_it_has_two_slots(box):
    def ask(_):
        return box.request("POST", "/v1/chat/completions", said("[mock delay=400]"), box.app)[0]
    started = time.monotonic()
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        assert list(pool.map(ask, range(4))) == [200] * 4
    assert time.monotonic() - started >= 0.8


def test_it_dies_when_told_and_comes_back(box):
    status, _, body = box.request("POST", "/v1/chat/completions", said("[mock crash=1]"), box.app)
    assert status == 503, body
    assert json.loads(body)["error"]["code"] == "engine_lost"
    wait_for("it answers again", lambda: box.request("POST", "/v1/chat/completions", HELLO, box.app)[0] == 200, 20)


def test_it_ends_with_the_agent(mock_programs, box):
    pid = box.status()["engines"][0]["pid"]
    box.daemon.kill()
    wait_for("the engine is gone", lambda: not _lives(pid), 5)
    box.start()


def _lives(pid):
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False
