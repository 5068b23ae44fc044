"""PyPI's openai, synchronous and asynchronous, against a running agent with two models."""

import base64
import json
import struct
import time

import openai
import pytest
from box import MODEL
from two_models import GEMMA, MODELS, Sync, clients

HELLO = [{"role": "user", "content": "Say hello."}]
PIXEL = "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
WEATHER = {"type": "function", "function": {
    "name": "get_weather", "description": "The weather of a city",
    "parameters": {"type": "object", "properties": {"city": {"type": "string", "enum": ["Oslo", "Bergen"]}},
                   "required": ["city"], "additionalProperties": False}}}
TIME = {"type": "function", "function": {"name": "get_time", "parameters": {
    "type": "object", "properties": {"zone": {"type": "integer", "minimum": 0, "maximum": 9}}, "required": ["zone"],
    "additionalProperties": False}}}
PERSON = {"type": "object", "properties": {"zip": {"type": "integer", "minimum": 0, "maximum": 99},
                                           "adult": {"type": "boolean"}},
          "required": ["zip", "adult"], "additionalProperties": False}


@pytest.fixture(scope="module")
def box(two_models):
    return two_models


def base(box):
    return f"http://127.0.0.1:{box.port}/v1"


@pytest.fixture(scope="module", params=["sync", "async"])
def pair(box, request):
    yield from clients(request.param, openai.OpenAI, openai.AsyncOpenAI, base_url=base(box), api_key=box.app)


@pytest.fixture(scope="module")
def client(box):
    return openai.OpenAI(base_url=base(box), api_key=box.app, max_retries=0, timeout=120)


def chat(api, model, **more):
    given = {"model": model, "messages": HELLO, "max_tokens": 8, "temperature": 0, "seed": 1, **more}
    call = lambda c: c.chat.completions.create(**given)  # noqa: E731
    return api.stream(call) if given.get("stream") else api.ask(call)


def text(chunks, index=0):
    return "".join(c.delta.content or "" for k in chunks for c in k.choices if c.index == index)


# models

def test_models_are_listed_and_retrieved(api):
    listed = api.ask(lambda c: c.models.list()).data
    assert sorted(m.id for m in listed) == sorted(MODELS)
    found = api.ask(lambda c: c.models.retrieve(GEMMA))
    assert found.id == GEMMA and found.object == "model" and found.owned_by == "Skerry demo" and found.created > 0


# chat

def test_chat(api, model):
    reply = chat(api, model)
    assert reply.object == "chat.completion" and reply.model == model and reply.id
    assert reply.choices[0].message.role == "assistant" and reply.choices[0].message.content.strip()
    assert reply.choices[0].finish_reason in ("stop", "length")
    assert 0 < reply.usage.completion_tokens <= 8
    assert reply.usage.total_tokens == reply.usage.prompt_tokens + reply.usage.completion_tokens


def test_chat_streamed_says_the_same_and_counts_the_same(api, model):
    whole = chat(api, model)
    chunks = chat(api, model, stream=True, stream_options={"include_usage": True})
    assert text(chunks) == whole.choices[0].message.content
    assert {c.id for c in chunks} == {chunks[0].id} and all(c.object == "chat.completion.chunk" for c in chunks)
    assert [c.usage for c in chunks[:-1]] == [None] * (len(chunks) - 1) and chunks[-1].choices == []
    assert chunks[-1].usage.completion_tokens == whole.usage.completion_tokens
    assert [c.choices[0].finish_reason for c in chunks[:-1]][-1] == whole.choices[0].finish_reason


def test_a_stream_without_usage_has_none(api):
    chunks = chat(api, MODEL, stream=True)
    assert all(c.usage is None and len(c.choices) == 1 for c in chunks)


def test_a_stream_is_stopped_by_closing_it(client, box):
    stream = client.chat.completions.create(model=MODEL, messages=HELLO, max_tokens=2000, stream=True,
                                            extra_body={"ignore_eos": True})
    next(iter(stream))
    stream.close()
    deadline = time.monotonic() + 10
    while any(e["requests"] for e in box.status()["engines"]):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_n_answers(api, model):
    reply = chat(api, model, n=2, temperature=1)
    assert [c.index for c in reply.choices] == [0, 1] and all(c.message.content is not None for c in reply.choices)
    alone = chat(api, model, temperature=1)
    assert reply.usage.prompt_tokens == alone.usage.prompt_tokens
    assert reply.usage.completion_tokens > alone.usage.completion_tokens or \
        "stop" in [c.finish_reason for c in reply.choices]


def test_n_answers_streamed(api, model):
    chunks = chat(api, model, n=2, temperature=1, stream=True, stream_options={"include_usage": True})
    assert {c.index for k in chunks for c in k.choices} == {0, 1}
    assert [bool(k.usage) for k in chunks] == [False] * (len(chunks) - 1) + [True]
    assert sum(c.finish_reason is not None for k in chunks for c in k.choices) == 2
    assert chunks[-1].usage.completion_tokens <= 16


def test_more_answers_than_slots_are_refused_by_name(client):
    with pytest.raises(openai.BadRequestError) as told:
        client.chat.completions.create(model=MODEL, messages=HELLO, n=5, max_tokens=1)
    assert told.value.param == "n"


def test_stop(api, model):
    whole = chat(api, model, max_tokens=12).choices[0].message.content
    stop = next(w for w in (whole[i:i + 2] for i in range(2, len(whole))) if w.strip())
    cut = chat(api, model, max_tokens=12, stop=[stop])
    assert cut.choices[0].message.content == whole[:whole.index(stop)] and cut.choices[0].finish_reason == "stop"


def test_a_seed_makes_the_same_answer_again(api):
    say = [chat(api, MODEL, temperature=1.5, seed=seed, max_tokens=16).choices[0].message.content
           for seed in (7, 7, 8)]
    assert say[0] == say[1] != say[2]


@pytest.mark.parametrize("top", [None, 0, 3])
def test_log_probabilities(api, model, top):
    more = {} if top is None else {"top_logprobs": top}
    reply = chat(api, model, max_tokens=4, logprobs=True, **more)
    tokens = reply.choices[0].logprobs.content
    assert "".join(t.token for t in tokens).startswith(reply.choices[0].message.content[:2])
    assert all(t.logprob <= 0 and len(t.top_logprobs) == (top or 0) and bytes(t.bytes) is not None for t in tokens)
    chunks = chat(api, model, max_tokens=4, logprobs=True, stream=True, **more)
    streamed = [t for k in chunks for c in k.choices if c.logprobs for t in c.logprobs.content]
    assert [t.token for t in streamed] == [t.token for t in tokens]
    assert all(len(t.top_logprobs) == (top or 0) for t in streamed)


def test_a_schema_holds(api, model):
    reply = chat(api, model, max_tokens=60, response_format={
        "type": "json_schema", "json_schema": {"name": "person", "schema": PERSON, "strict": True}})
    found = json.loads(reply.choices[0].message.content)
    assert list(found) == ["zip", "adult"] and 0 <= found["zip"] <= 99 and isinstance(found["adult"], bool)


def test_a_json_object_is_one(client):
    reply = client.chat.completions.create(
        model=MODEL, messages=[{"role": "user", "content": "A JSON object {\"a\": 1}"}], max_tokens=200, temperature=0,
        response_format={"type": "json_object"})
    assert reply.choices[0].message.content.lstrip().startswith("{")


def test_logit_bias_forbids(client):
    first = chat(Sync(client), MODEL, max_tokens=1, logprobs=True, top_logprobs=1, messages=HELLO)
    banned = client.post("/chat/completions", cast_to=object, body={
        "model": MODEL, "messages": HELLO, "max_tokens": 1, "temperature": 0, "logprobs": True, "top_logprobs": 1})
    token = banned["choices"][0]["logprobs"]["content"][0]["id"]
    other = chat(Sync(client), MODEL, max_tokens=1, logit_bias={str(token): -100})
    assert other.choices[0].message.content != first.choices[0].message.content


@pytest.mark.parametrize("messages", [
    [{"role": "system", "content": "Be brief."}, *HELLO],
    [{"role": "developer", "content": "Be brief."}, *HELLO],
    [{"role": "user", "content": [{"type": "text", "text": "Say"}, {"type": "text", "text": "hello."}]}],
    [*HELLO, {"role": "assistant", "content": "Hello."}, {"role": "user", "content": "Again, \u2603 \U0001F600"}],
    [*HELLO, {"role": "assistant", "content": "Hel"}],
], ids=["system", "developer", "parts", "turns", "prefill"])
def test_conversations(api, model, messages):
    assert chat(api, model, messages=messages, max_tokens=3).usage.completion_tokens > 0


def test_images_are_refused_plainly(api, model):
    with pytest.raises(openai.BadRequestError) as told:
        chat(api, model, messages=[{"role": "user", "content": [
            {"type": "text", "text": "What is this?"}, {"type": "image_url", "image_url": {"url": PIXEL}}]}])
    assert told.value.code == "no_eyes" and "has no eyes" in told.value.message
    assert told.value.param == "messages[0].content[1]"


# tools

@pytest.mark.parametrize("choice,tools,name", [
    ("required", [WEATHER], "get_weather"),
    ({"type": "function", "function": {"name": "get_time"}}, [WEATHER, TIME], "get_time"),
], ids=["required", "named"])
def test_tools_are_called(api, model, choice, tools, name):
    reply = chat(api, model, tools=tools, tool_choice=choice, max_tokens=60)
    assert reply.choices[0].finish_reason == "tool_calls" and not reply.choices[0].message.content
    call = reply.choices[0].message.tool_calls[0]
    assert call.type == "function" and call.id and call.function.name == name
    arguments = json.loads(call.function.arguments)
    assert arguments.get("city") in ("Oslo", "Bergen") or 0 <= arguments["zone"] <= 9


def test_tool_calls_are_streamed(api, model):
    chunks = chat(api, model, tools=[WEATHER, TIME], tool_choice="required", max_tokens=60, stream=True)
    deltas = [d for k in chunks for c in k.choices for d in c.delta.tool_calls or []]
    assert [d.id for d in deltas if d.id] and [d.function.name for d in deltas if d.function.name]
    assert sum(bool(d.id) for d in deltas) == 1 and {d.index for d in deltas} == {0}
    assert json.loads("".join(d.function.arguments or "" for d in deltas))
    assert chunks[-1].choices[0].finish_reason == "tool_calls" and not text(chunks)


def test_a_model_may_choose_to_call(api, model):
    reply = chat(api, model, tools=[WEATHER], max_tokens=80)
    message = reply.choices[0].message
    assert reply.choices[0].finish_reason in ("tool_calls", "stop", "length")
    if reply.choices[0].finish_reason == "tool_calls":
        assert json.loads(message.tool_calls[0].function.arguments)["city"] in ("Oslo", "Bergen")
    else:
        assert not message.tool_calls and not (message.content or "").lstrip().startswith("{\"response")


def test_no_tool_is_called_where_none_may_be(api, model):
    assert chat(api, model, tools=[WEATHER], tool_choice="none").choices[0].message.tool_calls is None


def test_what_tools_answered_is_read(api, model):
    messages = [{"role": "user", "content": "The weather in Oslo?"},
                {"role": "assistant", "content": None, "tool_calls": [
                    {"id": "c1", "type": "function",
                     "function": {"name": "get_weather", "arguments": "{\"city\":\"Oslo\"}"}}]},
                {"role": "tool", "tool_call_id": "c1", "content": "rain, 9 degrees"}]
    with_tools = chat(api, model, messages=messages, tools=[WEATHER], tool_choice="none", max_tokens=4)
    assert with_tools.usage.completion_tokens > 0
    longer = [*messages[:2], {**messages[2], "content": "rain, 9 degrees " * 20}]
    counted = [chat(api, model, messages=m, tools=[WEATHER], tool_choice="required", max_tokens=50).usage.prompt_tokens
               for m in (messages, longer)]
    assert counted[1] > counted[0] + 50


def test_pydantic_schemas_are_parsed(client):
    import pydantic

    class Answer(pydantic.BaseModel):
        yes: bool
    reply = client.chat.completions.parse(model=MODEL, messages=HELLO, max_tokens=40, response_format=Answer)
    assert isinstance(reply.choices[0].message.parsed.yes, bool)


# completions

@pytest.mark.parametrize("prompt,count", [
    ("The sea is", 1), (["The sea is", "A dog"], 2), ([504, 2, 17], 1), ([[504, 2], [17]], 2)],
    ids=["text", "texts", "tokens", "token-lists"])
def test_completions(api, model, prompt, count):
    reply = api.ask(lambda c: c.completions.create(model=model, prompt=prompt, max_tokens=4, temperature=0))
    assert [c.index for c in reply.choices] == list(range(count)) and reply.object == "text_completion"
    assert 0 < reply.usage.completion_tokens <= 4 * count


def test_completions_streamed(api, model):
    given = {"model": model, "prompt": ["The sea is", "A dog"], "n": 2, "max_tokens": 4, "temperature": 0}
    chunks = api.stream(lambda c: c.completions.create(**given, stream=True, stream_options={"include_usage": True}))
    whole = api.ask(lambda c: c.completions.create(**given))
    for index in range(4):
        said = "".join(c.text for k in chunks for c in k.choices if c.index == index)
        assert said == whole.choices[index].text
    assert [bool(k.usage) for k in chunks] == [False] * (len(chunks) - 1) + [True]
    counted = chunks[-1].usage
    assert (counted.prompt_tokens, counted.completion_tokens) == (
        whole.usage.prompt_tokens, whole.usage.completion_tokens)


@pytest.mark.parametrize("count", [0, 2])
def test_completions_have_log_probabilities_in_their_own_form(api, model, count):
    reply = api.ask(lambda c: c.completions.create(model=model, prompt="The sea", max_tokens=3, temperature=0,
                                                   logprobs=count))
    found = reply.choices[0].logprobs
    assert "".join(found.tokens) == reply.choices[0].text
    assert found.text_offset == [sum(map(len, found.tokens[:i])) for i in range(len(found.tokens))]
    assert all(p <= 0 for p in found.token_logprobs) and all(len(t) == count for t in found.top_logprobs)


@pytest.mark.parametrize("name,value", [
    ("echo", True), ("suffix", "the end"), ("best_of", 3), ("logprobs", 99), ("prompt", []), ("prompt", [1, "a"])])
def test_what_completions_cant_do_is_refused_by_name(client, name, value):
    with pytest.raises(openai.BadRequestError) as told:
        client.completions.create(**{"model": MODEL, "prompt": "a", "max_tokens": 1, name: value})
    assert told.value.param == name


# embeddings

@pytest.mark.parametrize("given,count", [
    ("a skerry", 1), (["a skerry", "an island"], 2), ([504, 2, 17], 1), ([[504, 2], [17]], 2)],
    ids=["text", "texts", "tokens", "token-lists"])
def test_embeddings_float_and_base64_agree(api, model, given, count):
    plain = api.ask(lambda c: c.embeddings.create(model=model, input=given, encoding_format="float"))
    coded = api.ask(lambda c: c.embeddings.create(model=model, input=given))  # base64 on the wire
    raw = api.ask(lambda c: c.embeddings.create(model=model, input=given, encoding_format="base64"))
    assert [d.index for d in plain.data] == list(range(count)) and plain.usage.prompt_tokens > 0
    for a, b, r in zip(plain.data, coded.data, raw.data):
        assert len(a.embedding) == len(b.embedding) > 100
        assert max(abs(x - y) for x, y in zip(a.embedding, b.embedding)) < 1e-5
        bytes_ = base64.b64decode(r.embedding)
        assert len(bytes_) == 4 * len(a.embedding)
        assert abs(struct.unpack("<f", bytes_[:4])[0] - a.embedding[0]) < 1e-5


def test_dimensions_are_what_the_model_has_or_refused(api, model):
    size = len(api.ask(lambda c: c.embeddings.create(model=model, input="a")).data[0].embedding)
    kept = api.ask(lambda c: c.embeddings.create(model=model, input="a", dimensions=size))
    assert len(kept.data[0].embedding) == size
    with pytest.raises(openai.BadRequestError) as told:
        api.ask(lambda c: c.embeddings.create(model=model, input="a", dimensions=8))
    assert told.value.param == "dimensions" and str(size) in told.value.message


@pytest.mark.parametrize("given", ["", [], ["a", ""], [[]], [-1], [1.5], {"a": 1}, None, [None]])
def test_what_cant_be_embedded_is_refused(client, given):
    with pytest.raises(openai.BadRequestError) as told:
        client.embeddings.create(model=MODEL, input=given)
    assert told.value.param.startswith("input")


# responses

def respond(api, model, **more):
    given = {"model": model, "input": "Say hello.", "max_output_tokens": 8, "temperature": 0, **more}
    call = lambda c: c.responses.create(**given)  # noqa: E731
    return api.stream(call) if given.get("stream") else api.ask(call)


def test_responses(api, model):
    reply = respond(api, model, instructions="Be brief.", metadata={"a": "b"})
    assert reply.output_text.strip() and reply.object == "response" and reply.metadata == {"a": "b"}
    assert reply.status in ("completed", "incomplete") and reply.output[0].role == "assistant"
    if reply.status == "incomplete":
        assert reply.incomplete_details.reason == "max_output_tokens"
    assert 0 < reply.usage.output_tokens <= 8 and reply.usage.total_tokens > reply.usage.input_tokens > 0


def test_responses_streamed(api, model):
    events = respond(api, model, stream=True)
    assert [e.sequence_number for e in events] == list(range(len(events)))
    kinds = [e.type for e in events]
    assert kinds[:4] == ["response.created", "response.in_progress", "response.output_item.added",
                         "response.content_part.added"]
    said = "".join(e.delta for e in events if e.type == "response.output_text.delta")
    assert kinds[-4:-1] == ["response.output_text.done", "response.content_part.done", "response.output_item.done"]
    assert kinds[-1] in ("response.completed", "response.incomplete")
    assert events[-1].response.output_text == said == events[-4].text
    assert events[-1].response.usage.output_tokens > 0 and all(type(e).__name__ != "object" for e in events)


def test_responses_call_tools_and_read_what_they_answered(api, model):
    tool = {"type": "function", **WEATHER["function"]}
    events = respond(api, model, tools=[tool], tool_choice="required", max_output_tokens=60, stream=True)
    done = next(e for e in events if e.type == "response.function_call_arguments.done")
    said = "".join(e.delta for e in events if e.type == "response.function_call_arguments.delta")
    assert said == done.arguments and json.loads(said)["city"] in ("Oslo", "Bergen")
    call = events[-1].response.output[0]
    assert call.type == "function_call" and call.name == "get_weather" and call.call_id
    conversation = [{"role": "user", "content": [{"type": "input_text", "text": "The weather?"}]},
                    call.model_dump(), {"type": "function_call_output", "call_id": call.call_id, "output": "rain"}]
    assert respond(api, model, input=conversation).output_text is not None


def test_responses_hold_a_schema(api, model):
    reply = respond(api, model, max_output_tokens=60,
                    text={"format": {"type": "json_schema", "name": "person", "schema": PERSON, "strict": True}})
    assert list(json.loads(reply.output_text)) == ["zip", "adult"]


def test_the_sdks_own_stream_helper_puts_it_together(client):
    # The helper gives up on answers that are cut off.
    with client.responses.stream(model=MODEL, input="Say hello.", max_output_tokens=400, temperature=0) as stream:
        assert [e.type for e in stream][0] == "response.created"
        assert stream.get_final_response().output_text is not None
    with client.chat.completions.stream(model=MODEL, messages=HELLO, max_tokens=400, temperature=0) as stream:
        assert any(e.type == "content.delta" for e in stream)
        assert stream.get_final_completion().choices[0].message.content


def test_input_tokens_are_counted(api, model):
    counted = api.ask(lambda c: c.responses.input_tokens.count(model=model, input="Say hello."))
    assert counted.input_tokens == chat(api, model, max_tokens=1).usage.prompt_tokens


@pytest.mark.parametrize("name,value,param", [
    ("previous_response_id", "resp_1", None), ("conversation", "conv_1", None), ("background", True, None),
    ("store", True, None), ("include", ["message.output_text.logprobs"], None), ("truncation", "auto", None),
    ("tools", [{"type": "web_search"}], "tools[0].type"),
    ("input", [{"role": "user", "content": [{"type": "input_image", "image_url": PIXEL}]}], None),
    ("input", [{"type": "item_reference", "id": "x"}], "input[0].type"), ("top_logprobs", 2, None)])
def test_what_responses_cant_do_is_refused_by_name(client, name, value, param):
    with pytest.raises(openai.BadRequestError) as told:
        client.responses.create(**{"model": MODEL, "input": "a", name: value})
    assert told.value.param == (param or name)


def test_no_response_is_kept(api):
    with pytest.raises(openai.NotFoundError):
        api.ask(lambda c: c.responses.retrieve("resp_1"))
    with pytest.raises(openai.NotFoundError):
        api.ask(lambda c: c.responses.delete("resp_1"))


# errors

@pytest.mark.parametrize("call", [
    lambda c: c.chat.completions.create(model="none", messages=HELLO),
    lambda c: c.completions.create(model="none", prompt="a"),
    lambda c: c.embeddings.create(model="none", input="a"),
    lambda c: c.responses.create(model="none", input="a"),
    lambda c: c.models.retrieve("none")], ids=["chat", "completions", "embeddings", "responses", "models"])
def test_an_unknown_model_is_not_found(api, call):
    with pytest.raises(openai.NotFoundError) as told:
        api.ask(call)
    assert told.value.code == "model_not_found" and "skerry model list" in told.value.body["hint"]


def test_who_may_not_is_told_what_would_help(box):
    with pytest.raises(openai.PermissionDeniedError) as denied:
        openai.OpenAI(base_url=base(box), api_key=box.auditor).chat.completions.create(model=MODEL, messages=HELLO)
    assert "role bind" in denied.value.body["hint"]
    with pytest.raises(openai.AuthenticationError):
        openai.OpenAI(base_url=base(box), api_key="skt_unknown").models.list()


@pytest.mark.parametrize("name,value", [
    ("temperature", 3), ("top_p", -1), ("max_tokens", 0), ("n", 0), ("stop", 7), ("seed", "x"), ("messages", []),
    ("functions", [{"name": "f"}]), ("audio", {"voice": "x", "format": "wav"}), ("store", True), ("logit_bias", [1]),
    ("stream_options", {"include_usage": True}), ("top_logprobs", 3), ("web_search_options", {}),
    ("modalities", ["audio"])])
def test_what_cant_be_honoured_is_a_bad_request_with_its_name(client, name, value):
    with pytest.raises(openai.BadRequestError) as told:
        client.chat.completions.create(**{"model": MODEL, "messages": HELLO, name: value})
    assert told.value.param.split("[")[0] == name and name in told.value.message


@pytest.mark.parametrize("more", [
    {"grammar": "root ::= ((("}, {"response_format": {"type": "json_schema", "json_schema": {
        "name": "x", "schema": {"type": "banana"}}}},
    {"tools": [{"type": "function", "function": {"name": "x", "parameters": {"type": "banana"}}}],
     "tool_choice": "required"}], ids=["grammar", "schema", "tool"])
def test_what_the_engine_cant_read_is_a_bad_request_and_is_not_tried_again(box, more):
    eager = openai.OpenAI(base_url=base(box), api_key=box.app, max_retries=5)
    with pytest.raises(openai.BadRequestError):
        eager.chat.completions.create(model=MODEL, messages=HELLO, max_tokens=4, extra_body=more)


@pytest.mark.parametrize("call", [
    lambda c: c.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": "word " * 4000}]),
    lambda c: c.embeddings.create(model=MODEL, input="word " * 4000)], ids=["chat", "embeddings"])
def test_too_long_a_prompt_is_named(client, call):
    with pytest.raises(openai.BadRequestError) as told:
        call(client)
    assert told.value.code == "context_length_exceeded" and told.value.param in ("messages", "input")


def test_bodies_that_are_no_json(box):
    for path in ("chat/completions", "completions", "embeddings", "responses", "messages"):
        for body, status, headers in ((b"{", 400, {}), (b"", 400, {}), (b"[]", 400, {}), (b'{"a":1,"a":2}', 400, {}),
                                      (b"\xff", 400, {}), (b"[" * 5000, 400, {}),
                                      (b"{}", 415, {"Content-Type": "text/plain"}),
                                      (b"{}", 415, {"Content-Encoding": "gzip"})):
            told, _, reply = box.request("POST", f"/v1/{path}", body, box.app, headers)
            assert told == status and json.loads(reply)["error"]["message"], (path, body, told, reply)


def test_too_large_a_body_is_413(client):
    with pytest.raises(openai.APIStatusError) as told:
        client.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": "x" * (9 << 20)}])
    assert told.value.status_code == 413


def test_a_wrong_method_names_the_right_ones(box):
    status, headers, reply = box.request("DELETE", "/v1/chat/completions", token=box.app)
    assert status == 405 and headers["Allow"] == "POST" and json.loads(reply)["error"]["code"] == "method_not_allowed"


def test_what_was_asked_is_on_record_with_its_counts(box, client):
    respond(Sync(client), MODEL, input="swordfish")
    entries = [json.loads(line) for line in box.skerry("audit", "export", "--output", "-").stdout.splitlines()]
    last = [e["record"] for e in entries if e.get("record", {}).get("kind") == "inference"][-1]
    assert "swordfish" not in json.dumps(entries)
    assert last["api"] == "openai.responses" and last["promptTokens"] > 0
