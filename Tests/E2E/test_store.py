"""The store of a real box: pins, collection, scrubbing, adapters, and rows that nobody signed for."""

import hashlib
import json
import pathlib
import socket
import sqlite3
import sys

from box import MODEL, call, flip_bit, wait_for
from conftest import enrolled

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "Peers"))
from lora_gguf import adapter  # noqa: E402

ASK = {"model": MODEL, "messages": [{"role": "user", "content": "Say hello."}], "max_tokens": 4}


def ask_engine(path, target):
    with socket.socket(socket.AF_UNIX) as s:
        s.connect(str(path))
        s.sendall(f"GET {target} HTTP/1.0\r\nHost: engine\r\n\r\n".encode())
        data = b""
        while piece := s.recv(65536):
            data += piece
    return json.loads(data.split(b"\r\n\r\n", 1)[1])


def test_scrub_finds_a_bit_and_a_sync_mends_it(box):
    assert "nothing" in box.skerry("model", "scrub", "--now").stdout
    box.skerry("model", "unload", MODEL)
    flip_bit(box.blob(), 5_000_000)
    assert box.skerry("model", "scrub", "--now", check=False).returncode == 65
    assert box.request("POST", "/v1/chat/completions", ASK, box.app)[0] == 503
    box.skerry("sync")
    assert box.skerry("model", "scrub", "--now").returncode == 0
    assert box.request("POST", "/v1/chat/completions", ASK, box.app)[0] == 200
    assert box.status()["store"]["scrub"]["damaged"] == []


def test_an_adapter_comes_with_its_base_and_reaches_its_engine(programs, hub, box, tmp_path):
    lora = adapter(tmp_path / "french.gguf")
    call([programs.skerry, "repo", "add", hub.repo, lora, "--keys", hub.keys, "--passphrase-file", hub.passphrase,
          "--name", "french", "--version", "1", "--adapter", "--base", f"{MODEL}:1.0.0"])
    hub.publish()
    box.skerry("sync")
    models = {m["name"]: m for m in box.json("model", "list")["models"]}
    assert models["french"]["kind"] == "adapter" and models["french"]["base"] == models[MODEL]["sha256"]
    assert f"adapter of {MODEL}:1.0.0" in box.skerry("model", "list").stdout
    # Asked for by its own name it refers to its base, and no list of models that answer names it.
    status, _, body = box.request("POST", "/v1/chat/completions", {**ASK, "model": "french"}, box.app)
    assert status == 400 and MODEL in body.decode()
    assert [m["id"] for m in json.loads(box.request("GET", "/v1/models", token=box.app)[2])["data"]] == [MODEL]
    box.skerry("model", "unload", MODEL)
    assert box.request("POST", "/v1/chat/completions", ASK, box.app)[0] == 200
    socket_path = next(box.run.glob("engines/*-g*/s.sock"))
    loaded = ask_engine(socket_path, "/lora-adapters")
    assert [entry["scale"] for entry in loaded] == [0.0], "it changes nothing until it is asked for"


def test_pins_and_collection(box):
    assert "pinned" in box.skerry("model", "pin", f"{MODEL}:1.0.0").stdout
    stray = box.state / "registry" / "blobs" / "sha256" / hashlib.sha256(b"x").hexdigest()
    stray.write_bytes(b"x" * 5_000)
    assert json.loads(box.skerry("model", "gc", "--dry-run", "--json").stdout)["files"] == 1
    assert stray.exists()
    assert "removed 1 files" in box.skerry("model", "gc").stdout
    assert not stray.exists()
    box.skerry("model", "unpin", MODEL)
    assert box.skerry("model", "pin", "nothing:1", check=False).returncode == 66


def test_a_row_that_nobody_signed_for_reaches_no_engine(programs, hub, tmp_path):
    box = enrolled(programs, hub, tmp_path / "b")
    app = box.token("app", "chat")
    try:
        assert box.request("POST", "/v1/chat/completions", ASK, app)[0] == 200
        box.daemon.stop()
        # Somebody who has the disk enters weights of their own: in the store, under their own digest.
        foreign = bytearray(pathlib.Path(programs.weights).read_bytes())
        foreign[-100] ^= 1
        digest = hashlib.sha256(foreign).hexdigest()
        place = box.state / "registry" / "blobs" / "sha256" / digest
        place.write_bytes(foreign)
        place.chmod(0o600)
        base = sqlite3.connect(box.state / "agent.sqlite")
        base.execute("UPDATE models SET sha256 = ? WHERE name = ?", (digest, MODEL))
        base.execute("UPDATE OR REPLACE vouchers SET sha256 = ? WHERE path LIKE ?", (digest, f"models/{MODEL}/%"))
        base.commit()
        base.close()
        box.start()
        assert box.request("POST", "/v1/chat/completions", ASK, app)[0] == 503
        attacks = [e for e in box.json("audit", "list", "--limit", "1000").get("entries", []) if e["kind"] == "attack"]
        assert any(e["attack"] == "foreign-image" and e["role"] == "store" for e in attacks), attacks
        box.skerry("sync")
        wait_for("what is signed is back", lambda: box.request("POST", "/v1/chat/completions", ASK, app)[0] == 200, 60)
    finally:
        print(box.daemon.tail(40))
        box.daemon.kill()
