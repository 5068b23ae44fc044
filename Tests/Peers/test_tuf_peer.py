"""Skerry's TUF against python-tuf, both ways: each reads what the other wrote, and both refuse the same attacks.

Run with SKERRY_BIN naming the skerry program, or after `swift build`.
"""

import copy
import datetime
import functools
import hashlib
import http.server
import json
import os
import pathlib
import subprocess
import threading

import pytest
from tiny_gguf import gguf
from securesystemslib.signer import CryptoSigner
from tuf.api.exceptions import DownloadError, DownloadHTTPError, RepositoryError
from tuf.api.metadata import (
    DelegatedRole, Delegations, Key, Metadata, MetaFile, Root, Snapshot, TargetFile, Targets, Timestamp,
)
from tuf.api.serialization.json import JSONSerializer
from tuf.ngclient import FetcherInterface, Updater

SKERRY = os.environ.get("SKERRY_BIN") or str(pathlib.Path(__file__).resolve().parents[2] / ".build/debug/skerry")
ROLES = ("root", "timestamp", "snapshot", "targets")


def skerry(*words, ok=True):
    done = subprocess.run([SKERRY, *map(str, words)], capture_output=True, text=True, stdin=subprocess.DEVNULL)
    if ok:
        assert done.returncode == 0, done.stdout + done.stderr
    return done


def check(repository, root, state=None, *more):
    """Our client over a folder or an address; metadata alone."""
    words = ["repo", "check", repository, "--root", root, "--metadata-only", "--json", *more]
    return skerry(*words, *(["--state", state] if state else []), ok=False)


class FolderFetcher(FetcherInterface):
    """python-tuf reads metadata from a folder."""

    def __init__(self, folder):
        self.folder = pathlib.Path(folder)

    def _fetch(self, url):
        path = self.folder / url.rsplit("/", 1)[1]
        if not path.exists():
            raise DownloadHTTPError(f"no {path}", 404)
        yield path.read_bytes()


def ngclient(metadata, state, root):
    pathlib.Path(state).mkdir(exist_ok=True)
    updater = Updater(
        str(state), "http://repository.invalid/", fetcher=FolderFetcher(metadata), bootstrap=pathlib.Path(root).read_bytes())
    updater.refresh()
    return updater


# Ours, read by python-tuf


@pytest.fixture
def ours(tmp_path):
    folder, keys = tmp_path / "repository", tmp_path / "keys"
    skerry("repo", "init", folder, "--keys", keys, "--no-passphrase")
    weights = gguf(tmp_path / "tiny.gguf")
    skerry("repo", "add", folder, weights, "--keys", keys, "--name", "tiny", "--version", "1.0.0",
           "--license", "Apache-2.0", "--publisher", "Müller \"& Söhne\" \\ 小")
    return folder, keys, weights


def test_python_tuf_reads_our_repository(ours, tmp_path):
    folder, keys, weights = ours
    root = folder / "metadata/1.root.json"
    target = ngclient(folder / "metadata", tmp_path / "state", root).get_targetinfo("models/tiny/1.0.0/tiny.gguf")
    assert target.length == weights.stat().st_size
    assert target.hashes == {"sha256": hashlib.sha256(weights.read_bytes()).hexdigest()}
    model = target.custom["skerry"]
    assert (model["name"], model["version"], model["architecture"], model["contextLength"]) == ("tiny", "1.0.0", "llama", 2048)
    assert model["publisher"] == "Müller \"& Söhne\" \\ 小"
    index = (folder / f"indexes/{model['index']['sha256']}.caibx").read_bytes()
    assert len(index) == model["index"]["length"] and hashlib.sha256(index).hexdigest() == model["index"]["sha256"]

    # And every later version of it: a second model, a new root, the first model gone.
    skerry("repo", "add", folder, gguf(tmp_path / "two.gguf", seed=2), "--keys", keys, "--name", "two", "--version", "2")
    skerry("repo", "renew", folder, "--keys", keys, "--root")
    skerry("repo", "remove", folder, "tiny", "--keys", keys)
    updater = ngclient(folder / "metadata", tmp_path / "state", root)
    assert updater.get_targetinfo("models/two/2/two.gguf")
    assert updater.get_targetinfo("models/tiny/1.0.0/tiny.gguf") is None
    assert json.loads((tmp_path / "state/root.json").read_bytes())["signed"]["version"] == 2


def test_python_tuf_agrees_on_our_key_ids(ours):
    root = json.loads((ours[0] / "metadata/1.root.json").read_bytes())["signed"]
    for key_id, key in root["keys"].items():
        canonical = json.dumps(key, sort_keys=True, separators=(",", ":"))
        assert hashlib.sha256(canonical.encode()).hexdigest() == key_id
        Key.from_dict(key_id, dict(key))


def test_python_tuf_reads_it_over_http(ours, tmp_path):
    folder, _, weights = ours
    handler = functools.partial(Quiet, directory=folder)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        address = f"http://127.0.0.1:{server.server_port}"
        (tmp_path / "state").mkdir()
        updater = Updater(str(tmp_path / "state"), address + "/metadata/",
                          bootstrap=(folder / "metadata/1.root.json").read_bytes())
        updater.refresh()
        assert updater.get_targetinfo("models/tiny/1.0.0/tiny.gguf").length == weights.stat().st_size
        # Our own client over the same server, chunks and all.
        done = skerry("repo", "check", address, "--root", folder / "metadata/1.root.json", "--json", ok=False)
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["chunks"] > 0
        done = skerry("repo", "check", address + "/nowhere", "--root", folder / "metadata/1.root.json", ok=False)
        assert done.returncode == 65 and "timestamp.json" in done.stderr
    finally:
        server.shutdown()
        server.server_close()


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


# python-tuf's, read by us


class Publisher:
    """A repository that python-tuf writes, in a state that tests bend."""

    def __init__(self, folder, consistent=True, root_threshold=1):
        self.metadata = pathlib.Path(folder) / "metadata"
        self.metadata.mkdir(parents=True)
        self.folder = pathlib.Path(folder)
        self.signers = {role: [CryptoSigner.generate_ed25519()] for role in ROLES}
        self.signers["root"] += [CryptoSigner.generate_ed25519() for _ in range(root_threshold)]
        expires = datetime.datetime.now(datetime.timezone.utc).replace(microsecond=0) + datetime.timedelta(days=30)
        self.root = Root(expires=expires, consistent_snapshot=consistent)
        for role in ROLES:
            for signer in self.signers[role]:
                self.root.add_key(signer.public_key, role)
        self.root.roles["root"].threshold = root_threshold
        self.targets = Targets(expires=expires)
        self.snapshot = Snapshot(expires=expires)
        self.timestamp = Timestamp(expires=expires)
        self.targets.targets["files/hello"] = TargetFile.from_data("files/hello", b"hello", ["sha256"])
        self.write_root()
        self.write()

    @property
    def first_root(self):
        return self.metadata / "1.root.json"

    def write_root(self, signers=None, name=None):
        name = name or f"{self.root.version}.root.json"
        (self.metadata / name).write_bytes(self.signed(self.root, signers or self.signers["root"]))

    @staticmethod
    def signed(part, signers):
        file = Metadata(copy.deepcopy(part))
        for signer in signers:
            file.sign(signer, append=True)
        return file.to_bytes(JSONSerializer(compact=False))

    def name(self, part):
        consistent = self.root.consistent_snapshot and part.type != "timestamp"
        return f"{part.version}.{part.type}.json" if consistent else f"{part.type}.json"

    def put(self, part, signers=None):
        data = self.signed(part, signers or self.signers[part.type])
        (self.metadata / self.name(part)).write_bytes(data)
        return MetaFile(part.version, len(data), {"sha256": hashlib.sha256(data).hexdigest()})

    def write(self):
        self.snapshot.meta["targets.json"] = self.put(self.targets)
        self.timestamp.snapshot_meta = self.put(self.snapshot)
        self.put(self.timestamp)

    def next(self):
        for part in (self.targets, self.snapshot, self.timestamp):
            part.version += 1
        self.write()


@pytest.fixture
def theirs(tmp_path):
    return Publisher(tmp_path / "theirs")


@pytest.mark.parametrize("consistent", [True, False])
def test_we_read_python_tufs_repository(tmp_path, consistent):
    publisher = Publisher(tmp_path / "theirs", consistent=consistent, root_threshold=2)
    done = check(publisher.folder, publisher.first_root, tmp_path / "state")
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert answer["versions"] == {role: 1 for role in ROLES}
    assert answer["targets"] == [
        {"path": "files/hello", "length": 5, "sha256": hashlib.sha256(b"hello").hexdigest()}]
    # Kept byte for byte.
    for part in (publisher.timestamp, publisher.snapshot, publisher.targets):
        assert (tmp_path / "state" / f"{part.type}.json").read_bytes() == (publisher.metadata / publisher.name(part)).read_bytes()
    publisher.next()
    assert json.loads(check(publisher.folder, publisher.first_root, tmp_path / "state").stdout)["versions"]["targets"] == 2


def test_we_follow_python_tufs_root_rotations(theirs, tmp_path):
    for _ in range(5):
        old = theirs.signers["root"]
        theirs.signers["root"] = [CryptoSigner.generate_ed25519() for _ in range(2)]
        for signer in old:
            theirs.root.revoke_key(signer.public_key.keyid, "root")
        for signer in theirs.signers["root"]:
            theirs.root.add_key(signer.public_key, "root")
        theirs.root.roles["root"].threshold = 2
        theirs.root.version += 1
        theirs.write_root(old + theirs.signers["root"])
    done = check(theirs.folder, theirs.first_root)
    assert done.returncode == 0 and json.loads(done.stdout)["versions"]["root"] == 6


def test_other_kinds_of_keys_and_delegations_do_not_disturb(theirs):
    for signer in (CryptoSigner.generate_ecdsa(), CryptoSigner.generate_rsa()):
        theirs.root.add_key(signer.public_key, "targets")
        theirs.signers["targets"].append(signer)
    theirs.write_root()
    people = CryptoSigner.generate_ed25519()
    key = people.public_key
    theirs.targets.delegations = Delegations(
        {key.keyid: key}, {"people": DelegatedRole("people", [key.keyid], 1, True, ["people/*"])})
    theirs.snapshot.meta["people.json"] = MetaFile(1)
    (theirs.metadata / "1.people.json").write_bytes(theirs.signed(Targets(expires=theirs.targets.expires), [people]))
    theirs.write()
    assert check(theirs.folder, theirs.first_root).returncode == 0


def only_signer_of_targets(theirs, signer):
    theirs.root.revoke_key(theirs.signers["targets"][0].public_key.keyid, "targets")
    theirs.signers["targets"] = [signer]
    theirs.root.add_key(signer.public_key, "targets")
    theirs.write_root()
    theirs.write()
    return check(theirs.folder, theirs.first_root)


@pytest.mark.parametrize("make", [CryptoSigner.generate_ecdsa, CryptoSigner.generate_rsa])
def test_their_other_kinds_of_keys_sign_for_us(theirs, make):
    done = only_signer_of_targets(theirs, make())
    assert done.returncode == 0, done.stderr


def test_a_role_of_only_unknown_keys_is_refused(theirs):
    done = only_signer_of_targets(theirs, CryptoSigner.generate_rsa(scheme="rsa-pkcs1v15-sha256"))
    assert done.returncode == 65 and "0 valid of 1" in done.stderr


# Attacks: what each does to a good repository whose second version a client already trusts


def past(part):
    part.expires = datetime.datetime.now(datetime.timezone.utc).replace(microsecond=0) - datetime.timedelta(days=1)


def older_timestamp(p):
    p.timestamp.version = 1
    p.write()


def older_snapshot(p):
    p.timestamp.version, p.snapshot.version = 3, 1
    p.write()


def older_targets(p):
    p.timestamp.version, p.snapshot.version, p.targets.version = 3, 3, 1
    p.write()


def forgotten_file(p):
    p.snapshot.meta.pop("other.json")
    p.next()


def mixed_snapshot(p):
    before = (p.metadata / "timestamp.json").read_bytes()
    p.next()
    current = (p.metadata / "timestamp.json").read_bytes()
    p.snapshot.meta["more.json"] = MetaFile(1)
    p.write()
    assert before != current
    (p.metadata / "timestamp.json").write_bytes(current)


def mixed_targets(p):
    p.next()
    p.targets.targets["files/evil"] = TargetFile.from_data("files/evil", b"evil", ["sha256"])
    p.put(p.targets)


def foreign(role):
    def attack(p):
        p.signers[role] = [CryptoSigner.generate_ed25519()]
        p.next()
    return attack


def other_roles_key(p):
    p.signers["targets"] = p.signers["timestamp"]
    p.next()


def expired(role):
    def attack(p):
        past(getattr(p, role))
        if role == "root":
            p.root.version += 1
            p.write_root()
        p.next()
    return attack


def swapped(p):
    p.next()
    (p.metadata / "timestamp.json").write_bytes((p.metadata / "3.snapshot.json").read_bytes())


def skipped_root(p):
    p.root.version = 3
    p.write_root(name="2.root.json")


def same_root(p):
    p.write_root(name="2.root.json")


def root_by_the_old_alone(p):
    old = p.signers["root"]
    for signer in old:
        p.root.revoke_key(signer.public_key.keyid, "root")
    new = CryptoSigner.generate_ed25519()
    p.root.add_key(new.public_key, "root")
    p.root.version = 2
    p.write_root(old)


def root_by_the_new_alone(p):
    root_by_the_old_alone(p)
    new = CryptoSigner.generate_ed25519()
    p.root.add_key(new.public_key, "root")
    p.write_root([new])


def threshold_by_one_twice(p):
    second = CryptoSigner.generate_ed25519()
    p.root.add_key(second.public_key, "targets")
    p.root.roles["targets"].threshold = 2
    p.root.version = 2
    p.write_root()
    p.next()
    file = p.metadata / "3.targets.json"
    data = json.loads(file.read_bytes())
    # The same signature again, under the second key's name.
    data["signatures"].append({"keyid": second.public_key.keyid, "sig": data["signatures"][0]["sig"]})
    file.write_bytes(json.dumps(data).encode())
    p.snapshot.meta["targets.json"] = MetaFile(3)
    p.timestamp.snapshot_meta = p.put(p.snapshot)
    p.put(p.timestamp)


def endless_timestamp(p):
    with open(p.metadata / "timestamp.json", "ab") as file:
        file.write(b" " * 100_000)


def endless_root(p):
    (p.metadata / "2.root.json").write_bytes(b"{" * 1_000_000)


def gone(p):
    (p.metadata / "timestamp.json").unlink()


def garbage(p):
    (p.metadata / "timestamp.json").write_bytes(b"<html>404 but we say 200</html>")


def future_specification(p):
    # python-tuf's own class refuses to hold it, so the file is changed and signed by hand.
    p.timestamp.version += 1
    data = json.loads(p.signed(p.timestamp, []))
    data["signed"]["spec_version"] = "2.0.0"
    signer = p.signers["timestamp"][0]
    canonical = json.dumps(data["signed"], sort_keys=True, separators=(",", ":")).encode()
    data["signatures"] = [signer.sign(canonical).to_dict()]
    (p.metadata / "timestamp.json").write_bytes(json.dumps(data).encode())


ATTACKS = {
    "older timestamp": (older_timestamp, "rollback"),
    "older snapshot": (older_snapshot, "rollback"),
    "older targets": (older_targets, "rollback"),
    "forgotten file": (forgotten_file, "no longer lists other.json"),
    "mixed snapshot": (mixed_snapshot, "snapshot.json"),
    "mixed targets": (mixed_targets, "targets.json"),
    **{f"foreign {role} key": (foreign(role), f"{role} metadata is not signed") for role in ROLES[1:]},
    "another role's key": (other_roles_key, "targets metadata is not signed"),
    **{f"expired {role}": (expired(role), f"{role} metadata expired") for role in ROLES},
    "swapped files": (swapped, "timestamp"),
    "skipped root": (skipped_root, "root metadata has version 3"),
    "same root": (same_root, "root metadata has version 1"),
    "root by the old keys alone": (root_by_the_old_alone, "root metadata is not signed"),
    "root by the new keys alone": (root_by_the_new_alone, "root metadata is not signed"),
    "threshold by one key twice": (threshold_by_one_twice, "1 valid of 2"),
    "endless timestamp": (endless_timestamp, "larger than the limit"),
    "endless root": (endless_root, "larger than the limit"),
    "gone": (gone, "no timestamp.json"),
    "garbage": (garbage, "timestamp metadata can't be read"),
    "future specification": (future_specification, "2.0.0"),
}


@pytest.mark.parametrize("name", ATTACKS)
def test_both_refuse(theirs, tmp_path, name):
    attack, words = ATTACKS[name]
    theirs.snapshot.meta["other.json"] = MetaFile(1)
    theirs.next()
    first = tmp_path / "trusted.root.json"
    first.write_bytes(theirs.first_root.read_bytes())
    ours, their_state = tmp_path / "ours", tmp_path / "python"
    assert check(theirs.folder, first, ours).returncode == 0
    ngclient(theirs.metadata, their_state, first)
    kept = {file.name: file.read_bytes() for file in ours.iterdir()}

    attack(theirs)
    done = check(theirs.folder, first, ours)
    assert done.returncode == 65, done.stdout + done.stderr
    assert words in done.stderr
    with pytest.raises((RepositoryError, DownloadError)):
        ngclient(theirs.metadata, their_state, first)
    # What was trusted for the models themselves is as it was.
    assert (ours / "targets.json").read_bytes() == kept["targets.json"]


def test_a_rotated_snapshot_key_forgives_a_fast_forward(theirs, tmp_path):
    state = tmp_path / "state"
    theirs.timestamp.version = theirs.snapshot.version = theirs.targets.version = 2**62
    theirs.write()
    assert check(theirs.folder, theirs.first_root, state).returncode == 0
    theirs.timestamp.version = theirs.snapshot.version = theirs.targets.version = 5
    theirs.write()
    assert "rollback" in check(theirs.folder, theirs.first_root, state).stderr
    theirs.root.revoke_key(theirs.signers["snapshot"][0].public_key.keyid, "snapshot")
    theirs.signers["snapshot"] = [CryptoSigner.generate_ed25519()]
    theirs.root.add_key(theirs.signers["snapshot"][0].public_key, "snapshot")
    theirs.root.version = 2
    theirs.write_root()
    theirs.write()
    done = check(theirs.folder, theirs.first_root, state)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["versions"] == {"root": 2, "timestamp": 5, "snapshot": 5, "targets": 5}
