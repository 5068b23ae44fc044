"""Limits, fair queues, metering: a real agent over an engine that computes nothing."""

import concurrent.futures
import json
import statistics
import threading
import time

import openai
import pytest
from box import MODEL, wait_for
from conftest import serving
from prometheus_client.parser import text_string_to_metric_families

POLICY = """
{version: 1,
 roles: {
   chat: {allow: [{verbs: ["infer", "model.list"], resources: ["model:*"]}, {verbs: ["status.read"], resources: ["box:*"]}]},
   few: {inherits: ["chat"], limits: {requestsPerMinute: 30}},
   short: {inherits: ["chat"], limits: {tokensPerMinute: 600}},
   narrow: {inherits: ["chat"], limits: {concurrency: 1, queue: 2}},
   auditor: {allow: [{verbs: ["audit.read", "audit.export"], resources: ["audit:*"]},
                     {verbs: ["status.read", "metrics.read"], resources: ["box:*"]}]},
   admin: {allow: [{verbs: ["*"], resources: ["*"]}]}},
 bindings: [{role: "admin", subjects: ["uid:0", "group:skerry-admin"]}, {role: "chat", subjects: ["local"]},
            {role: "few", subjects: ["token:tight"], limits: {requestsPerMinute: 2}}]}
"""


@pytest.fixture(scope="module")
def box(mock_programs, tmp_path_factory):
    settings = {"engine": {"arguments": ["--mock", "tokens=8"], "slots": 2}, "limits": {"managementPerMinute": 3000}}
    with serving(mock_programs, tmp_path_factory.mktemp("f"), settings=settings) as box:
        (box.home / "etc" / "policies" / "roles.json5").write_text(POLICY)
        box.daemon.process.send_signal(1)
        wait_for("the policy is in force", lambda: "narrow" in box.skerry("role", "list").stdout, 10)
        for name, role in [("greedy", "chat"), ("light", "chat"), ("few", "few"), ("tight", "few"), ("short", "short"),
                           ("narrow", "narrow"), ("auditor", "auditor"), ("many", "few")]:
            setattr(box, name, box.token(name, role))
        assert ask(box, box.app)[0] == 200
        yield box


def said(text="Say hello.", **more):
    return {"model": MODEL, "messages": [{"role": "user", "content": text}], **more}


def ask(box, token, text="Say hello.", path="/v1/chat/completions", body=None, **more):
    return box.request("POST", path, body or said(text, **more), token)


def records(box, kind):
    return [e for e in box.json("audit", "list", "--limit", "10000")["entries"] if e["kind"] == kind]


def first_token(box, token, text):
    """Seconds until the first token of a streamed answer; the answer is read to its end."""
    started, first = time.perf_counter(), None
    for line in box.stream("/v1/chat/completions", said(text, stream=True), token):
        if first is None and " sea" in line:
            first = time.perf_counter() - started
    return first


# Limits.

def test_a_minutes_requests_and_then_429_that_tells_the_truth(box):
    answers = [ask(box, box.tight) for _ in range(3)]
    assert [a[0] for a in answers] == [200, 200, 429]
    status, headers, body = answers[2]
    error = json.loads(body)["error"]
    assert error["type"] == "rate_limit_error" and error["code"] == "rate_limited"
    assert "requestsPerMinute 2" in error["message"] and "token:tight" in error["message"]
    assert "role few" in error["message"]
    wait = int(headers["Retry-After"])
    assert 25 <= wait <= 30
    assert headers["x-ratelimit-limit-requests"] == "2" and headers["x-ratelimit-remaining-requests"] == "0"
    assert headers["x-ratelimit-reset-requests"].endswith("s")
    assert {k.lower(): v for k, v in answers[0][1].items()}["x-ratelimit-remaining-requests"] == "1"
    time.sleep(wait)
    assert ask(box, box.tight)[0] == 200


def test_the_command_line_shows_limits(box):
    shown = box.skerry("role", "show", "few").stdout
    assert "requestsPerMinute 30" in shown and "token:tight (requestsPerMinute 2)" in shown
    assert box.json("role", "show", "narrow")["limits"] == {"concurrency": 1, "queue": 2}


def test_where_nothing_is_limited_no_header_says_so(box):
    assert not [h for h in ask(box, box.app)[1] if h.lower().startswith("x-ratelimit")]


def test_tokens_a_minute(box):
    status, headers, _ = ask(box, box.short, "a " * 400, max_tokens=100)
    assert status == 200 and headers["x-ratelimit-limit-tokens"] == "600"
    statuses = [ask(box, box.short, "a " * 400, max_tokens=200)[0] for _ in range(4)]
    assert 429 in statuses
    error = json.loads(ask(box, box.short, "a " * 400, max_tokens=200)[2])["error"]
    assert "tokensPerMinute 600" in error["message"]


def test_every_api_is_limited_alike(box):
    for _ in range(40):
        ask(box, box.many)
    for path, body in [("/v1/embeddings", {"model": MODEL, "input": "a"}), ("/v1/completions", {"model": MODEL, "prompt": "a"}),
                       ("/api/chat", said()), ("/api/embed", {"model": MODEL, "input": "a"}),
                       ("/api/generate", {"model": MODEL, "prompt": "a"})]:
        status, headers, body = ask(box, box.many, path=path, body=body)
        assert status == 429 and int(headers["Retry-After"]) >= 1, path
        assert "requestsPerMinute" in body.decode()


def test_openais_client_waits_as_told_and_gets_in(box):
    client = openai.OpenAI(base_url=f"http://127.0.0.1:{box.port}/v1", api_key=box.few, max_retries=3)
    for _ in range(33):
        client.chat.completions.create(model=MODEL, messages=said()["messages"])
    impatient = client.with_options(max_retries=0)
    with pytest.raises(openai.RateLimitError) as refused:
        for _ in range(40):
            impatient.chat.completions.create(model=MODEL, messages=said()["messages"])
    assert int(refused.value.response.headers["retry-after"]) <= 3


def test_refusals_do_not_fill_the_audit_log(box):
    before = box.status()["audit"]["size"]
    denied = records(box, "limit")
    statuses = [ask(box, box.many)[0] for _ in range(300)]
    assert statuses.count(429) > 250
    let_in = statuses.count(200)
    assert box.status()["audit"]["size"] - before <= 2 * let_in + 10
    mine = [r for r in records(box, "limit") if r["actor"] == "token:many"]
    assert mine and mine[0]["limit"] == "requestsPerMinute" and mine[0]["rule"] == "role few"
    assert len(mine) <= len([r for r in denied if r["actor"] == "token:many"]) + 3


def test_looks_and_vain_requests_do_not_fill_it_either(box):
    before = box.status()["audit"]["size"]
    for n in range(200):
        assert box.request("GET", "/skerry/v1/status", token=box.app)[0] == 200
        assert box.request("GET", "/v1/models", token=box.app)[0] == 200
        assert box.request("POST", "/skerry/v1/sync", {}, box.app)[0] == 403
        assert ask(box, box.app, body={**said(), "model": f"none-{n % 80}"})[0] == 404
    assert box.status()["audit"]["size"] - before <= 60


def test_concurrency_and_queue_of_one_caller(box):
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        slow = [pool.submit(ask, box, box.narrow, "[mock delay=700]") for _ in range(6)]
        time.sleep(0.3)
        assert ask(box, box.app)[0] == 200
        answers = [s.result() for s in slow]
    statuses = sorted(a[0] for a in answers)
    assert statuses == [200] * 3 + [429] * 3
    refused = next(a for a in answers if a[0] == 429)
    assert "queue 2" in json.loads(refused[2])["error"]["message"] and int(refused[1]["Retry-After"]) >= 1


def test_a_daily_count_survives_a_kill(box):
    def today():
        return json.loads(box.request("GET", "/skerry/v1/status", token=box.app)[2])["account"]["tokensToday"]
    ask(box, box.app)
    before = today()
    assert before > 0
    box.daemon.kill()
    box.start()
    assert today() >= before
    assert ask(box, box.app)[0] == 200


def test_a_policy_with_a_wrong_limit_changes_nothing(box):
    file = box.home / "etc" / "policies" / "roles.json5"
    good = file.read_text()
    try:
        file.write_text(good.replace("requestsPerMinute: 30", "requestsPerMinute: 0"))
        done = box.skerry("status", "--json")
        box.daemon.process.send_signal(1)
        wait_for("the refusal is told", lambda: "requestsPerMinute" in box.daemon.tail(5), 10)
        assert done.returncode == 0 and ask(box, box.app)[0] == 200
    finally:
        file.write_text(good)


# Queues.

class Flood:
    """So many requests of one caller at a time, until it is told to stop."""

    def __init__(self, box, token, depth, text):
        self.box, self.token, self.text, self.ended = box, token, text, threading.Event()
        self.statuses = []
        self.threads = [threading.Thread(target=self.run) for _ in range(depth)]

    def run(self):
        while not self.ended.is_set():
            self.statuses.append(ask(self.box, self.token, self.text)[0])

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        wait_for("they queue", lambda: any(e["waiting"] > len(self.threads) // 2
                                           for e in self.box.status()["engines"]), 10)
        return self

    def __exit__(self, *_):
        self.ended.set()
        for thread in self.threads:
            thread.join()


def test_beside_a_greedy_client_a_light_one_hardly_waits(box):
    light = "[mock delay=80 tokens=4 speed=100]"
    alone = [first_token(box, box.light, light) for _ in range(20)]
    with Flood(box, box.greedy, 32, "[mock delay=100 tokens=20 speed=50]") as flood:
        beside = []
        for _ in range(40):
            beside.append(first_token(box, box.light, light))
            time.sleep(0.05)
        engine = next(e for e in box.status()["engines"] if e["waiting"])
        assert engine["waitingCallers"] == 1 and engine["longestWaitMilliseconds"] > 500
    assert set(flood.statuses) == {200}
    p95 = [statistics.quantiles(v, n=20)[18] for v in (alone, beside)]
    print("95th percentile of the time to first token: alone %.3f s, beside %.3f s" % tuple(p95))
    # Twice is the promise; a tenth of a second more is for a machine that does other things.
    assert p95[1] <= 2 * p95[0] + 0.1, p95


def test_whoever_hangs_up_leaves_the_queue_at_once(box):
    import http.client
    with Flood(box, box.greedy, 4, "[mock delay=600]"):
        connections = []
        for _ in range(6):
            c = http.client.HTTPConnection("127.0.0.1", box.port)
            c.request("POST", "/v1/chat/completions", json.dumps(said("[mock delay=600]")).encode(),
                      {"Content-Type": "application/json", "Authorization": f"Bearer {box.app}"})
            connections.append(c)

        def waiting():
            account = json.loads(box.request("GET", "/skerry/v1/status", token=box.app)[2])["account"]
            return len(account["waiting"])
        wait_for("they wait", lambda: waiting() >= 4, 5)
        for c in connections:
            c.close()
        started = time.monotonic()
        wait_for("they are gone", lambda: waiting() == 0, 5, step=0.01)
        assert time.monotonic() - started < 2


# Metering.

def export(box):
    lines = box.skerry("audit", "export").stdout.splitlines()[1:]
    return [e.get("record", e) for e in map(json.loads, lines)]


def test_every_request_is_metered(box):
    status, _, body = ask(box, box.app, "metered " * 30)
    usage = json.loads(body)["usage"]
    status, _, body = ask(box, box.app, "metered " * 30)
    last = [r for r in records(box, "inference") if r["actor"] == "token:app"][-1]
    assert last["promptTokens"] == usage["prompt_tokens"] and last["cachedTokens"] == usage["prompt_tokens"] - 1
    assert last["completionTokens"] == 8 and last["role"] == "chat" and len(last["sha256"]) == 64
    assert last["queueMilliseconds"] >= 0 and last["firstTokenMilliseconds"] <= last["milliseconds"]


def test_usage_is_what_the_audit_log_says(box):
    expected = {}
    for record in export(box):
        if record["kind"] != "inference":
            continue
        key = (time.strftime("%Y-%m-%d", time.gmtime(record["t"] / 1000)), record["actor"], record["role"])
        sums = expected.setdefault(key, dict.fromkeys(["requests", "failed", "cancelled", "promptTokens",
                                                       "cachedTokens", "completionTokens", "milliseconds"], 0))
        sums["requests"] += 1
        for outcome in ("failed", "cancelled"):
            sums[outcome] += record["outcome"] == outcome
        for name in ("promptTokens", "cachedTokens", "completionTokens", "milliseconds"):
            sums[name] += record[name]
    answer = box.json("usage", "--by", "day,caller,role")
    found = {(r["day"], r["caller"], r["role"]): {n: r[n] for n in next(iter(expected.values()))}
             for r in answer["rows"]}
    assert found == expected and len(expected) >= 6
    assert answer["total"]["requests"] == sum(e["requests"] for e in expected.values())
    # The same for people and for a spreadsheet.
    assert "token:greedy" in box.skerry("usage", "--by", "caller").stdout
    csv = box.skerry("usage", "--by", "caller,model", "--csv").stdout.splitlines()
    assert csv[0].startswith("caller,model,completed,requests") and any(l.startswith("token:app,") for l in csv)
    assert box.json("usage", "--since", "2020-01-01", "--until", "2020-01-02")["rows"] == []


def test_who_may_see_what_was_used(box):
    assert box.request("GET", "/skerry/v1/usage", token=box.app)[0] == 403
    status, _, body = box.request("GET", "/skerry/v1/usage?mine=true&by=caller", token=box.app)
    assert status == 200 and [r["caller"] for r in json.loads(body)["rows"]] == ["token:app"]
    assert box.request("GET", "/skerry/v1/usage?by=caller", token=box.auditor)[0] == 200
    for query in ("by=nothing", "by=day,day", "since=yesterday", "since=2026-02-30", "since=2026-02-02&until=2026-02-01"):
        assert box.request("GET", f"/skerry/v1/usage?{query}", token=box.auditor)[0] == 400, query


def test_metrics_are_prometheus_own(box):
    assert box.request("GET", "/metrics", token=box.app)[0] == 403
    assert 429 in [ask(box, box.tight)[0] for _ in range(4)]
    status, headers, body = box.request("GET", "/metrics", token=box.auditor)
    assert status == 200 and headers["Content-Type"].startswith("text/plain; version=0.0.4")
    families = {f.name: f for f in text_string_to_metric_families(body.decode())}
    for name, kind in [("skerry_inferences", "counter"), ("skerry_prompt_tokens", "counter"),
                       ("skerry_cached_tokens", "counter"), ("skerry_completion_tokens", "counter"),
                       ("skerry_rate_limited", "counter"), ("skerry_queue_seconds", "histogram"),
                       ("skerry_first_token_seconds", "histogram"), ("skerry_inference_seconds", "histogram"),
                       ("skerry_engine_resident_bytes", "gauge"), ("skerry_audit_entries", "gauge"),
                       ("skerry_sync_last_success_seconds", "gauge"), ("skerry_engine_starts", "counter")]:
        family = families[name]
        assert family.type == kind and family.documentation and family.samples, name
    assert len(families) == len([l for l in body.decode().splitlines() if l.startswith("# TYPE")])
    labels = {n for f in families.values() for s in f.samples for n in s.labels}
    assert "caller" not in labels
    total = families["skerry_inference_seconds"].samples
    buckets = [s.value for s in total if s.name.endswith("_bucket")]
    assert buckets == sorted(buckets) and buckets[-1] == next(s.value for s in total if s.name.endswith("_count"))
    limited = {s.labels["limit"] for s in families["skerry_rate_limited"].samples}
    assert "requestsPerMinute" in limited
    resident = families["skerry_engine_resident_bytes"].samples[0].value
    assert resident > 5e6


def test_management_requests_are_bounded_too(box):
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: box.request("GET", "/skerry/v1/status", token=box.light)[:2], range(3300)))
    refused = [headers for status, headers in answers if status == 429]
    assert refused and 1 <= int(refused[0]["Retry-After"]) <= 5
    assert ask(box, box.light)[0] == 200
