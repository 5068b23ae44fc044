"""Keys, roles, delegations, rotations, policy: what `skerry repo` writes, python-tuf's client reads."""

import json
import os
import stat
import subprocess
import sys

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption, Encoding, NoEncryption, PrivateFormat, PublicFormat, load_pem_private_key,
)
from publisher import SKERRY, Repository, answer, ngclient, python_sees, skerry
from tiny_gguf import gguf

TINY = "models/tiny/1.0.0/tiny.gguf"


@pytest.fixture
def repository(tmp_path):
    return Repository(tmp_path)


@pytest.fixture
def weights(tmp_path):
    return gguf(tmp_path / "tiny.gguf")


# Keys


def test_keys_are_made_encrypted_and_listed(tmp_path):
    phrase = tmp_path / "phrase"
    phrase.write_text("only the publisher knows\n")
    keys = tmp_path / "keys"
    for name, scheme in (("ed", "ed25519"), ("ec", "ecdsa")):
        made = answer("repo", "key", "create", name, "--keys", keys, "--scheme", scheme, "--passphrase-file", phrase)
        pem = (keys / f"{name}.pem").read_bytes()
        assert stat.S_IMODE((keys / f"{name}.pem").stat().st_mode) == 0o600 and b"ENCRYPTED" in pem
        public = load_pem_private_key(pem, b"only the publisher knows").public_key()
        assert public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo) == (keys / f"{name}.pub").read_bytes()
        skerry("repo", "key", "create", name, "--keys", keys, "--no-passphrase", status=65, says="never written over")
        assert (keys / f"{name}.pem").read_bytes() == pem and len(made["keyid"]) == 64
    listed = {key["name"]: key for key in answer("repo", "key", "list", "--keys", keys)["keys"]}
    assert {name: key["private"] for name, key in listed.items()} == {"ed": "encrypted", "ec": "encrypted"}
    assert listed["ec"]["scheme"] == "ecdsa-sha2-nistp256"


def test_keys_of_others_are_taken_over(tmp_path):
    phrase = tmp_path / "phrase"
    phrase.write_text("words\n")
    key = ec.generate_private_key(ec.SECP256R1())
    (tmp_path / "plain.pem").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    (tmp_path / "locked.pem").write_bytes(
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"words")))
    compressed = key.public_key().public_bytes(Encoding.X962, PublicFormat.CompressedPoint)
    assert len(compressed) == 33
    (tmp_path / "other.pub").write_bytes(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    keys = tmp_path / "keys"
    ids = {answer("repo", "key", "import", tmp_path / f, "--keys", keys, "--passphrase-file", phrase)["keyid"]
           for f in ("plain.pem", "locked.pem", "other.pub")}
    assert len(ids) == 1
    listed = {k["name"]: k["private"] for k in answer("repo", "key", "list", "--keys", keys)["keys"]}
    assert listed == {"plain": "encrypted", "locked": "encrypted", "other": "elsewhere"}
    wrong = tmp_path / "wrong"
    wrong.write_text("other words\n")
    skerry("repo", "key", "import", tmp_path / "locked.pem", "--keys", keys, "--name", "x", "--passphrase-file", wrong,
           status=65, says="passphrase")
    p384 = ec.generate_private_key(ec.SECP384R1()).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (tmp_path / "p384.pem").write_bytes(p384)
    skerry("repo", "key", "import", tmp_path / "p384.pem", "--keys", keys, "--no-passphrase", status=65)
    assert sorted(p.name for p in keys.iterdir()) == ["locked.pem", "locked.pub", "other.pub", "plain.pem", "plain.pub"]


def test_a_wrong_passphrase_loses_nothing(tmp_path, weights):
    phrase, wrong = tmp_path / "phrase", tmp_path / "wrong"
    phrase.write_text("right\n")
    wrong.write_text("not right\n")
    path, keys = tmp_path / "repository", tmp_path / "keys"
    skerry("repo", "init", path, "--keys", keys, "--passphrase-file", phrase)
    everything = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    for verb in (["add", path, weights, "--name", "tiny", "--version", "1"], ["renew", path], ["renew", path, "--root"],
                 ["policy", path, "--grace", "1d"], ["rotate", path, "targets", "--new", "root"],
                 ["delegate", path, "acme", "--paths", "models/*", "--key", "root"]):
        skerry("repo", *verb, "--keys", keys, "--passphrase-file", wrong, status=65, says="passphrase")
    assert {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()} == everything


# Thresholds and schemes


def test_python_tuf_reads_ecdsa_and_thresholds(tmp_path, weights):
    made = Repository(tmp_path, "--scheme", "ecdsa")
    for name in ("two", "three"):
        made.key(name, "--scheme", "ecdsa")
    made("role", "targets", "--key", "targets", "--key", "two", "--key", "three", "--threshold", "2")
    made.add(weights)
    assert python_sees(made, tmp_path / "state", TINY).length == weights.stat().st_size
    assert made.targets()[TINY]
    status = answer("repo", "status", made.path, "--keys", made.keys)["roles"]["targets"]
    assert status["threshold"] == 2 and len(status["keys"]) == 3 and len(status["signatures"]) == 3

    # One of the three is not enough, here or there.
    before = made.files()
    skerry("repo", "renew", made.path, "--keys", made.keys, "--with", "two", status=65, says="needs 1 signature more")
    assert made.files() == before
    skerry("repo", "role", made.path, "targets", "--keys", made.keys, "--threshold", "4", status=64, says="can't be reached")
    skerry("repo", "role", made.path, "targets", "--keys", made.keys, "--key", "two", "--key", "two", status=64, says="twice")
    assert made.files() == before


@pytest.mark.parametrize("role", ["root", "targets", "snapshot", "timestamp"])
def test_every_role_rotates_and_clients_follow(repository, weights, tmp_path, role):
    repository.add(weights)
    state, ours = tmp_path / "state", tmp_path / "ours"
    ngclient(repository.metadata, state, repository.root())
    answer("repo", "check", repository.path, "--root", repository.root(), "--state", ours)
    repository.key("new")
    if role == "root":
        # The new key alone is no successor.
        aside = repository.keys / "root.pem"
        aside.rename(tmp_path / "root.pem")
        repository("rotate", role, "--new", "new", status=65, says="root version 1 demands")
        (tmp_path / "root.pem").rename(aside)
    repository("rotate", role, "--new", "new")
    (repository.keys / f"{role}.pem").unlink()
    (repository.keys / f"{role}.pub").unlink()
    repository.add(gguf(tmp_path / "two.gguf", seed=2), "two")
    assert ngclient(repository.metadata, state, repository.root()).get_targetinfo("models/two/1.0.0/two.gguf")
    checked = answer("repo", "check", repository.path, "--root", repository.root(), "--state", ours)
    assert checked["models"] == 2 and checked["versions"]["root"] == 2


def test_policy_stands_in_the_root_and_stays_there(repository, tmp_path):
    repository("policy", "--grace", "14d", "--stale", "30d")
    root = json.loads((repository.metadata / "2.root.json").read_bytes())["signed"]
    assert root["skerry"] == {"graceSeconds": 14 * 86400, "staleSeconds": 30 * 86400}
    repository("renew", "--root")
    repository("policy", "--stale", "forever")
    root = json.loads((repository.metadata / "4.root.json").read_bytes())["signed"]
    assert root["skerry"] == {"graceSeconds": 14 * 86400} == answer("repo", "status", repository.path)["policy"]
    assert ngclient(repository.metadata, tmp_path / "state", repository.root())
    repository("policy", status=64)


# Delegations


@pytest.mark.parametrize("kind", ["patterns", "terminating", "hash prefixes", "bins", "two levels"])
def test_python_tuf_reads_delegations_of_every_kind(repository, weights, tmp_path, kind):
    for name in ("acme", "emca"):
        repository.key(name)
    keys = ["--key", "acme", "--key", "emca", "--threshold", "2"]
    role = "acme"
    if kind == "patterns":
        repository("delegate", "acme", "--paths", "models/other/*", "--paths", "models/tiny/*/*", *keys)
    elif kind == "terminating":
        repository("delegate", "acme", "--paths", "models/tiny/*/*", "--terminating", *keys)
    elif kind == "hash prefixes":
        repository("delegate", "acme", "--hash-prefixes", ",".join("0123456789abcdef"), *keys)
    elif kind == "bins":
        repository("delegate", "acme", "--succinct", "4", *keys)
    else:
        repository("delegate", "acme", "--paths", "models/*/*/*", *keys)
        repository("delegate", "team", "--from", "acme", "--paths", "models/tiny/*/*", "--key", "emca")
        role = "team"
    repository.add(weights, "tiny", "1.0.0", "--role", role)
    found = python_sees(repository, tmp_path / "state", TINY)
    assert found.length == weights.stat().st_size
    assert python_sees(repository, tmp_path / "state", "models/none/1/none.gguf") is None
    here = repository.targets()
    assert set(here) == {TINY} and here[TINY]["role"].startswith(role)
    status = answer("repo", "status", repository.path, "--keys", repository.keys)
    assert status["targets"][0]["role"] == here[TINY]["role"] and status["missing"] == []
    assert status["roles"][here[TINY]["role"]]["version"] == 2
    www = tmp_path / "www"
    skerry("repo", "publish", repository.path, "--to", www)
    assert answer("repo", "check", www, "--root", repository.root(), "--state", tmp_path / "s")["models"] == 1

    # The delegated role rotates, its list is renewed, the model goes, the delegation goes.
    rotated = here[TINY]["role"]
    repository.key("next")
    repository("rotate", rotated, "--new", "next", "--threshold", "1")
    repository("renew", "--role", rotated)
    assert python_sees(repository, tmp_path / "state", TINY)
    assert answer("repo", "check", repository.path, "--root", repository.root(), "--state", tmp_path / "s")["models"] == 1
    repository("remove", "tiny")
    assert python_sees(repository, tmp_path / "state", TINY) is None
    name, *rest = ("team", "--from", "acme") if kind == "two levels" else ("acme",)
    repository("delegate", name, *rest, "--revoke")
    assert python_sees(repository, tmp_path / "state", TINY) is None
    skerry("repo", "publish", repository.path, "--to", www)


def test_a_delegated_role_lists_only_what_is_its_own(repository, weights, tmp_path):
    repository.key("acme")
    repository("delegate", "acme", "--paths", "models/acme-*/*/*", "--key", "acme")
    before = repository.files()
    repository.add(weights, "tiny", "1.0.0", "--role", "acme", status=65, says="no box would find")
    repository.add(weights, "tiny", "1.0.0", "--role", "nobody", status=66, says="no role nobody")
    repository("delegate", "../x", "--paths", "*", "--key", "acme", status=64, says="no name for a role")
    repository("delegate", "timestamp", "--paths", "*", "--key", "acme", status=64)
    repository("delegate", "x", "--key", "acme", status=64, says="which paths")
    repository("delegate", "x", "--paths", "*", status=64, says="whose keys")
    repository("delegate", "x", "--hash-prefixes", "0g", "--key", "acme", status=64, says="no beginning")
    repository("delegate", "x", "--succinct", "4", "--key", "acme", status=65, says="exclude")
    repository("delegate", "acme", "--from", "acme", "--paths", "*", "--key", "acme", status=65, says="ring")
    assert repository.files() == before
    # Its own key signs its list, and no other.
    repository.key("stranger")
    repository.add(gguf(tmp_path / "a.gguf", seed=3), "acme-a", "1", "--role", "acme", "--with", "stranger",
                   status=65)
    assert repository.files() == before
    repository.add(gguf(tmp_path / "a.gguf", seed=3), "acme-a", "1", "--role", "acme")
    assert repository.targets()["models/acme-a/1/a.gguf"]["role"] == "acme"

    # A list that is damaged or gone is told of.
    file = repository.metadata / "2.acme.json"
    good = file.read_bytes()
    for bad in (good.replace(b'"length"', b'"lengthy"', 1), None):
        file.unlink() if bad is None else file.write_bytes(bad)
        skerry("repo", "check", repository.path, status=65, says="acme")
        skerry("repo", "status", repository.path, status=65, says="acme")
        skerry("repo", "publish", repository.path, "--to", tmp_path / "www", status=65)
    file.write_bytes(good)
    answer("repo", "check", repository.path)


def test_members_that_others_wrote_stay(repository, weights):
    """An edit carries over what it does not know."""
    repository.key("acme")
    repository("delegate", "acme", "--paths", "models/acme-*/*/*", "--key", "acme")
    repository.add(weights)
    signed = json.loads((repository.metadata / "3.targets.json").read_bytes())["signed"]
    repository("renew")
    after = json.loads((repository.metadata / "4.targets.json").read_bytes())["signed"]
    assert {k: v for k, v in after.items() if k not in ("version", "expires")} == {
        k: v for k, v in signed.items() if k not in ("version", "expires")}


# Keys elsewhere


SIGNER = """
import os, sys, base64
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_private_key
key = load_pem_private_key(open(sys.argv[1], "rb").read(), None)
message = sys.stdin.buffer.read()
assert len(os.environ["SKERRY_KEY_ID"]) == 64 and os.environ["SKERRY_ROLE"] == "targets"
if os.environ["SKERRY_SCHEME"] == "ed25519":
    print(key.sign(message).hex())
else:
    print(base64.b64encode(key.sign(message, ec.ECDSA(hashes.SHA256()))).decode())
"""


@pytest.mark.parametrize("scheme", ["ed25519", "ecdsa"])
def test_a_command_signs(tmp_path, weights, scheme):
    made = Repository(tmp_path, "--scheme", scheme)
    token = tmp_path / "token.pem"
    (made.keys / "targets.pem").rename(token)
    script = tmp_path / "signer.py"
    script.write_text(SIGNER)
    command = f"{sys.executable} {script} {token}"
    before = made.files()
    made.add(weights, status=65, says="0 of the 1 keys")
    made.add(weights, "tiny", "1.0.0", "--signer", command)
    assert python_sees(made, tmp_path / "state", TINY)
    made("renew", "--signer", f"targets={command}")
    key_id = answer("repo", "status", made.path)["roles"]["targets"]["keys"][0]
    made("renew", "--signer", f"{key_id[:16]}={command}")
    before = made.files()
    for bad, words in (
        ("exit 3", "ended with status 3"), ("echo not a signature", "no signature in hexadecimal"), ("cat", "no signature"),
        ("true", "no signature"), ("echo 00ff", "not this key's"), ("head -c 100000 /dev/zero", "wrote more"),
        (f"{command} | tr 0-9a-f 1-9a-f0 | tr A-Y B-Z", ""), ("/nowhere/at/all", "ended with status 127"),
        ("kill -9 $$", "ended with status 137"),
    ):
        made("renew", "--signer", bad, status=65, says=words)
    made("renew", "--signer", "sleep 60", "--signer-timeout", "1s", status=65, says="within 1 seconds")
    made("renew", "--signer", "sleep 60 >/dev/null", "--signer-timeout", "1s", status=65, says="within 1 seconds")
    assert made.files() == before


# Status


def test_status_has_colours_on_a_terminal_alone(repository, weights):
    repository.add(weights)
    plain = skerry("repo", "status", repository.path).stdout
    assert "\x1b" not in plain and "targets" in plain and "good for" in plain

    def on_terminal(**environment):
        import pty
        leader, follower = pty.openpty()
        with subprocess.Popen([SKERRY, "repo", "status", str(repository.path)], stdout=follower, stderr=follower,
                              env={**os.environ, "TERM": "xterm", **environment}) as process:
            os.close(follower)
            shown = b""
            try:
                while piece := os.read(leader, 4096):
                    shown += piece
            except OSError:
                pass
            process.wait(20)
        os.close(leader)
        return shown.decode()

    assert "\x1b[32m" in on_terminal()
    assert "\x1b" not in on_terminal(NO_COLOR="1")
    assert "\x1b" not in on_terminal(TERM="dumb")


def test_status_says_what_to_do_next(repository):
    repository("renew", "--role", "timestamp", "--online-expires", "1h")
    status = answer("repo", "status", repository.path)
    assert any("--role timestamp" in step for step in status["next"])
    assert status["roles"]["timestamp"]["version"] == 2 and status["roles"]["snapshot"]["version"] == 1
