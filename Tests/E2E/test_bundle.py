"""A box that never sees the hub: everything goes by files, both ways, with the real programs."""

import base64
import hashlib
import json
import os
import pathlib
import random
import shutil
import sqlite3
import struct
import subprocess
import time

import pytest
from box import MODEL, Box, Hub, call, wait_for
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from pyhpke import AEADId, CipherSuite, KDFId, KEMId, KEMKey

COUNT = int(os.environ.get("COUNT", "15"))
ASK = {"model": MODEL, "messages": [{"role": "user", "content": "Say hello."}], "max_tokens": 4}
# Nobody listens there: what a box without a link sees of its hub.
NOWHERE = "https://127.0.0.1:9"


class Bundle:
    """A reader of bundles of its own, after docs/formats.md."""

    def __init__(self, data):
        assert data[:8] == b"SKRYBNDL"
        version, length = struct.unpack("<II", data[8:16])
        assert version == 1
        self.envelope = json.loads(data[16:16 + length])
        self.payload = base64.b64decode(self.envelope["payload"])
        self.signature = base64.b64decode(self.envelope["signatures"][0]["sig"])
        self.manifest = json.loads(self.payload)
        rest = data[16 + length:]
        assert len(rest) == self.manifest["content"]["length"]
        self.entries, heads = entries(rest)
        assert len(self.entries) == self.manifest["content"]["entries"]
        assert hashlib.sha256(heads).hexdigest() == self.manifest["content"]["sha256"]

    def verify(self, public):
        kind = self.envelope["payloadType"].encode()
        message = b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(self.payload), self.payload)
        Ed25519PublicKey.from_public_bytes(public).verify(self.signature, message)

    def kinds(self):
        return [kind for kind, _, _ in self.entries]


def entries(data):
    found, heads, at = [], b"", 0
    while at < len(data):
        kind, name_length = struct.unpack("<BH", data[at:at + 3])
        end = at + 3 + name_length + 40
        name = data[at + 3:at + 3 + name_length].decode()
        length, = struct.unpack("<Q", data[end - 40:end - 32])
        body = data[end:end + length]
        assert hashlib.sha256(body).digest() == data[end - 32:end], (kind, name)
        heads += data[at:end]
        found.append((kind, name, body))
        at = end + length
    return found, heads


def unseal(hub, sealed, device):
    """What a box sealed, opened with the hub's key by somebody else's HPKE."""
    key = load_pem_private_key((hub.state / "keys" / "seal.key").read_bytes(), None)
    assert isinstance(key, X25519PrivateKey)
    suite = CipherSuite.new(KEMId.DHKEM_X25519_HKDF_SHA256, KDFId.HKDF_SHA256, AEADId.CHACHA20_POLY1305)
    context = suite.create_recipient_context(
        sealed[:32], KEMKey.from_pyca_cryptography_key(key), info=f"skerry/bundle/1 {device}".encode())
    rest, plaintext = sealed[32:], b""
    while len(rest) > 65536 + 16:
        plaintext += context.open(rest[:65552], aad=b"\0")
        rest = rest[65552:]
    return entries(plaintext + context.open(rest, aad=b"\1"))[0]


class FarHub(Hub):
    """A hub whose boxes can't reach it: its address is one where nobody listens."""

    def init(self):
        listen, self.url = self.url, NOWHERE
        out = call([self.programs.hub, "init", "--state", self.state, "--url", self.url,
                    "--listen", f"127.0.0.1:{self.port}", "--json"]).stdout
        self.facts, self.url = json.loads(out), listen
        self.admin = ["--hub", self.url, "--pin", self.facts["pin"],
                      "--admin-token-file", self.facts["adminTokenFile"]]


def join(hub, box, folder):
    """Enrols a box by stick; its id."""
    token = json.loads(call([hub.programs.skerry, "hub", "token", "create", "--expires", "7d", "--json", *hub.admin])
                       .stdout)["token"]
    box.skerry("bundle", "export", "--enroll", "-", "--output", folder / "join.skb", input=token)
    assert not box.status()["enrolled"]
    return json.loads(take(hub, folder / "join.skb").stdout)


def create(hub, path, *options):
    return json.loads(call([hub.programs.skerry, "bundle", "create", "--output", path, "--json", *options, *hub.admin])
                      .stdout)


def take(hub, path, check=True):
    return call([hub.programs.skerry, "bundle", "take", path, "--json", *hub.admin], check=check)


def tree(box):
    """The registry of a box: every file's digest, and the model rows."""
    root = box.state / "registry"
    files = {str(p.relative_to(root)): hashlib.sha256(p.read_bytes()).hexdigest()
             for p in sorted(root.rglob("*")) if p.is_file()}
    with sqlite3.connect(f"file:{box.state / 'agent.sqlite'}?mode=ro", uri=True) as database:
        rows = database.execute(
            "SELECT name, version, sha256, path, length, custom, signers, state, retired FROM models ORDER BY 1, 2, 3"
        ).fetchall()
    return files, rows


@pytest.fixture(scope="module")
def fleet(programs, tmp_path_factory):
    hub = FarHub(programs, tmp_path_factory.mktemp("stick-hub"))
    try:
        yield hub.ready()
    finally:
        print(hub.daemon.tail(20))
        hub.daemon.kill()


@pytest.fixture(scope="module")
def far(programs, fleet, tmp_path_factory):
    """A box that joined and got its model by stick alone."""
    home = tmp_path_factory.mktemp("far")
    box = Box(programs, home, name="far-box", settings={"sync": {"probeSeconds": 1}})
    box.stick = home / "stick"
    box.stick.mkdir()
    box.start()
    try:
        box.joined = join(fleet, box, box.stick)
        box.made = create(fleet, box.stick / "first.skb", "--device", box.joined["device"])
        box.imported = box.skerry("bundle", "import", box.stick / "first.skb").stdout
        box.app = box.token("app", "chat")
        yield box
    finally:
        print(box.daemon.tail(40))
        box.daemon.kill()


def test_enrolment_and_model_by_stick(fleet, far):
    assert far.joined["enrolled"] and far.joined["name"] == "far-box"
    request = (far.stick / "join.skb").read_bytes()
    bundle = Bundle(request)
    bundle.verify(bytes.fromhex(bundle.manifest["key"]))
    assert bundle.kinds() == [40]
    status = far.status()
    assert status["enrolled"] and status["deviceID"] == far.joined["device"] == bundle.manifest["devices"][0]
    assert "joined" in far.imported and MODEL in far.imported
    assert [(m["name"], m["state"]) for m in status["models"]] == [(MODEL, "active")]
    assert far.request("POST", "/v1/chat/completions", ASK, far.app)[0] == 200
    enrolment = json.loads((far.state / "enrolment.json").read_text())
    assert len(enrolment["sealTo"]) == 64


def test_inspect_needs_nothing_but_the_file(fleet, far, programs, tmp_path):
    path = far.stick / "first.skb"
    said = json.loads(call([programs.skerry, "bundle", "inspect", path, "--json"]).stdout)
    assert said["from"] == "hub" and said["signed"] and said["devices"] == [far.joined["device"]]
    assert said["models"] == [f"{MODEL}:1.0.0"] and said["content"]["chunks"]["entries"] > 100
    bundle = Bundle(path.read_bytes())
    bundle.verify(bytes.fromhex(fleet.facts["onlineKey"]))
    assert bundle.kinds() == sorted(bundle.kinds())
    first_root = next(body for kind, name, body in bundle.entries if (kind, name) == (1, "1.root.json"))
    root = hashlib.sha256(first_root).hexdigest()
    assert said["root"] == root
    call([programs.skerry, "bundle", "inspect", path, "--root", root])
    refused = call([programs.skerry, "bundle", "inspect", path, "--root", "00" * 32], check=False)
    assert refused.returncode == 65
    text = call([programs.skerry, "bundle", "inspect", path]).stdout
    assert far.joined["device"] in text and "good until" in text
    damaged = tmp_path / "damaged.skb"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    damaged.write_bytes(data)
    refused = call([programs.skerry, "bundle", "inspect", damaged], check=False)
    assert refused.returncode == 65 and "altered" in refused.stderr


def test_what_the_box_tells_arrives_once_and_is_acknowledged(fleet, far, programs):
    device = far.joined["device"]
    path = far.stick / "tells.skb"
    far.skerry("bundle", "export", "--output", path)
    bundle = Bundle(path.read_bytes())
    bundle.verify(bytes.fromhex(bundle.manifest["key"]))
    (kind, name, sealed), = bundle.entries
    assert (kind, name) == (32, device)
    assert MODEL.encode() not in path.read_bytes(), "what a box tells is for its hub alone"
    inner = unseal(fleet, sealed, device)
    assert [kind for kind, _, _ in inner] == [33, 34, 35, 36]
    assert json.loads(inner[0][2])["models"][0]["state"] == "active"
    assert [item["kind"] for item in json.loads(inner[1][2])["items"]] == ["report"]
    assert b"prompt" not in inner[3][2] or b"Say hello" not in inner[3][2]

    taken = json.loads(take(fleet, path).stdout)
    assert taken["device"] == device and taken["items"] == 1 and taken["records"] > 5
    again = json.loads(take(fleet, path).stdout)
    assert again["again"] and {**again, "again": None} == {**taken, "again": None}
    shown = fleet.device(device)
    assert shown["audit"]["cosignedSize"] == taken["cosignedSize"]
    segment = fleet.state / "audit" / device / f"0-{taken['cosignedSize']}.jsonl"
    lines = segment.read_text().splitlines()
    assert len(lines) == taken["records"] + 1 and json.loads(lines[1])["record"]["kind"] == "start"

    answer = far.stick / "answer.skb"
    made = create(fleet, answer, "--device", device)
    assert "chunks" not in made["content"], "the box has the model: nothing of it travels again"
    assert made["bytes"] < 100_000
    assert far.status()["outbox"] == 1
    done = json.loads(far.skerry("bundle", "import", answer, "--json").stdout.splitlines()[-1])["outcome"]
    assert done["acknowledged"] == 1 and done["cosignedSize"] == taken["cosignedSize"]
    assert far.status()["outbox"] == 0
    out = far.home / "audit.jsonl"
    far.skerry("audit", "export", "--output", out)
    said = far.skerry("audit", "verify", out, "--key", far.status()["keys"]["device"], "--json").stdout
    assert json.loads(said)["cosignedSize"] == taken["cosignedSize"]

    # A second round goes on from there.
    second = far.stick / "second.skb"
    far.skerry("bundle", "export", "--output", second)
    more = json.loads(take(fleet, second).stdout)
    assert more["cosignedSize"] > taken["cosignedSize"] and more["records"] < taken["records"] + 40
    stale = take(fleet, far.stick / "join.skb")
    assert json.loads(stale.stdout)["again"], "the request to join again joins nobody again"


def test_wrong_sticks_are_refused_plainly(fleet, far, programs, tmp_path):
    # Another box's.
    other = Box(programs, tmp_path / "other", name="other-box").start()
    try:
        foreign = tmp_path / "foreign.skb"
        create(fleet, foreign, "--device", join(fleet, other, tmp_path)["device"])
        refused = far.skerry("bundle", "import", foreign, check=False)
        assert refused.returncode == 65 and "not for this" in refused.stderr
        # One for all boxes is for this one too, and a hub's is nothing for a hub.
        everybody = tmp_path / "all.skb"
        create(fleet, everybody)
        far.skerry("bundle", "import", everybody)
        assert take(fleet, everybody, check=False).returncode == 65
        # The first stick is older now.
        refused = far.skerry("bundle", "import", far.stick / "first.skb", check=False)
        assert refused.returncode == 65 and "older" in refused.stderr
        # What a box wrote is nothing for a box.
        mine = tmp_path / "mine.skb"
        far.skerry("bundle", "export", "--output", mine)
        assert far.skerry("bundle", "import", mine, check=False).returncode == 65
        # Altered where only the hub can look.
        data = bytearray(mine.read_bytes())
        data[-20] ^= 1
        altered = tmp_path / "altered.skb"
        altered.write_bytes(data)
        assert take(fleet, altered, check=False).returncode == 65
        attacks = [r.get("attack") for r in far.json("audit", "list", "--limit", "10000")["entries"]
                   if r["kind"] == "attack"]
        assert "wrong-device" in attacks and "replay" in attacks
    finally:
        other.daemon.kill()


def test_the_outcome_is_the_online_one_byte_for_byte(hub, programs, tmp_path):
    """Two copies of one box: one syncs, the other gets a stick. Then their registries are the same."""
    online = Box(programs, tmp_path / "online", name="twin").start()
    stick = None
    try:
        online.skerry("enroll", hub.token())
        online.skerry("sync")
        device = online.status()["deviceID"]
        wait_for("the hub knows of the model", lambda: [
            m["state"] for m in hub.device(device)["models"]] == ["active"], 60, 0.3)
        online.daemon.stop()
        stick = Box(programs, tmp_path / "stick", name="twin")
        shutil.copytree(online.state, stick.state)
        # A new version comes; both hear of it, each in its way.
        weights = tmp_path / "other.gguf"
        data = bytearray(open(programs.weights, "rb").read())
        data[-1000] ^= 1
        weights.write_bytes(data)
        hub.add_model(weights, version="1.0.1")
        hub.publish()
        bundle = tmp_path / "twin.skb"
        made = create(hub, bundle, "--device", device)
        assert made["content"]["chunks"]["entries"] < 10, "only what differs travels"
        online.start()
        online.skerry("sync")
        wait_for("1.0.1", lambda: [m["version"] for m in online.status()["models"]] == ["1.0.1"], 60)
        online.daemon.stop()
        hub.daemon.stop()
        stick.start()
        stick.skerry("bundle", "import", bundle)
        assert [m["version"] for m in stick.status()["models"]] == ["1.0.1"]
        stick.daemon.stop()
        assert tree(stick) == tree(online)
    finally:
        for box in (online, stick):
            if box:
                box.daemon.kill()


def test_a_disk_too_full_for_a_stick_loses_nothing(fleet, programs, tmp_path):
    """Too small for the bundle, too small for the model, filled up by somebody else in the middle; then large enough."""
    mebi, home = 1 << 20, tmp_path / "small"
    home.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={48 * mebi}", "skerry-test", home]).returncode:
        pytest.skip("a disk of its own can't be mounted here")

    def resize(size):
        subprocess.run(["mount", "-o", f"remount,size={size}", home], check=True)

    box = Box(programs, home, name="small").start()
    try:
        device = join(fleet, box, tmp_path)["device"]
        bundle = tmp_path / "small.skb"
        create(fleet, bundle, "--device", device, "--all")
        weights, length = os.path.getsize(programs.weights), bundle.stat().st_size
        used = os.statvfs(home)
        used = (used.f_blocks - used.f_bavail) * used.f_frsize
        for size in (48 * mebi, used + length + 80 * mebi):
            resize(size)
            refused = box.skerry("bundle", "import", bundle, check=False)
            assert refused.returncode != 0 and "space" in refused.stderr, refused.stderr
            assert [m for m in box.status()["models"] if m["state"] == "active"] == []
            assert not list((box.state / "bundle").glob("*")), "the bundle's room is given back"
        # Room enough at the start, and gone in the middle.
        resize(used + length + weights + 160 * mebi)
        client = subprocess.Popen([programs.skerry, "--socket", str(box.socket), "bundle", "import", str(bundle)],
                                  stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        with open(home / "ballast", "wb", buffering=0) as ballast:
            try:
                while client.poll() is None:
                    ballast.write(bytes(mebi))
            except OSError:
                pass
        assert client.wait(120) != 0 and "space" in client.stderr.read()
        (home / "ballast").unlink()
        box.skerry("bundle", "import", bundle)
        assert [(m["name"], m["state"]) for m in box.status()["models"]] == [(MODEL, "active")]
        box.skerry("model", "verify", MODEL)
    finally:
        print(box.daemon.tail(40))
        box.daemon.kill()
        subprocess.run(["umount", "-l", home])


def test_a_whole_file_goes_by_stick_too(programs, tmp_path):
    """A model without a chunk index: the file itself is in the bundle."""
    hub = FarHub(programs, tmp_path / "hub")
    box = None
    try:
        hub.init()
        hub.start()
        hub.create_repository()
        hub.add_model(None, MODEL, "1.0.0", "--no-chunks")
        hub.publish()
        box = Box(programs, tmp_path / "box", name="whole").start()
        device = join(hub, box, tmp_path)["device"]
        bundle = tmp_path / "whole.skb"
        create(hub, bundle, "--device", device)
        # Bent on the way, it is refused and leaves nothing; whole, it runs.
        bent = bytearray(bundle.read_bytes())
        bent[len(bent) // 2] ^= 1
        (tmp_path / "bent.skb").write_bytes(bent)
        assert box.skerry("bundle", "import", tmp_path / "bent.skb", check=False).returncode != 0
        assert box.status()["models"] == []
        box.skerry("bundle", "import", bundle)
        assert box.blob().read_bytes() == pathlib.Path(programs.weights).read_bytes()
        box.skerry("model", "verify", MODEL)
    finally:
        if box:
            print(box.daemon.tail(20))
            box.daemon.kill()
        hub.daemon.kill()


@pytest.mark.chaos
def test_kill_the_agent_anywhere_in_an_import(fleet, programs, tmp_path):
    """kill -9 at random points, then the same stick again: the same end as without a kill."""
    seed = random.randrange(1 << 30)
    print("seed", seed)
    chance = random.Random(seed)
    box = Box(programs, tmp_path / "killed", name="killed").start()
    try:
        device = join(fleet, box, tmp_path)["device"]
        bundle = tmp_path / "all.skb"
        create(fleet, bundle, "--device", device, "--all")
        box.daemon.stop()
        fresh = tmp_path / "fresh"
        shutil.copytree(box.state, fresh)
        box.start()
        box.skerry("bundle", "import", bundle)
        box.daemon.stop()
        want, rows = tree(box)
        for number in range(max(3, COUNT // 3)):
            shutil.rmtree(box.state)
            shutil.copytree(fresh, box.state)
            box.start()
            client = subprocess.Popen([programs.skerry, "--socket", str(box.socket), "bundle", "import", str(bundle)],
                                      stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            time.sleep(chance.random() * 2.5)
            box.daemon.kill()
            client.wait(30)
            box.start()
            assert not list((box.state / "bundle").glob("*")), "what a kill left is swept away"
            box.skerry("bundle", "import", bundle)
            box.daemon.stop()
            assert tree(box) == (want, rows), f"round {number}, seed {seed}"
    finally:
        print(box.daemon.tail(40))
        box.daemon.kill()
