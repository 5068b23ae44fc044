"""The command line as a person and a script meet it."""

import json
import pathlib
import shutil
import struct
import subprocess

import pytest
from box import MODEL, call


def commands(programs):
    """Every command of `skerry`, from its own completion."""
    return ["status", "enroll", "sync", "model", "run", "role", "token", "audit", "report", "repo", "hub"]


def test_help_names_every_command_and_exits_0(programs):
    done = call([programs.skerry, "--help"])
    for name in commands(programs):
        assert name in done.stdout
        assert call([programs.skerry, name, "--help"]).stdout.strip()
    for program in (programs.skerryd, programs.hub):
        assert call([program, "--help"]).stdout.strip()
        assert call([program, "--version"]).stdout.strip()


@pytest.mark.parametrize("arguments", [["nonsense"], ["model", "shwo"], ["run"], ["token", "create"], ["--nope"],
                                       ["audit", "verify"], ["status", "extra"]])
def test_wrong_usage_exits_64_with_a_hint_on_stderr(programs, arguments):
    done = call([programs.skerry, *arguments], check=False)
    assert done.returncode == 64 and done.stderr.strip() and not done.stdout


def test_no_agent_exits_69_and_says_what_to_do(programs, tmp_path):
    done = call([programs.skerry, "--socket", tmp_path / "none.sock", "status"], check=False)
    assert done.returncode == 69 and "skerryd" in done.stderr


@pytest.mark.parametrize("arguments", [["status"], ["model", "list"], ["model", "show", MODEL], ["role", "list"],
                                       ["token", "list"], ["audit", "list"], ["report"],
                                       ["role", "explain", "token:app", "infer", f"model:{MODEL}"]])
def test_json_is_json_and_plain_is_not_empty(box, arguments):
    assert json.loads(box.skerry(*arguments, "--json").stdout) is not None
    assert box.skerry(*arguments).stdout.strip()


def test_unknown_things_exit_66(box):
    done = box.skerry("model", "show", "no-such-model", check=False)
    assert done.returncode == 66 and "no-such-model" in done.stderr


def test_a_token_lives_shows_once_and_dies(box):
    token = box.token("short", "chat")
    assert token.startswith("skt_")
    assert token not in box.skerry("token", "list", "--json").stdout
    assert box.request("GET", "/v1/models", token=token)[0] == 200
    box.skerry("token", "revoke", "short")
    assert box.request("GET", "/v1/models", token=token)[0] == 401
    assert token.encode() not in (box.state / "agent.sqlite").read_bytes()


def test_a_denial_is_changed_by_the_grant_that_it_names(box):
    token = box.token("climber", "auditor")
    status, _, body = box.request("POST", "/v1/chat/completions", {
        "model": MODEL, "max_tokens": 2, "messages": [{"role": "user", "content": "Hi"}]}, token)
    assert status == 403
    hint = json.loads(body)["error"]["hint"]
    words = hint[hint.index("skerry role bind"):].split("`")[0].split()[1:5]
    box.skerry(*words)
    assert box.request("POST", "/v1/chat/completions", {
        "model": MODEL, "max_tokens": 2, "messages": [{"role": "user", "content": "Hi"}]}, token)[0] == 200
    box.skerry("role", "unbind", words[2], words[3])
    assert box.request("POST", "/v1/chat/completions", {
        "model": MODEL, "max_tokens": 2, "messages": [{"role": "user", "content": "Hi"}]}, token)[0] == 403


@pytest.mark.parametrize("name", ["truncated", "not a GGUF", "absurd count", "empty", "missing"])
def test_a_bad_gguf_is_refused_and_the_repository_stays(programs, hub, tmp_path, name):
    good = open(programs.weights, "rb").read(1 << 20)
    bad = tmp_path / "bad.gguf"
    content = {"truncated": good, "not a GGUF": b"PK\x03\x04" + good[4:], "empty": b"",
               "absurd count": good[:8] + struct.pack("<Q", 1 << 60) + good[16:]}.get(name)
    if content is not None:
        bad.write_bytes(content)
    before = call([programs.skerry, "repo", "status", hub.repo, "--json"]).stdout
    done = call([programs.skerry, "repo", "add", hub.repo, bad, "--keys", hub.keys, "--name", "bad",
                 "--version", "1.0.0", "--passphrase-file", hub.passphrase], check=False)
    assert done.returncode in (65, 66) and done.stderr.strip(), done
    assert call([programs.skerry, "repo", "status", hub.repo, "--json"]).stdout == before
    call([programs.skerry, "repo", "check", hub.repo])


def test_a_wrong_passphrase_is_refused(programs, hub, tmp_path):
    wrong = tmp_path / "wrong"
    wrong.write_text("not it\n")
    done = call([programs.skerry, "repo", "remove", hub.repo, MODEL, "--keys", hub.keys,
                 "--passphrase-file", wrong], check=False)
    assert done.returncode != 0 and "passphrase" in done.stderr


@pytest.mark.parametrize("program,words", [("skerry", ["man"]), ("skerry", ["man", "model", "show"]),
                                           ("skerryd", ["--man"]), ("hub", ["--man"])])
def test_man_pages_render(programs, program, words):
    page = call([getattr(programs, program), *words]).stdout
    assert page.startswith(".TH")
    if shutil.which("man"):
        done = subprocess.run(["man", "--warnings", "-l", "-"], input=page, capture_output=True, text=True,
                              env={"MANWIDTH": "100", "PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8"})
        assert done.returncode == 0 and "skerry" in done.stdout and not done.stderr.strip()


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_is_a_script_its_shell_reads(programs, shell):
    script = call([programs.skerry, "completion", shell]).stdout
    assert "skerry" in script
    if shutil.which(shell):
        assert subprocess.run([shell, "-n"], input=script, text=True, capture_output=True).returncode == 0


def test_an_admin_token_is_needed_on_the_hub(programs, hub, tmp_path):
    wrong = tmp_path / "admin.token"
    wrong.write_text("ska_wrong\n")
    done = call([programs.skerry, "hub", "device", "list", "--hub", hub.url, "--pin", hub.facts["pin"],
                 "--admin-token-file", wrong], check=False)
    assert done.returncode == 77 and done.stderr.strip()


def test_the_report_names_models_roles_and_heads(box, tmp_path):
    report = json.loads(box.skerry("report", "--json").stdout)
    text = json.dumps(report)
    assert MODEL in text and "admin" in text
    assert box.status()["deviceID"] in text
    page = tmp_path / "report.html"
    box.skerry("report", "--html", page)
    html = page.read_text()
    assert html.startswith("<!doctype html") or html.startswith("<!DOCTYPE html")
    assert "http://" not in html.replace("http://www.w3.org", "") and "<script" not in html


def test_the_dashboard_asks_who_and_shows_the_box(hub, box):
    import base64
    import http.client
    import ssl
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    box.skerry("sync")

    def get(path, secret=None):
        connection = http.client.HTTPSConnection("127.0.0.1", hub.port, context=context, timeout=10)
        headers = {"Authorization": "Basic " + base64.b64encode(f"x:{secret}".encode()).decode()} if secret else {}
        connection.request("GET", path, headers=headers)
        reply = connection.getresponse()
        return reply.status, reply.read().decode()
    secret = pathlib.Path(hub.facts["adminTokenFile"]).read_text().strip()
    assert get("/")[0] == 401 and get("/", "wrong")[0] == 401
    status, page = get("/", secret)
    assert status == 200 and box.name in page and MODEL in page
    status, page = get("/devices/" + box.status()["deviceID"], secret)
    assert status == 200 and MODEL in page
