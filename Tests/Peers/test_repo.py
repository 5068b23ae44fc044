"""The publisher's verbs: what they write, what they refuse, and what a kill leaves behind."""

import json
import os
import pathlib
import pty
import random
import shutil
import socket
import stat
import subprocess
import time

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key
from tiny_gguf import gguf

# Beside it lies skerry-hub, unless SKERRY_HUB_BIN says otherwise.
SKERRY = os.environ.get("SKERRY_BIN") or str(pathlib.Path(__file__).resolve().parents[2] / ".build/debug/skerry")


HUB = os.environ.get("SKERRY_HUB_BIN") or str(pathlib.Path(SKERRY).with_name("skerry-hub"))


def skerry(*words, status=0, says=None):
    done = subprocess.run([SKERRY, *map(str, words)], capture_output=True, text=True, stdin=subprocess.DEVNULL)
    assert done.returncode == status, (words, done.returncode, done.stdout, done.stderr)
    if says:
        assert says in done.stdout + done.stderr
    return done


def answer(*words):
    return json.loads(skerry(*words, "--json").stdout)


class Repository:
    def __init__(self, home, *options):
        self.home, self.path, self.keys = home, home / "repository", home / "keys"
        skerry("repo", "init", self.path, "--keys", self.keys, *(options or ["--no-passphrase"]))

    def add(self, file, name="tiny", version="1.0.0", **expect):
        return skerry("repo", "add", self.path, file, "--keys", self.keys, "--name", name, "--version", version, **expect)

    def metadata(self):
        return {file.name: file.read_bytes() for file in (self.path / "metadata").iterdir()}

    def root(self):
        return self.path / "metadata/1.root.json"


@pytest.fixture
def repository(tmp_path):
    return Repository(tmp_path)


@pytest.fixture
def weights(tmp_path):
    return gguf(tmp_path / "tiny.gguf")


# init


def test_init_writes_keys_that_only_their_owner_reads(tmp_path):
    phrase = tmp_path / "phrase"
    phrase.write_text("only the publisher knows\n")
    made = Repository(tmp_path, "--passphrase-file", phrase)
    assert stat.S_IMODE(made.keys.stat().st_mode) == 0o700
    root = json.loads(made.root().read_bytes())["signed"]
    roles = ["root", "snapshot", "targets", "timestamp"]
    assert sorted(p.name for p in made.keys.iterdir()) == [f"{role}.{kind}" for role in roles for kind in ("pem", "pub")]
    for file in made.keys.glob("*.pub"):
        assert b"BEGIN PUBLIC KEY" in file.read_bytes()
    for file in made.keys.glob("*.pem"):
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        with pytest.raises(TypeError):
            load_pem_private_key(file.read_bytes(), None)
        key = load_pem_private_key(file.read_bytes(), b"only the publisher knows")
        assert isinstance(key, Ed25519PrivateKey)
        public = key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw).hex()
        listed = root["roles"][file.stem]["keyids"]
        assert [root["keys"][i]["keyval"]["public"] for i in listed] == [public]
    assert all(b"PRIVATE" not in p.read_bytes() for p in made.path.rglob("*") if p.is_file())


def test_init_leaves_the_online_roles_to_the_hub(tmp_path, weights):
    online = "ab" * 32
    made = Repository(tmp_path, "--no-passphrase", "--online-key", online)
    assert sorted(p.name for p in made.keys.glob("*.pem")) == ["root.pem", "targets.pem"]
    root = json.loads(made.root().read_bytes())["signed"]
    for role in ("snapshot", "timestamp"):
        assert [root["keys"][i]["keyval"]["public"] for i in root["roles"][role]["keyids"]] == [online]
    made.add(weights)
    assert sorted(made.metadata()) == ["1.root.json", "1.targets.json", "2.targets.json"]
    status = answer("repo", "status", made.path)
    assert "version" not in status["roles"]["timestamp"] and status["roles"]["targets"]["version"] == 2
    assert answer("repo", "check", made.path)["models"] == 1
    skerry("repo", "publish", made.path, "--to", tmp_path / "www", status=65, says="hub")


def test_init_refuses(tmp_path):
    made = Repository(tmp_path)
    new, other = tmp_path / "new", tmp_path / "other-keys"
    skerry("repo", "init", made.path, "--keys", other, "--no-passphrase", status=65, says="already")
    skerry("repo", "init", new, "--keys", made.keys, "--no-passphrase", status=65, says="never written over")
    skerry("repo", "init", new, "--keys", new / "keys", "--no-passphrase", status=64, says="published")
    skerry("repo", "init", new, "--keys", tmp_path / "x/../new/keys", "--no-passphrase", status=64, says="published")
    skerry("repo", "init", new, "--keys", other, "--online-key", "abcd", "--no-passphrase", status=64, says="64 hex")
    skerry("repo", "init", new, "--keys", other, status=64, says="--passphrase-file")
    skerry("repo", "init", new, "--no-passphrase", status=64, says="--keys")
    skerry("repo", "init", new, "--keys", other, "--no-passphrase", "--root-expires", "soon", status=64, says="--root-expires")
    assert not new.exists() and not other.exists()


def test_the_passphrase_is_asked_for_on_a_terminal(tmp_path, weights):
    def typed(words, *lines):
        process, terminal = pty.fork()
        if process == 0:
            os.execv(SKERRY, [SKERRY, *map(str, words)])
        shown = b""
        for line in lines:
            while not shown.rstrip().endswith(b":"):
                shown += os.read(terminal, 1024)
            time.sleep(0.1)
            os.write(terminal, line.encode() + b"\n")
            shown += b"\n"
        try:
            while piece := os.read(terminal, 1024):
                shown += piece
        except OSError:
            pass
        os.close(terminal)
        return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]), shown.decode()

    path, keys = tmp_path / "repository", tmp_path / "keys"
    init = ["repo", "init", path, "--keys", keys]
    assert typed(init, "secret words", "other words")[0] == 64
    assert not keys.exists()
    status, shown = typed(init, "secret words", "secret words")
    assert status == 0 and "secret" not in shown
    add = ["repo", "add", path, weights, "--keys", keys, "--name", "tiny", "--version", "1"]
    assert typed(add, "wrong")[0] == 65
    assert typed(add, "secret words")[0] == 0


# add


def test_add_signs_a_list_that_names_the_file(repository, weights):
    done = answer("repo", "add", repository.path, weights, "--keys", repository.keys, "--name", "tiny", "--version", "1.0.0",
                  "--license", "MIT")
    assert done["targetsVersion"] == 2 and done["model"]["path"] == "models/tiny/1.0.0/tiny.gguf"
    status = answer("repo", "status", repository.path)
    assert status["missing"] == [] and status["targets"][0]["custom"]["skerry"]["license"] == "MIT"
    checked = answer("repo", "check", repository.path)
    assert checked["models"] == 1 and checked["chunks"] > 2
    assert checked["versions"] == {"root": 1, "timestamp": 2, "snapshot": 2, "targets": 2}


def test_add_refuses_what_no_engine_should_see(repository, tmp_path, weights):
    before = repository.metadata()
    whole = weights.read_bytes()
    cases = {
        "text.gguf": (b"just text", "does not begin"),
        "empty.gguf": (b"", "does not begin"),
        "cut.gguf": (whole[:-1000], "cut short"),
        "header.gguf": (whole[:40], "cut short"),
        "absurd.gguf": (gguf(tmp_path / "lie.gguf", tensors=2**60).read_bytes(), "absurd"),
    }
    for name, (content, words) in cases.items():
        (tmp_path / name).write_bytes(content)
        repository.add(tmp_path / name, status=65, says=words)
    repository.add(tmp_path / "nowhere.gguf", status=66)
    repository.add(tmp_path, status=66, says="no regular file")
    shutil.copy(weights, tmp_path / "weights.bin")
    repository.add(tmp_path / "weights.bin", status=65, says=".gguf")
    repository.add(weights, name="Bad Name", status=64, says="name is")
    repository.add(weights, version="../1", status=64, says="version is")
    skerry("repo", "add", repository.path, weights, "--keys", repository.keys, status=64, says="--name")
    skerry("repo", "add", tmp_path / "none", weights, "--keys", repository.keys, "--name", "a", "--version", "1", status=66)
    assert repository.metadata() == before


def test_a_version_never_changes_its_meaning(repository, tmp_path, weights):
    repository.add(weights)
    before = repository.metadata()
    repository.add(gguf(tmp_path / "other.gguf", seed=2), status=65, says="choose another --version")
    gguf(weights, seed=3)
    repository.add(weights, status=65, says="choose another --version")
    assert repository.metadata() == before
    repository.add(weights, version="1.0.1")
    skerry("repo", "remove", repository.path, "tiny", "--version", "1.0.0", "--keys", repository.keys)
    assert [t["path"] for t in answer("repo", "status", repository.path)["targets"]] == ["models/tiny/1.0.1/tiny.gguf"]
    skerry("repo", "remove", repository.path, "tiny", "--version", "1.0.0", "--keys", repository.keys, status=66)


def test_foreign_missing_and_broken_keys_are_named(repository, tmp_path, weights):
    other = Repository(tmp_path / "b")
    shutil.copy(other.keys / "targets.pem", repository.keys / "targets.pem")
    before = repository.metadata()
    repository.add(weights, status=65, says="targets.pem is not the private half of targets.pub")
    (repository.keys / "targets.pub").unlink()
    repository.add(weights, status=65, says="0 of the 1 keys that targets needs are at hand")
    (repository.keys / "targets.pem").write_text("no key\n")
    repository.add(weights, status=65, says="targets.pem: this is no")
    (repository.keys / "targets.pem").unlink()
    repository.add(weights, status=65, says="0 of the 1 keys that targets needs are at hand")
    assert repository.metadata() == before


def test_a_killed_add_leaves_a_readable_repository(repository, tmp_path):
    big = gguf(tmp_path / "big.gguf", floats=6_000_000)
    words = [SKERRY, "repo", "add", str(repository.path), str(big), "--keys", str(repository.keys),
             "--name", "big", "--version", "1"]
    chance = random.Random(7)
    for _ in range(8):
        process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(chance.uniform(0.005, 0.4))
        process.kill()
        process.wait()
        answer("repo", "check", repository.path)
        answer("repo", "status", repository.path)
    repository.add(big, name="big", version="1")
    assert answer("repo", "check", repository.path)["models"] == 1


# status and check


def test_check_finds_every_kind_of_damage(repository, weights):
    repository.add(weights)
    chunk = sorted((repository.path / "chunks").rglob("*.cacnk"))[3]
    index = next((repository.path / "indexes").iterdir())
    for file, words in ((chunk, "is damaged"), (index, "is damaged")):
        good = file.read_bytes()
        file.write_bytes(good[:-20] + bytes([good[-20] ^ 1]) + good[-19:])
        skerry("repo", "check", repository.path, status=65, says=words)
        file.unlink()
        skerry("repo", "check", repository.path, status=65, says="is missing")
        skerry("repo", "status", repository.path, status=65, says="missing")
        skerry("repo", "publish", repository.path, "--to", repository.home / "www", status=65, says="not complete")
        file.write_bytes(good)
    for name in ("1.root.json", "timestamp.json", "2.snapshot.json", "2.targets.json"):
        file = repository.path / "metadata" / name
        good = file.read_bytes()
        file.write_bytes(good.replace(b'"version": ', b'"version": 1', 1))
        skerry("repo", "check", repository.path, status=65)
        file.write_bytes(good)
    assert answer("repo", "check", repository.path)["models"] == 1
    # Adding the same file again mends chunks.
    chunk.write_bytes(b"rot")
    repository.add(weights)
    assert answer("repo", "check", repository.path)["models"] == 1


def test_expired_metadata_is_shown_refused_and_renewed(repository, weights, tmp_path):
    repository.add(weights)
    skerry("repo", "renew", repository.path, "--keys", repository.keys, "--online-expires", "1s")
    time.sleep(1.2)
    skerry("repo", "check", repository.path, status=65, says="expired")
    assert answer("repo", "status", repository.path)["roles"]["timestamp"]["expired"]
    skerry("repo", "publish", repository.path, "--to", tmp_path / "www", status=65, says="repo renew")
    skerry("repo", "renew", repository.path, "--keys", repository.keys)
    answer("repo", "check", repository.path)


# publish


def test_publish_sends_what_is_missing_and_metadata_last(repository, weights, tmp_path):
    repository.add(weights)
    www = tmp_path / "www"
    first = answer("repo", "publish", repository.path, "--to", www)
    assert first["chunksSent"] == first["chunks"] > 0
    assert answer("repo", "publish", repository.path, "--to", www)["chunksSent"] == 0
    checked = answer("repo", "check", www, "--root", repository.root(), "--state", tmp_path / "state")
    assert checked["models"] == 1
    times = {file: file.stat().st_mtime_ns for file in www.rglob("*") if file.is_file()}
    assert times[www / "metadata/timestamp.json"] == max(times.values())
    assert not [file for file in times if file.suffix == ".tmp"]
    assert all(stat.S_IMODE(file.stat().st_mode) == 0o644 for file in times)


def test_publish_refuses_to_step_back_or_mix(repository, weights, tmp_path):
    www = tmp_path / "www"
    old = tmp_path / "old"
    shutil.copytree(repository.path, old)
    repository.add(weights)
    skerry("repo", "publish", repository.path, "--to", www)
    skerry("repo", "publish", old, "--to", www, status=65, says="rollback")
    other = Repository(tmp_path / "b")
    skerry("repo", "publish", other.path, "--to", www, status=65, says="another repository")
    skerry("repo", "publish", repository.path, status=64, says="--to")
    skerry("repo", "publish", repository.path, "--to", www, "--hub", "https://127.0.0.1:1", "--admin-token-file",
           weights, status=64)
    assert answer("repo", "check", www, "--root", repository.root())["models"] == 1


def test_a_killed_publish_leaves_the_old_or_the_new(repository, tmp_path):
    www = tmp_path / "www"
    skerry("repo", "publish", repository.path, "--to", www)
    repository.add(gguf(tmp_path / "big.gguf", floats=3_000_000), name="big", version="1")
    words = [SKERRY, "repo", "publish", str(repository.path), "--to", str(www)]
    chance = random.Random(7)
    seen = set()
    for _ in range(8):
        process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(chance.uniform(0.005, 0.2))
        process.kill()
        process.wait()
        seen.add(answer("repo", "check", www, "--root", repository.root())["models"])
    skerry("repo", "publish", repository.path, "--to", www)
    assert answer("repo", "check", www, "--root", repository.root())["models"] == 1
    assert seen <= {0, 1}


def test_a_hub_that_is_not_there_is_said_so(repository, weights, tmp_path):
    token = tmp_path / "token"
    token.write_text("ska_x\n")
    pin = "sha256//" + "A" * 43 + "="
    skerry("repo", "publish", repository.path, "--hub", "https://127.0.0.1:9", "--pin", pin, "--admin-token-file", token,
           status=69)
    skerry("repo", "publish", repository.path, "--hub", "http://127.0.0.1:9", "--pin", pin, "--admin-token-file", token,
           status=64, says="https://")
    skerry("repo", "publish", repository.path, "--hub", "https://127.0.0.1:9", "--pin", pin, "--admin-token-file",
           tmp_path / "none", status=66)


# A real hub


@pytest.fixture
def hub(tmp_path):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    state = tmp_path / "hub"
    made = subprocess.run([HUB, "init", "--state", state, "--url", f"https://127.0.0.1:{port}", "--listen",
                           f"127.0.0.1:{port}", "--json"], capture_output=True, text=True, check=True)
    facts = json.loads(made.stdout)
    log = (tmp_path / "hub.log").open("w")
    process = subprocess.Popen([HUB, "serve", "--state", state], stdout=log, stderr=log)
    try:
        for _ in range(200):
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                assert process.poll() is None, (tmp_path / "hub.log").read_text()
                time.sleep(0.05)
        facts["options"] = ["--hub", facts["url"], "--pin", facts["pin"], "--admin-token-file", facts["adminTokenFile"]]
        yield facts
    finally:
        process.terminate()
        process.wait(20)
        log.close()


def read(hub, repository, state):
    """The repository as a box would read it from the hub."""
    return answer("repo", "check", hub["url"] + "/repo", "--pin", hub["pin"], "--root", repository.root(), "--state", state)


def test_a_hub_serves_what_was_published(hub, tmp_path, weights):
    made = Repository(tmp_path, "--no-passphrase", "--online-key", hub["onlineKey"])
    made.add(weights)
    state = tmp_path / "state"
    first = answer("repo", "publish", made.path, *hub["options"])
    assert first["chunksSent"] == first["chunks"] > 0
    assert read(hub, made, state)["models"] == 1
    assert answer("repo", "publish", made.path, *hub["options"])["chunksSent"] == 0
    old = tmp_path / "old"
    shutil.copytree(made.path, old)

    # Killed at any point, the hub shows the old repository or the new one, and the next try finishes.
    made.add(gguf(tmp_path / "big.gguf", floats=4_000_000), name="big", version="1")
    words = [SKERRY, "repo", "publish", str(made.path), *hub["options"]]
    chance = random.Random(7)
    for _ in range(6):
        process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(chance.uniform(0.01, 0.4))
        process.kill()
        process.wait()
        assert read(hub, made, state)["models"] in (1, 2)
    skerry(*words[1:])
    assert read(hub, made, state)["models"] == 2

    # A newer root goes with it; an older copy, another repository and a stranger are refused.
    skerry("repo", "renew", made.path, "--keys", made.keys, "--root")
    skerry(*words[1:])
    assert read(hub, made, state)["versions"]["root"] == 2
    skerry("repo", "publish", old, *hub["options"], status=65, says="rollback")
    other = Repository(tmp_path / "b", "--no-passphrase", "--online-key", hub["onlineKey"])
    skerry("repo", "publish", other.path, *hub["options"], status=65)
    skerry("repo", "publish", made.path, "--hub", hub["url"], "--pin", "sha256//" + "A" * 43 + "=",
           "--admin-token-file", hub["adminTokenFile"], status=77, says="pin")
    stranger = tmp_path / "stranger"
    stranger.write_text("ska_stranger\n")
    skerry("repo", "publish", made.path, *hub["options"][:4], "--admin-token-file", stranger, status=77)
    assert read(hub, made, state)["models"] == 2


def test_a_hub_takes_a_repository_that_is_wholly_signed_elsewhere(hub, repository, weights, tmp_path):
    repository.add(weights)
    skerry("repo", "publish", repository.path, *hub["options"])
    assert read(hub, repository, tmp_path / "state")["versions"]["timestamp"] == 2


def test_a_hub_takes_delegated_lists_and_puts_them_in_its_snapshot(hub, tmp_path, weights):
    made = Repository(tmp_path, "--no-passphrase", "--online-key", hub["onlineKey"])
    keys, state = ["--keys", made.keys], tmp_path / "state"
    skerry("repo", "key", "create", "acme", *keys, "--no-passphrase")
    skerry("repo", "delegate", made.path, "acme", "--paths", "models/acme-*/*/*", "--key", "acme", *keys)
    made.add(weights)
    skerry("repo", "add", made.path, gguf(tmp_path / "a.gguf", seed=5), "--name", "acme-a", "--version", "1", "--role",
           "acme", *keys)
    publish = ["repo", "publish", made.path, *hub["options"]]
    skerry(*publish)
    first = read(hub, made, state)
    assert first["models"] == 2 and first["delegated"] == {"acme": 2}
    skerry(*publish)
    assert read(hub, made, state)["versions"]["timestamp"] == first["versions"]["timestamp"]

    # Acme's next list alone goes up; then its key rotates, and at last it goes.
    old = tmp_path / "old"
    shutil.copytree(made.path, old)
    skerry("repo", "renew", made.path, "--role", "acme", *keys)
    skerry(*publish)
    assert read(hub, made, state)["delegated"] == {"acme": 3}
    skerry("repo", "publish", old, *hub["options"], status=65, says="rollback")
    skerry("repo", "key", "create", "new", *keys, "--no-passphrase")
    skerry("repo", "rotate", made.path, "acme", "--new", "new", *keys)
    skerry(*publish)
    assert read(hub, made, state)["models"] == 2
    # A list that its delegator's keys did not sign, or whose model is not there, changes nothing.
    list_ = made.path / "metadata/5.acme.json"
    forged = json.loads((made.path / "metadata/4.acme.json").read_bytes())
    forged["signed"]["version"] = 5
    before = read(hub, made, state)
    import ssl
    import urllib.request
    token = open(hub["adminTokenFile"]).read().strip()
    context = ssl._create_unverified_context()

    def admin(method, path, body):
        request = urllib.request.Request(hub["url"] + "/admin/v1/repo/" + path, body, {"Authorization": f"Bearer {token}"},
                                         method=method)
        try:
            return urllib.request.urlopen(request, context=context).status, ""
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    assert admin("PUT", "metadata/5.acme.json", json.dumps(forged).encode())[0] == 204
    status, text = admin("POST", "commit", b"{}")
    assert status in (400, 409, 422) and "acme metadata is not signed" in text
    assert admin("DELETE", "staged", None)[0] == 204
    assert read(hub, made, state) == before and not list_.exists()
    skerry("repo", "delegate", made.path, "acme", "--revoke", *keys)
    skerry(*publish)
    after = read(hub, made, state)
    assert after["models"] == 1 and after["delegated"] == {}
