"""m-of-n over a stick: stage, sign, sign, commit; what is refused, and what a kill or a full disk leaves behind."""

import json
import os
import random
import re
import shutil
import subprocess
import time

import pytest
from publisher import SKERRY, Repository, answer, ngclient, python_sees, skerry
from tiny_gguf import gguf

TINY = "models/tiny/1.0.0/tiny.gguf"
PEOPLE = ("alice", "bob", "carol")


class Office:
    """Three people, each with a stick of their own; two of them must sign root and targets."""

    def __init__(self, home):
        self.home, self.path, self.keys = home, home / "repository", home / "office"
        for name in PEOPLE:
            skerry("repo", "key", "create", name, "--keys", home / name, "--no-passphrase",
                   "--scheme", "ecdsa" if name == "carol" else "ed25519")
        skerry("repo", "key", "create", "online", "--keys", self.keys, "--no-passphrase")
        people = ",".join(str(home / name / f"{name}.pub") for name in PEOPLE)
        skerry("repo", "init", self.path, "--stage", "--keys", self.keys, "--role", f"root=2:{people}", "--role",
               f"targets=2:{people}", "--role", "snapshot=1:online", "--role", "timestamp=1:online")
        self.stick = home / "stick.json"

    def __call__(self, verb, *words, **expect):
        return skerry("repo", verb, self.path, *words, **expect)

    def stage(self, *words):
        return answer("repo", "stage", self.path, self.stick, *words)

    def sign(self, name, *words, **expect):
        return skerry("repo", "sign", self.stick, "--keys", self.home / name, *words, **expect)

    def commit(self, **expect):
        return skerry("repo", "commit", self.path, self.stick, "--keys", self.keys, **expect)

    def ceremony(self, *names):
        self.stage()
        for name in names:
            self.sign(name)
        self.commit()

    @property
    def metadata(self):
        return self.path / "metadata"

    def root(self):
        return self.metadata / "1.root.json"

    def files(self):
        return {file.name: file.read_bytes() for file in self.metadata.iterdir()}


@pytest.fixture
def office(tmp_path):
    return Office(tmp_path)


@pytest.fixture
def founded(office):
    office.ceremony("alice", "bob")
    return office


@pytest.fixture
def weights(tmp_path):
    return gguf(tmp_path / "tiny.gguf")


def test_two_of_three_found_a_repository(office, tmp_path):
    skerry("repo", "check", office.path, status=66, says="waits for signatures")
    assert len(answer("repo", "status", office.path)["staged"]) == 2
    staged = office.stage()
    assert len(staged["missing"]) == 2 and any("2 of 3" in line for line in staged["summary"])
    office.commit(status=65, says="signatures are missing")
    office.sign("alice")
    office.sign("alice", status=65, says="not there yet")
    office.commit(status=65, says="1.root.json needs 1 signature more")
    assert not office.root().exists()
    # What Alice signed has been kept; Bob's stick may come alone.
    office.stage()
    signed = json.loads(skerry("repo", "sign", office.stick, "--keys", tmp_path / "bob", "--json").stdout)
    assert signed["missing"] == [] and len(signed["signed"]) == 2
    office.commit()
    assert ngclient(office.metadata, tmp_path / "state", office.root())
    status = answer("repo", "status", office.path)
    assert status["staged"] == [] and status["roles"]["root"]["threshold"] == 2
    assert answer("repo", "check", office.path)["versions"] == {r: 1 for r in ("root", "targets", "snapshot", "timestamp")}


def test_a_model_goes_through_a_ceremony(founded, weights, tmp_path):
    founded("add", weights, "--name", "tiny", "--version", "1.0.0", status=64, says="--keys")
    founded("add", weights, "--name", "tiny", "--version", "1.0.0", "--keys", tmp_path / "alice", status=65,
            says="1 of the 2 keys")
    done = founded("add", weights, "--name", "tiny", "--version", "1.0.0", "--stage")
    assert f"+ {TINY}" in done.stdout
    founded("renew", "--keys", tmp_path / "alice", status=65, says="staged changes")
    # More may be added to what nobody has signed.
    founded("add", gguf(tmp_path / "two.gguf", seed=2), "--name", "two", "--version", "1", "--stage")
    founded.stage()
    founded.sign("carol")
    founded.sign("bob")
    www = tmp_path / "www"
    skerry("repo", "publish", founded.path, "--staged", founded.stick, "--keys", founded.keys, "--to", www)
    assert python_sees(founded, tmp_path / "state", TINY)
    assert answer("repo", "check", www, "--root", founded.root())["models"] == 2
    # Nothing is added to what somebody has signed.
    founded("remove", "two", "--stage")
    skerry("repo", "sign", founded.path, "--keys", tmp_path / "alice")
    founded("remove", "tiny", "--stage", status=65, says="carries 1 signatures already")
    founded("stage", "--discard")
    assert answer("repo", "status", founded.path)["staged"] == []


def test_people_come_and_go(founded, tmp_path):
    """A root rotation takes a threshold of the old keys and of the new ones."""
    state = tmp_path / "state"
    ngclient(founded.metadata, state, founded.root())
    skerry("repo", "key", "create", "dora", "--keys", tmp_path / "dora", "--no-passphrase")
    skerry("repo", "key", "create", "emil", "--keys", tmp_path / "emil", "--no-passphrase")
    old = [tmp_path / name / f"{name}.pub" for name in ("alice", "bob")]
    new = [tmp_path / name / f"{name}.pub" for name in ("dora", "emil")]
    founded("rotate", "root", "--old", old[0], "--old", old[1], "--new", new[0], "--new", new[1], "--stage")
    before = founded.files()
    for names, words in ((["alice", "bob"], "root version 2 demands"), (["dora", "emil"], "root version 1 demands"),
                         (["carol"], "demands"), (["alice", "dora"], "demands")):
        founded.stage()
        for name in names:
            founded.sign(name)
        shutil.copytree(founded.path / "staged", tmp_path / "kept", dirs_exist_ok=True)
        founded.commit(status=65, says=words)
        assert founded.files() == before
        shutil.rmtree(founded.path / "staged")
        founded("rotate", "root", "--old", old[0], "--old", old[1], "--new", new[0], "--new", new[1], "--stage")
    founded.stage()
    for name in ("carol", "alice", "dora"):
        founded.sign(name)
    founded.commit()
    assert ngclient(founded.metadata, state, founded.root())
    assert answer("repo", "check", founded.path, "--root", founded.root())["versions"]["root"] == 2


def test_snapshot_keys_elsewhere_are_staged_in_turn(tmp_path):
    for name in ("root", "targets", "snap", "time"):
        skerry("repo", "key", "create", name, "--keys", tmp_path / name, "--no-passphrase")
    path, stick = tmp_path / "repository", tmp_path / "stick.json"
    pub = {name: tmp_path / name / f"{name}.pub" for name in ("root", "targets", "snap", "time")}
    skerry("repo", "init", path, "--stage", "--role", f"root=1:{pub['root']}", "--role", f"targets=1:{pub['targets']}",
           "--role", f"snapshot=1:{pub['snap']}", "--role", f"timestamp=1:{pub['time']}")
    for signers, missing in ((["root", "targets"], "1.snapshot.json"), (["snap"], "timestamp.json")):
        skerry("repo", "stage", path, stick)
        for name in signers:
            skerry("repo", "sign", stick, "--keys", tmp_path / name)
        skerry("repo", "commit", path, stick, status=65, says=missing)
    skerry("repo", "stage", path, stick)
    skerry("repo", "sign", stick, "--keys", tmp_path / "time")
    skerry("repo", "commit", path, stick)
    assert ngclient(path / "metadata", tmp_path / "state", path / "metadata/1.root.json")


def test_an_altered_file_is_refused(founded, weights, tmp_path):
    founded("add", weights, "--name", "tiny", "--version", "1.0.0", "--stage")
    founded.stage()
    unsigned = founded.stick.read_text()
    founded.sign("alice")
    good = founded.stick.read_text()
    before = founded.files()
    digest = re.search(r'"sha256": "([0-9a-f]{64})"', weights_entry(good)).group(1)

    def refused(text, says="altered"):
        founded.stick.write_text(text)
        founded.sign("bob", status=65, says=says)
        founded.commit(status=65, says=says)
        assert founded.files() == before

    evil = "0" * 64
    refused(good.replace(digest, evil))
    refused(unsigned.replace(digest, evil))
    refused(rehashed(good.replace(digest, evil)), "altered")
    # Before anybody signed, an attacker can write down a matching digest: whoever compares digests sees it, and the
    # repository, which knows what it staged, refuses it.
    founded.stick.write_text(rehashed(unsigned.replace(digest, evil)))
    wanted = answer("repo", "status", founded.path)["staged"][0]["sha256"]
    founded.sign("bob", "--digest", wanted, status=65, says="which you did not name")
    founded.sign("bob")
    founded.commit(status=65, says="was staged")
    # Signatures that are not over these bytes, and keys that may not sign.
    file = json.loads(good)
    file["files"][0]["metadata"]["signatures"][0]["sig"] = "00" * 64
    refused(json.dumps(file))
    file["files"][0]["metadata"]["signatures"][0]["keyid"] = "ab" * 32
    refused(json.dumps(file))
    # The keys that are said to be current.
    file = json.loads(good)
    file["current"]["root"]["signed"]["roles"]["targets"]["threshold"] = 1
    refused(json.dumps(file))
    for text in ("", "{}", "[]", "{\"format\": \"skerry-ceremony/1\"}", good[: len(good) // 2]):
        founded.stick.write_text(text)
        founded.sign("bob", status=65)
    founded.stick.unlink()
    founded.sign("bob", status=66)
    # And with the good file it goes on.
    founded.stick.write_text(good)
    founded.sign("bob", "--digest", wanted, "--root", founded.root())
    founded.commit()
    assert python_sees(founded, tmp_path / "state", TINY)

    # Another repository's root does not vouch for it; in the folder an altered file is refused as well.
    founded("renew", "--stage")
    founded.stage()
    (tmp_path / "other").mkdir()
    other = Repository(tmp_path / "other")
    founded.sign("alice", "--root", other.root(), status=65, says="another repository")
    skerry("repo", "sign", founded.path, "--keys", tmp_path / "alice")
    staged = founded.path / "staged" / "3.targets.json"
    staged.write_text(staged.read_text().replace(digest, evil))
    for verb in (["sign", founded.path, "--keys", tmp_path / "bob"], ["commit", founded.path], ["status", founded.path]):
        skerry("repo", *verb, status=65, says="altered")
    founded("stage", "--discard")
    answer("repo", "status", founded.path)


def weights_entry(text):
    return text[text.index('"files"'):]


def rehashed(text):
    """The file with its digests written down anew, as somebody would who alters it."""
    import hashlib
    file = json.loads(text)
    for entry in file["files"]:
        signed = json.dumps(entry["metadata"]["signed"], sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        entry["sha256"] = hashlib.sha256(signed.encode()).hexdigest()
    return json.dumps(file)


# What a kill and a full disk leave behind


def verbs(path, keys, home, weights):
    yield ["add", path, weights, "--name", "tiny", "--version", "1", "--keys", keys]
    yield ["renew", path, "--root", "--keys", keys]
    yield ["delegate", path, "acme", "--paths", "models/acme-*/*/*", "--key", "spare", "--keys", keys]
    yield ["delegate", path, "bins", "--from", "acme", "--succinct", "5", "--key", "spare", "--keys", keys]
    yield ["rotate", path, "timestamp", "--new", "spare", "--keys", keys]
    yield ["role", path, "targets", "--key", "targets", "--key", "spare", "--threshold", "2", "--keys", keys]
    yield ["policy", path, "--grace", "1d", "--keys", keys]
    yield ["remove", path, "tiny", "--stage", "--keys", keys]
    yield ["stage", path, home / "stick.json"]
    yield ["sign", home / "stick.json", "--keys", keys]
    yield ["commit", path, home / "stick.json", "--keys", keys]
    yield ["publish", path, "--to", home / "www"]


def test_a_kill_in_any_verb_leaves_the_old_state_or_the_new(tmp_path, weights):
    made = Repository(tmp_path)
    made.key("spare")
    chance = random.Random(int(os.environ.get("SEED", "11")))
    state, root = tmp_path / "state", made.root()
    took = 0.05
    for verb in verbs(made.path, made.keys, tmp_path, weights):
        words = [SKERRY, "repo", *map(str, verb)]
        for _ in range(5):
            process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            time.sleep(chance.uniform(0.002, took))
            process.kill()
            process.wait()
            # A client at any moment, and the publisher's own tool.
            ngclient(made.metadata, state, root)
            answer("repo", "status", made.path)
            answer("repo", "check", made.path, "--root", root, "--metadata-only")
        start = time.monotonic()
        done = subprocess.run(words, capture_output=True, text=True)
        took = max(0.03, min(1.0, time.monotonic() - start))
        # The kill may have come after the end: then there is nothing left to do.
        assert done.returncode in (0, 65, 66), (verb[0], done.stderr)
    assert not [p for p in made.metadata.iterdir() if "commit" in p.name]
    answer("repo", "check", tmp_path / "www", "--root", root)


def test_a_full_disk_leaves_the_old_state(tmp_path, weights):
    """On a small file system of its own, where the machine lets us mount one."""
    disk = tmp_path / "disk"
    disk.mkdir()
    script = f"""
        set -e
        mount -t tmpfs -o size=700k none {disk} || exit 42
        {SKERRY} repo init {disk}/repository --keys {disk}/keys --no-passphrase
        cp -a {disk}/repository {tmp_path}/before
        # So many bytes are left, fewer each time.
        for left in 200 64 24 8 4 0; do
          head -c 10M /dev/zero > {disk}/filler || true
          truncate -s -$((left * 1024)) {disk}/filler
          for verb in "add {disk}/repository {weights} --name tiny --version 1" "renew {disk}/repository --root" \\
                      "remove {disk}/repository tiny --stage" "policy {disk}/repository --grace 1d"; do
            code=0
            {SKERRY} repo $verb --keys {disk}/keys > {tmp_path}/said 2>&1 || code=$?
            case $code in 0|65|66|74) ;; *) cat {tmp_path}/said; exit 43;; esac
            {SKERRY} repo check {disk}/repository --metadata-only > {tmp_path}/said 2>&1 || {{ cat {tmp_path}/said; exit 44; }}
            {SKERRY} repo stage {disk}/repository --discard > /dev/null || true
          done
          rm {disk}/filler
        done
        {SKERRY} repo stage {disk}/repository --discard
        {SKERRY} repo renew {disk}/repository --keys {disk}/keys
        {SKERRY} repo check {disk}/repository
    """
    done = subprocess.run(["unshare", "-rm", "bash", "-c", script], capture_output=True, text=True)
    if done.returncode == 42 or "unshare" in done.stderr:
        pytest.skip("this machine lets nobody mount a file system")
    assert done.returncode == 0, done.stdout + done.stderr
