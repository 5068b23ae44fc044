"""PyPI's anthropic, synchronous and asynchronous, against a running agent with two models."""

import json

import anthropic
import pytest
from box import MODEL
from two_models import MODELS, clients

HELLO = [{"role": "user", "content": "Say hello."}]
TOOL = {"name": "get_weather", "description": "The weather of a city", "input_schema": {
    "type": "object", "properties": {"city": {"type": "string", "enum": ["Oslo", "Bergen"]}}, "required": ["city"],
    "additionalProperties": False}}


@pytest.fixture(scope="module")
def box(two_models):
    return two_models


def url(box):
    return f"http://127.0.0.1:{box.port}"


@pytest.fixture(scope="module", params=["sync", "async"])
def pair(box, request):
    yield from clients(request.param, anthropic.Anthropic, anthropic.AsyncAnthropic, base_url=url(box), api_key=box.app)


@pytest.fixture(scope="module")
def client(box):
    return anthropic.Anthropic(base_url=url(box), api_key=box.app, max_retries=0, timeout=120)


def create(api, model, **more):
    given = {"model": model, "messages": HELLO, "max_tokens": 8, "extra_body": {"temperature": 0}, **more}
    call = lambda c: c.messages.create(**given)  # noqa: E731
    return api.stream(call) if given.get("stream") else api.ask(call)


def test_a_message(api, model):
    reply = create(api, model, system="Be brief.")
    assert reply.type == "message" and reply.role == "assistant" and reply.model == model
    assert reply.content[0].type == "text" and reply.content[0].text.strip()
    assert reply.stop_reason in ("end_turn", "max_tokens")
    assert reply.usage.input_tokens + reply.usage.cache_read_input_tokens > 0 and reply.usage.output_tokens <= 8


def test_a_message_streamed_says_the_same(api, model):
    whole = create(api, model)
    events = create(api, model, stream=True)
    kinds = [e.type for e in events if e.type != "ping"]
    assert kinds[:2] == ["message_start", "content_block_start"]
    assert kinds[-3:] == ["content_block_stop", "message_delta", "message_stop"]
    assert "".join(e.delta.text for e in events if e.type == "content_block_delta") == whole.content[0].text
    assert events[-2].delta.stop_reason == whole.stop_reason
    assert events[-2].usage.output_tokens == whole.usage.output_tokens


def test_the_sdks_own_stream_helper_puts_it_together(client):
    with client.messages.stream(model=MODEL, messages=HELLO, max_tokens=8) as stream:
        said = "".join(stream.text_stream)
        last = stream.get_final_message()
    assert last.content[0].text == said and last.usage.output_tokens > 0
    assert last.usage.input_tokens + last.usage.cache_read_input_tokens > 0


def test_stop_sequences_are_named(api, model):
    whole = create(api, model, max_tokens=12).content[0].text
    stop = next(w for w in (whole[i:i + 2] for i in range(2, len(whole))) if w.strip())
    for stream in (False, True):
        reply = create(api, model, max_tokens=12, stop_sequences=[stop, "zyzzyva"], stream=stream)
        end = reply[-2].delta if stream else reply
        assert end.stop_reason == "stop_sequence" and end.stop_sequence == stop


@pytest.mark.parametrize("choice", [{"type": "any"}, {"type": "tool", "name": "get_weather"}], ids=["any", "tool"])
def test_tools_are_called_and_what_they_answered_is_read(api, model, choice):
    reply = create(api, model, tools=[TOOL], tool_choice=choice, max_tokens=60)
    use = reply.content[-1]
    assert reply.stop_reason == "tool_use" and use.type == "tool_use" and use.name == "get_weather"
    assert use.input["city"] in ("Oslo", "Bergen")
    messages = [*HELLO, {"role": "assistant", "content": [use.model_dump()]}, {"role": "user", "content": [
        {"type": "tool_result", "tool_use_id": use.id, "content": [{"type": "text", "text": "rain"}]},
        {"type": "text", "text": "So?"}]}]
    assert create(api, model, messages=messages, tools=[TOOL], tool_choice={"type": "none"}).usage.output_tokens > 0


def test_tool_calls_are_streamed(api, model):
    events = create(api, model, tools=[TOOL], tool_choice={"type": "any"}, max_tokens=60, stream=True)
    start = next(e for e in events if e.type == "content_block_start")
    assert start.content_block.type == "tool_use" and start.content_block.id
    parts = [e.delta.partial_json for e in events if e.type == "content_block_delta"]
    assert json.loads("".join(parts))["city"] in ("Oslo", "Bergen")
    assert events[-2].delta.stop_reason == "tool_use"


def test_tokens_are_counted_without_an_answer(api, model):
    counted = api.ask(lambda c: c.messages.count_tokens(model=model, messages=HELLO)).input_tokens
    usage = create(api, model, max_tokens=1).usage
    assert counted == usage.input_tokens + usage.cache_read_input_tokens
    assert api.ask(lambda c: c.messages.count_tokens(model=model, messages=HELLO, system="Be brief.")).input_tokens > 0


def test_models_are_listed_in_anthropics_form(api):
    listed = api.ask(lambda c: c.models.list()).data
    assert sorted(m.id for m in listed) == sorted(MODELS) and listed[0].type == "model" and listed[0].created_at
    assert api.ask(lambda c: c.models.retrieve(MODEL)).display_name == f"{MODEL}:1.0.0"


@pytest.mark.parametrize("messages", [
    [{"role": "user", "content": [{"type": "text", "text": "Say"}, {"type": "text", "text": "hello."}]}],
    [*HELLO, {"role": "assistant", "content": "Hel"}],
    [*HELLO, {"role": "assistant", "content": [{"type": "thinking", "thinking": "Hm.", "signature": "x"},
                                               {"type": "text", "text": "Hello."}]}, *HELLO],
], ids=["blocks", "prefill", "thinking"])
def test_conversations(api, model, messages):
    assert create(api, model, messages=messages, max_tokens=3).usage.output_tokens > 0


@pytest.mark.parametrize("more", [
    {"messages": []}, {"messages": [{"role": "system", "content": "x"}]}, {"extra_body": {"temperature": 2}}, {"max_tokens": 0},
    {"messages": [{"role": "user", "content": [{"type": "image", "source": {
        "type": "base64", "media_type": "image/png", "data": "AAAA"}}]}]},
    {"messages": [{"role": "user", "content": [{"type": "document", "source": {"type": "text"}}]}]},
    {"tools": [{"type": "web_search_20250305", "name": "web_search"}]},
    {"tools": [TOOL], "tool_choice": {"type": "tool", "name": "other"}}, {"stop_sequences": "x"},
], ids=["none", "role", "temperature", "max_tokens", "image", "document", "server-tool", "other-tool", "stop"])
def test_what_cant_be_honoured_is_a_bad_request(client, more):
    with pytest.raises(anthropic.BadRequestError) as told:
        client.messages.create(**{"model": MODEL, "messages": HELLO, "max_tokens": 8, **more})
    assert told.value.body["type"] == "error" and told.value.body["error"]["type"] == "invalid_request_error"


def test_errors_are_the_right_exceptions(box, client):
    with pytest.raises(anthropic.NotFoundError) as told:
        client.messages.create(model="none", messages=HELLO, max_tokens=8)
    assert told.value.body["error"]["type"] == "not_found_error"
    with pytest.raises(anthropic.AuthenticationError):
        anthropic.Anthropic(base_url=url(box), api_key="skt_x").messages.create(
            model=MODEL, messages=HELLO, max_tokens=8)
    with pytest.raises(anthropic.PermissionDeniedError) as told:
        anthropic.Anthropic(base_url=url(box), api_key=box.auditor).messages.create(
            model=MODEL, messages=HELLO, max_tokens=8)
    assert "role bind" in told.value.body["error"]["message"]
    with pytest.raises(anthropic.APIStatusError) as told:
        client.messages.create(model=MODEL, max_tokens=8, messages=[{"role": "user", "content": "x" * (9 << 20)}])
    assert told.value.status_code == 413 and told.value.body["error"]["type"] == "request_too_large"
    bearer = anthropic.Anthropic(base_url=url(box), auth_token=box.app)
    assert bearer.messages.create(model=MODEL, messages=HELLO, max_tokens=1).content is not None


def test_what_was_asked_is_on_record(box, client):
    client.messages.create(model=MODEL, max_tokens=2, messages=[{"role": "user", "content": "swordfish"}])
    log = box.skerry("audit", "export", "--output", "-").stdout
    entries = [json.loads(line) for line in log.splitlines()]
    last = [e["record"] for e in entries if e.get("record", {}).get("kind") == "inference"][-1]
    assert "swordfish" not in log and last["api"] == "anthropic.messages" and last["actor"] == "token:app"
