"""A hub in somebody else's hands: its keys and its folder are theirs, and the box takes nothing that is not meant for it."""

import copy
import http.server
import json
import pathlib
import ssl
import sys
import threading

import pytest
from box import MODEL, Box, Hub, call, wait_for
from conftest import enrolled
from cryptography.hazmat.primitives.serialization import load_pem_private_key

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "Peers"))
from tiny_gguf import gguf  # noqa: E402

FAR = "2099-01-01T00:00:00Z"


def begun(programs, tmp_path):
    """A hub with a repository of one small model, which is not published yet."""
    hub = Hub(programs, tmp_path / "h")
    hub.init()
    hub.start()
    hub.create_repository()
    hub.weights = gguf(tmp_path / "tiny.gguf")
    hub.add_model(hub.weights)
    return hub


@pytest.fixture
def own(programs, tmp_path):
    """A hub and a box for one test alone."""
    hub = begun(programs, tmp_path)
    hub.publish()
    box = enrolled(programs, hub, tmp_path / "b", settings={"sync": {"probeSeconds": 600}})
    box.hub, box.device = hub, box.status()["deviceID"]
    yield box
    print(box.daemon.tail(40), hub.daemon.tail(20))
    box.daemon.kill()
    hub.daemon.kill()


def signed(document, key, keyid):
    """A metadata file with one signature over OLPC canonical JSON; its strings need no escapes."""
    text = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    signature = {"keyid": keyid, "sig": key.sign(text.encode()).hex()}
    return json.dumps({"signed": document, "signatures": [signature]}).encode()


class Thief:
    """Holds the hub's online key, and the publisher's keys where they are given."""

    def __init__(self, hub):
        self.repo = hub.state / "repo"
        self.online = load_pem_private_key((hub.state / "keys" / "online.key").read_bytes(), None)
        passphrase = hub.passphrase.read_text().strip().encode()
        self.targets = load_pem_private_key((hub.keys / "targets.pem").read_bytes(), passphrase)
        roles = json.loads((self.repo / "metadata" / "1.root.json").read_text())["signed"]["roles"]
        self.keyid = {role: value["keyids"][0] for role, value in roles.items()}

    def publish(self, folder, version, targets, key, keyid, extra=None):
        """Writes targets, snapshot and timestamp of this version, as they would have been signed."""
        def write(role, name, members, key, keyid):
            document = {"_type": role, "spec_version": "1.0.34", "version": version, "expires": FAR, **members}
            if extra:
                document["skerry"] = extra
            data = signed(document, key, keyid)
            (folder / name).write_bytes(data)
            return {"version": version, "length": len(data)}
        folder.mkdir(exist_ok=True)
        meta = write("targets", f"{version}.targets.json", {"targets": targets}, key, keyid)
        meta = write("snapshot", f"{version}.snapshot.json", {"meta": {"targets.json": meta}},
                     self.online, self.keyid["snapshot"])
        write("timestamp", "timestamp.json", {"meta": {"snapshot.json": meta}}, self.online, self.keyid["timestamp"])

    def image(self, version, targets):
        self.publish(self.repo / "metadata", version, targets, self.targets, self.keyid["targets"])

    def director(self, device, version, targets, named=None):
        self.publish(self.repo / "director" / device, version, targets, self.online, self.keyid["timestamp"],
                     {"device": named or device})

    def honest(self):
        newest = max((self.repo / "metadata").glob("*.targets.json"), key=lambda p: int(p.name.split(".")[0]))
        return json.loads(newest.read_text())["signed"]["targets"]


def bent(targets):
    """The same model by name, with other bytes."""
    other = copy.deepcopy(targets)
    for target in other.values():
        target["hashes"]["sha256"] = "ab" * 32
    return other


def attacks(box):
    records = [json.loads(line) for line in (box.state / "audit" / "log.jsonl").read_text().splitlines()]
    return [(r["attack"], r["role"]) for r in records if r["kind"] == "attack"]


def expect(box, wanted, before):
    """One more sync puts these on record, and the box has the model that it had, whole."""
    found = len(attacks(box))
    done = box.skerry("sync", check=False)
    assert attacks(box)[found:] == wanted, done.stderr
    assert done.returncode != 0 and done.stderr.strip()
    assert box.blob().name == before
    assert [(m["name"], m["state"]) for m in box.status()["models"]] == [(MODEL, "active")]
    box.skerry("model", "verify", MODEL)


def test_a_stolen_image_repository_brings_nothing(own):
    thief, before = Thief(own.hub), own.blob().name
    own.hub.daemon.stop()
    thief.image(9, bent(thief.honest()))
    own.hub.start()
    expect(own, [("director-disagrees", "director/targets")], before)
    assert own.status()["sync"]["attacks"][0]["attack"] == "director-disagrees"
    # Neither a restart of the hub nor its next look makes the director follow what nobody published.
    own.hub.daemon.kill()
    own.hub.start()
    expect(own, [("director-disagrees", "director/targets")], before)


class StolenHub:
    """Serves the stolen folder with the stolen TLS key, and tells every box that there is something new."""

    def __init__(self, hub):
        repo = hub.state / "repo"

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *arguments):
                pass

            def answer(self, status, body):
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def do_GET(self):
                path = pathlib.PurePosixPath(self.path).relative_to("/repo")
                if path.name.endswith(".root.json") and path.parts[0] == "director":
                    path = pathlib.PurePosixPath("director") / path.name
                file = repo / path
                self.answer(200, file.read_bytes()) if file.is_file() else self.answer(404, b"{}")

            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if self.path == "/v1/audit/add-checkpoint":
                    return self.answer(422, b"")
                body = json.loads(body or b"{}")
                if self.path == "/v1/sync":
                    reply = {"hubTime": 1, "timestampVersion": 99_999, "directorVersion": 99_999,
                             "audit": {"cosignedSize": body["audit"]["size"]}, "wants": []}
                else:
                    reply = {"accepted": [item["id"] for item in body.get("items", [])]}
                self.answer(200, json.dumps(reply).encode())

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", hub.port), Handler)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(hub.state / "keys" / "tls.crt", hub.state / "keys" / "tls.key")
        self.server.socket = context.wrap_socket(self.server.socket, server_side=True)

    def __enter__(self):
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *error):
        self.server.shutdown()
        self.server.server_close()


def test_a_stolen_hub_brings_nothing(own):
    thief, before = Thief(own.hub), own.blob().name
    own.hub.daemon.stop()
    folder = thief.repo / "director" / own.device
    old = {path.name: path.read_bytes() for path in folder.iterdir()}
    honest = thief.honest()
    with StolenHub(own.hub):
        foreign = {path.replace(MODEL, "evil"): target for path, target in honest.items()}
        thief.director(own.device, 50, {**honest, **foreign})
        expect(own, [("foreign-image", "director/targets")], before)
        thief.director(own.device, 51, bent(honest))
        expect(own, [("director-disagrees", "director/targets")], before)
        # Another box's statement, and this box's own of before.
        thief.director(own.device, 52, honest, named="ab" * 16)
        expect(own, [("wrong-device", "director/timestamp")], before)
        for name, data in old.items():
            (folder / name).write_bytes(data)
        expect(own, [("replay", "director/timestamp")], before)
        # The publisher's metadata it can't sign, and a root of its own neither.
        thief.director(own.device, 60, honest)
        thief.targets = thief.online
        thief.image(60, bent(honest))
        expect(own, [("bad-signature", "image/targets")], before)
    # The hub in its owner's hands again: it counts on from what its box has seen, and the publisher signs once more.
    own.hub.start()
    call([own.programs.skerry, "hub", "device", "assign", own.device, "--all", *own.hub.admin])
    assert own.blob().name == before


def test_a_rollback_needs_a_signature_and_gets_one(programs, own):
    """An older version comes back by the operator's word alone, and the record says so."""
    hub = own.hub
    hub.add_model(hub.weights, version="2.0.0")
    hub.publish()
    own.skerry("sync")
    version = lambda: [m["version"] for m in own.status()["models"] if m["state"] == "active"]  # noqa: E731
    wait_for("2.0.0 is active", lambda: version() == ["2.0.0"], 30)
    call([programs.skerry, "hub", "device", "assign", own.device, f"{MODEL}:1.0.0", *hub.admin])
    refused = own.skerry("sync", check=False)
    assert refused.returncode != 0 and "rollback" in refused.stderr
    assert version() == ["2.0.0"] and attacks(own)[-1] == ("rollback", "director/targets")
    gone = call([programs.skerry, "hub", "device", "rollback", own.device, MODEL, "0.9.0", *hub.admin], check=False)
    assert gone.returncode != 0 and "1.0.0" in gone.stderr
    call([programs.skerry, "hub", "device", "rollback", own.device, MODEL, "1.0.0", *hub.admin])
    own.skerry("sync")
    assert version() == ["1.0.0"]
    log = [json.loads(line) for line in (own.state / "audit" / "log.jsonl").read_text().splitlines()]
    assert [r["rollbackFrom"] for r in log if r.get("event") == "activated" and "rollbackFrom" in r] == ["2.0.0"]


def test_a_director_is_plain_tuf(own, tmp_path):
    """python-tuf's own client reads what a hub signs for a box, root, timestamp, snapshot and targets."""
    from test_tuf_peer import ngclient
    folder = tmp_path / "served"
    folder.mkdir()
    director = own.hub.state / "repo" / "director"
    for file in [*director.glob("*.root.json"), *(director / own.device).iterdir()]:
        (folder / file.name).write_bytes(file.read_bytes())
    client = ngclient(folder, tmp_path / "state", folder / "1.root.json")
    (path, target), = Thief(own.hub).honest().items()
    found = client.get_targetinfo(path)
    assert found.length == target["length"] and found.hashes == target["hashes"]
    assert found.unrecognized_fields["custom"] == target["custom"]


def test_a_repository_of_before_there_were_directors_is_told_what_to_do(programs, tmp_path):
    hub = begun(programs, tmp_path)
    box = Box(programs, tmp_path / "b")
    try:
        for file in (hub.repo / "director").iterdir():
            file.unlink()
        refused = call([programs.skerry, "repo", "publish", hub.repo, *hub.admin], check=False)
        assert refused.returncode == 65 and "repo renew" in refused.stderr
        call([programs.skerry, "repo", "renew", hub.repo, "--keys", hub.keys, "--root",
              "--passphrase-file", hub.passphrase])
        hub.publish()
        box.start()
        box.skerry("enroll", hub.token())
        box.skerry("sync")
        assert [m["state"] for m in box.status()["models"]] == ["active"]
        # Another hub key, as after a theft: the box follows the roots that the publisher signs.
        key = json.loads(call([programs.skerry, "hub", "status", "--json", *hub.admin]).stdout)["onlineKey"]
        call([programs.skerry, "repo", "renew", hub.repo, "--keys", hub.keys, "--root",
              "--online-key", key["keyval"]["public"], "--passphrase-file", hub.passphrase])
        hub.publish()
        box.skerry("sync")
        assert not attacks(box)
    finally:
        print(box.daemon.tail(40), hub.daemon.tail(20))
        box.daemon.kill()
        hub.daemon.kill()
