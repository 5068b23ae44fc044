"""The network goes, comes back, lies and hangs; the box goes on serving."""

import json
import socket
import ssl
import subprocess
import threading
import time

import pytest
from box import MODEL, Box, Hub, flip_bit, wait_for
from conftest import enrolled

ASK = {"model": MODEL, "messages": [{"role": "user", "content": "Say hello."}], "max_tokens": 4}


@pytest.fixture
def own(programs, tmp_path):
    """A hub and a box for one test alone."""
    hub = Hub(programs, tmp_path / "h").ready()
    box = enrolled(programs, hub, tmp_path / "b", settings={"sync": {"probeSeconds": 1}})
    box.hub, box.app = hub, box.token("app", "chat")
    yield box
    print(box.daemon.tail(40), hub.daemon.tail(20))
    box.daemon.kill()
    hub.daemon.kill()


def test_offline_the_box_answers_restarts_and_answers(own):
    own.hub.daemon.stop()
    assert own.request("POST", "/v1/chat/completions", ASK, own.app)[0] == 200
    own.daemon.kill()
    own.start()
    assert own.request("POST", "/v1/chat/completions", ASK, own.app)[0] == 200
    refused = own.skerry("sync", check=False)
    assert refused.returncode == 69 and refused.stderr.strip()
    assert own.status()["sync"]["reachable"] is False


def test_a_returning_hub_is_noticed_within_five_seconds_and_the_head_cosigned(own):
    own.hub.daemon.stop()
    own.request("POST", "/v1/chat/completions", ASK, own.app)
    wait_for("the agent sees that the hub is gone", lambda: own.status()["sync"]["reachable"] is False, 10)
    size = own.status()["audit"]["size"]
    own.hub.start()
    wait_for("noticed", lambda: own.status()["sync"]["reachable"] is True, 5)
    wait_for("cosigned", lambda: (own.status()["audit"]["cosignedSize"] or 0) >= size, 15)
    device = own.hub.device(own.status()["deviceID"])
    assert device["audit"]["cosignedSize"] >= size


def test_a_flipped_bit_is_refused_and_mended_by_one_chunk(own):
    own.skerry("model", "unload", MODEL)
    blob = own.blob()
    size = blob.stat().st_size
    flip_bit(blob, size - 1000)
    status, _, body = own.request("POST", "/v1/chat/completions", ASK, own.app)
    assert status == 503 and "digest" in json.loads(body)["error"]["message"]
    out = own.skerry("sync", "--json").stdout.strip().splitlines()
    assert '"error"' not in out[-1]
    wait_for("mended", lambda: own.request("POST", "/v1/chat/completions", ASK, own.app)[0] == 200, 20)
    fetched = json.loads(out[-1]).get("outcome", {}).get("fetchedBytes")
    if fetched is not None:
        assert 0 < fetched <= 2 * 256 * 1024


def test_a_sync_with_nothing_new_fetches_nothing(own):
    def settled():
        own.skerry("sync")
        audit = own.status()["audit"]
        return audit["size"] - audit["cosignedSize"] < 10
    wait_for("all that waited is up", settled, 20)
    print(own.status()["sync"])
    last = json.loads(own.skerry("sync", "--json").stdout.strip().splitlines()[-1])
    assert last["event"] == "done" and last["outcome"]["fetchedBytes"] == 0


def liar(behaviour):
    """A TCP server that misbehaves in one way; returns its port and a stop function."""
    server = socket.create_server(("127.0.0.1", 0))
    stopping = threading.Event()
    held = []

    def serve():
        while not stopping.is_set():
            try:
                connection, _ = server.accept()
            except OSError:
                return
            held.append(connection)
            try:
                behaviour(connection)
            except OSError:
                pass
    threading.Thread(target=serve, daemon=True).start()

    def stop():
        stopping.set()
        server.close()
        for connection in held:
            connection.close()
    return server.getsockname()[1], stop


def tls_liar(hub, reply):
    """The same with the hub's own stolen TLS key, so that the pin holds and the lie is in the answer."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    keys = hub.state / "keys"
    context.load_cert_chain(keys / "tls.crt", keys / "tls.key")

    def behave(connection):
        with context.wrap_socket(connection, server_side=True) as tls:
            tls.settimeout(5)
            tls.recv(65536)
            if reply is not None:
                tls.sendall(reply)
            else:
                time.sleep(30)
    return behave


GARBAGE = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 20\r\n\r\n\x00\xffgarbage garbage!!"
HALF = b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 5000\r\n\r\n{"hubTime":'
WRONG = b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 16\r\n\r\n{"hubTime":"no"}'


@pytest.mark.parametrize("name", ["closed at once", "not TLS", "garbage", "half an answer", "wrong types", "never"])
def test_a_lying_hub_is_logged_and_the_box_goes_on(own, name):
    assert own.request("POST", "/v1/chat/completions", ASK, own.app)[0] == 200
    own.hub.daemon.stop()
    behaviours = {
        "closed at once": lambda c: c.close(),
        "not TLS": lambda c: (c.sendall(b"SSH-2.0-OpenSSH\r\n" * 50), c.close()),
        "garbage": tls_liar(own.hub, GARBAGE), "half an answer": tls_liar(own.hub, HALF),
        "wrong types": tls_liar(own.hub, WRONG), "never": tls_liar(own.hub, None),
    }
    server = socket.create_server(("127.0.0.1", own.hub.port))
    server.close()
    server = None
    port_server = socket.socket()
    port_server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    port_server.bind(("127.0.0.1", own.hub.port))
    port_server.listen(8)
    stop = threading.Event()

    def serve():
        while not stop.is_set():
            try:
                connection, _ = port_server.accept()
                threading.Thread(target=lambda: safely(behaviours[name], connection), daemon=True).start()
            except OSError:
                return

    def safely(behave, connection):
        try:
            behave(connection)
        except (OSError, ssl.SSLError):
            pass
    threading.Thread(target=serve, daemon=True).start()
    try:
        if name != "never":
            failed = own.skerry("sync", check=False, timeout=60)
            assert failed.returncode != 0 and failed.stderr.strip()
            assert "pinned" not in failed.stderr, "the liar holds the hub's own key, or none at all"
        else:
            own.skerry_sync = subprocess.Popen([own.programs.skerry, "--socket", str(own.socket), "sync"],
                                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            time.sleep(1)
        started = time.monotonic()
        assert own.request("POST", "/v1/chat/completions", ASK, own.app)[0] == 200
        # Far less than the hub is given to answer.
        assert time.monotonic() - started < 30
        assert own.status()["models"][0]["state"] == "active"
    finally:
        stop.set()
        port_server.close()
        if name == "never":
            own.skerry_sync.kill()
            own.skerry_sync.wait()
    own.hub.start()
    if name != "never":
        wait_for("it syncs again", lambda: own.skerry("sync", check=False).returncode == 0, 40, 1)


def test_tokens_used_expired_and_cut_are_refused_plainly(programs, hub, tmp_path):
    used = hub.token()
    first = Box(programs, tmp_path / "1", name="first").start()
    second = Box(programs, tmp_path / "2", name="second").start()
    try:
        first.skerry("enroll", used)
        for token, word in ((used, "used"), (used[:-9], "cut"), (used[:60], "cut"), ("hello", "token")):
            refused = second.skerry("enroll", token, check=False)
            assert refused.returncode not in (0, 70), token
            assert word in refused.stderr, refused.stderr
            assert "enrolled" not in refused.stdout
        expired = json.loads(__import__("box").call(
            [programs.skerry, "hub", "token", "create", "--expires", "1s", "--json", *hub.admin]).stdout)["token"]
        time.sleep(2.1)
        refused = second.skerry("enroll", expired, check=False)
        assert refused.returncode != 0 and "expired" in refused.stderr
        second.skerry("enroll", hub.token())
        assert second.status()["enrolled"]
    finally:
        first.daemon.kill()
        second.daemon.kill()


def test_a_hub_with_another_key_is_not_spoken_to(programs, hub, tmp_path):
    other = Hub(programs, tmp_path / "other").ready()
    box = Box(programs, tmp_path / "b").start()
    try:
        token = other.token()
        other.daemon.stop()
        keys = other.state / "keys"
        for name in ("tls.key", "tls.crt"):
            (keys / name).write_bytes((hub.state / "keys" / name).read_bytes())
        other.start()
        refused = box.skerry("enroll", token, check=False)
        assert refused.returncode != 0 and "pin" in refused.stderr.lower()
        assert not box.status()["enrolled"]
    finally:
        box.daemon.kill()
        other.daemon.kill()
