"""Prompts and answers that a role asks to keep: encrypted outside the log, shown, erased, and the proofs hold."""

import json
import os

import pytest
from box import MODEL, Failed, call, wait_for
from conftest import serving

SECRET = "the launch code is Rotkehlchen"


@pytest.fixture(scope="module")
def box(mock_programs, tmp_path_factory):
    with serving(mock_programs, tmp_path_factory.mktemp("c"), settings={"engine": {"sandbox": "off"}}) as box:
        roles = box.home / "etc" / "policies" / "roles.json5"
        text = roles.read_text()
        assert text.count("roles: {") == 1
        roles.write_text(text.replace("roles: {", 'roles: { logged: { inherits: ["chat"], keepContent: { days: 30 } },'))
        box.daemon.process.send_signal(1)
        wait_for("the policy is in force", lambda: "logged" in box.skerry("role", "list").stdout, 10)
        box.logged, box.auditor = box.token("logged", "logged"), box.token("auditor", "auditor")
        yield box


def ask(box, token, **more):
    said = {"model": MODEL, "messages": [{"role": "user", "content": SECRET}], **more}
    return box.request("POST", "/v1/chat/completions", said, token)


def inferences(box, subject):
    return box.json("audit", "search", "--subject", subject, "--kind", "inference", "--limit", "50")["entries"]


def everything(folder):
    for root, _, names in os.walk(folder):
        for name in names:
            with open(os.path.join(root, name), "rb") as file:
                yield os.path.join(root, name), file.read()


def test_only_what_a_role_asks_for_is_kept(box, tmp_path):
    for more in ({}, {"stream": True}):
        assert ask(box, box.app, **more)[0] == 200 and ask(box, box.logged, **more)[0] == 200
    assert all("content" not in record for record in inferences(box, "token:app"))
    assert not box.json("audit", "search", "--subject", "token:app", "--kind", "content")["entries"]
    kept = inferences(box, "token:logged")
    assert len(kept) == 2 and all(record["contentAnswer"] and record["contentPrompt"] for record in kept)
    for record in kept:
        shown = box.json("audit", "content", str(record["n"]))
        assert shown["prompt"] == [{"role": "user", "content": SECRET}]
        assert " sea" in shown["answer"]["choices"][0]["message"]["content"]
    assert SECRET in box.skerry("audit", "content", str(kept[0]["n"])).stdout
    # Nowhere on the disk in the clear, in no export, and to nobody but who holds the verb; who looked is on record.
    file = tmp_path / "log.jsonl"
    box.skerry("audit", "export", "-o", file)
    for path, data in [*everything(box.state), (file, file.read_bytes())]:
        assert SECRET.encode() not in data, path
    for token in (box.app, box.logged, box.auditor):
        assert box.request("GET", f"/skerry/v1/audit/content/{kept[0]['n']}", token=token)[0] == 403
        assert box.request("POST", "/skerry/v1/audit/erase", {"before": 1 << 40}, token)[0] == 403
    looked = [r for r in box.json("audit", "search", "--kind", "decision", "--limit", "50")["entries"]
              if r.get("verb") == "audit.content" and r["allowed"]]
    assert len(looked) >= 3
    assert box.skerry("audit", "content", "0", check=False).returncode == 66


def test_what_was_kept_is_erased_and_the_proofs_hold(box, tmp_path):
    ask(box, box.logged)
    numbers = [str(record["n"]) for record in inferences(box, "token:logged")]
    assert "erased: the content of 1 inference\n" == box.skerry("audit", "erase", "--record", numbers[0]).stdout
    gone = box.skerry("audit", "content", numbers[0], check=False)
    assert gone.returncode != 0 and "was erased" in gone.stderr
    assert box.json("audit", "content", numbers[1])["prompt"]
    assert box.json("audit", "erase", "--subject", "token:logged")["erased"] == len(numbers) - 1
    assert box.json("audit", "erase", "--subject", "token:logged")["erased"] == 0
    assert "nothing" in box.skerry("audit", "erase", "--before", "2100-01-01").stdout
    assert box.skerry("audit", "erase", check=False).returncode == 64
    for number in numbers:
        assert box.skerry("audit", "content", number, check=False).returncode != 0
    box.skerry("sync")
    file = tmp_path / "log.jsonl"
    box.skerry("audit", "export", "-o", file)
    keys = box.status()["keys"]
    done = call([box.programs.skerry, "audit", "verify", file, "--key", keys["device"], "--witness", keys["witness"]])
    assert done.returncode == 0
    told = [r for r in box.json("audit", "search", "--kind", "content", "--limit", "50")["entries"] if r["event"] == "erased"]
    assert {(r.get("subject"), r.get("record")) for r in told} == {("token:logged", None), (None, int(numbers[0]))}


def test_without_room_nothing_is_answered_that_must_be_kept(box):
    box.settings["audit"] = {"contentMiB": 0}
    box.write_config()
    box.daemon.stop()
    box.start()
    assert ask(box, box.app)[0] == 200
    status, _, body = ask(box, box.logged)
    assert status == 503 and b"used up" in body
    last = inferences(box, "token:logged")[0]
    assert last["outcome"] == "failed" and last["completionTokens"] == 0 and "content" not in last
    del box.settings["audit"]
    box.write_config()
    box.daemon.stop()
    box.start()
    # Killed while it answers: what was asked is kept, and on record before the engine saw it.
    with pytest.raises((Failed, OSError)):
        for line in box.stream("/v1/chat/completions", {"model": MODEL, "stream": True, "messages": [
                {"role": "user", "content": SECRET + " [mock speed=2 tokens=100]"}]}, box.logged):
            if " sea" in line:
                box.daemon.kill()
                raise Failed("killed")
    box.start()
    kept = [r for r in box.json("audit", "search", "--kind", "content")["entries"] if r["event"] == "kept"][0]
    shown = json.loads(box.skerry("audit", "content", str(kept["n"]), "--json").stdout)
    assert SECRET in shown["prompt"][0]["content"] and shown["answer"] is None


def test_the_fleet_makes_an_exception_for_a_box(box):
    box.settings["audit"] = {"retentionDays": 7}
    box.write_config()
    device = box.status()["deviceID"]

    def hub(*arguments):
        return call([box.programs.skerry, "hub", "retention", *arguments, *box.hub.admin, "--json"])

    def told():
        return [r["event"] for r in reversed(box.json("audit", "search", "--kind", "audit")["entries"])
                if r["event"].startswith("exception")]

    hub("set", device, "--days", "30", "--reason", "agreed with the works council")
    box.skerry("sync")
    box.daemon.stop()
    box.start()
    wait_for("the exception is on record", lambda: told() == ["exception"], 10)
    assert box.json("audit", "search", "--kind", "audit")["entries"][0]["days"] == 30
    hub("revoke", device)
    box.skerry("sync")
    box.daemon.stop()
    box.start()
    wait_for("its end is on record", lambda: told() == ["exception", "exceptionEnded"], 10)
    assert json.loads(hub("show", device).stdout)["exception"] is None
