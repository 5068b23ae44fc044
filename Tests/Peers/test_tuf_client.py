"""Our TUF client beside python-tuf's over the same repositories: delegations of every kind, made at random, and what
theupdateframework/tuf-conformance looks at when a file is downloaded. Each must find what the other finds.

Run with SKERRY_BIN naming the skerry program (skerry-tuf-client lies beside it), or after `swift build`. TUF_GRAPHS says
how many random repositories are made (default 40).
"""

import functools
import hashlib
import http.server
import os
import pathlib
import random
import subprocess
import threading
import urllib.parse

import pytest
from securesystemslib.signer import CryptoSigner
from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import DelegatedRole, Delegations, MetaFile, SuccinctRoles, TargetFile, Targets
from tuf.ngclient import Updater, UpdaterConfig
from test_tuf_peer import FolderFetcher, Publisher

BIN = pathlib.Path(os.environ.get("SKERRY_BIN") or pathlib.Path(__file__).resolve().parents[2] / ".build/debug/skerry")
CLIENT = BIN.parent / "skerry-tuf-client"


class Log(http.server.SimpleHTTPRequestHandler):
    def do_GET(self):
        self.server.asked.append(urllib.parse.unquote(self.path))
        super().do_GET()

    def translate_path(self, path):
        # A role's file has the encoded name on the disk too.
        folder, _, name = path.rpartition("/")
        return f"{self.directory}/metadata/{name}" if folder == "/metadata" else super().translate_path(path)

    def log_message(self, *_):
        pass


class Site:
    """A python-tuf repository with delegations, and a web server for it."""

    def __init__(self, folder):
        self.publisher = Publisher(folder)
        self.roles = {}
        self.signers = {}
        self.folder = pathlib.Path(folder)
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Log, directory=folder))
        self.server.asked = []
        self.address = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()

    def role(self, name):
        if name not in self.roles:
            self.roles[name] = Targets(expires=self.publisher.targets.expires)
            self.signers[name] = [CryptoSigner.generate_ed25519()]
        return self.roles[name]

    def delegate(self, parent, name, paths=None, prefixes=None, terminating=False):
        """Parent "targets" or a role's name."""
        child = self.role(name)
        part = self.publisher.targets if parent == "targets" else self.role(parent)
        if part.delegations is None:
            part.delegations = Delegations({}, roles={})
        keys = [signer.public_key for signer in self.signers[name]]
        for key in keys:
            part.delegations.keys[key.keyid] = key
        part.delegations.roles[name] = DelegatedRole(
            name, [key.keyid for key in keys], 1, terminating, paths=paths, path_hash_prefixes=prefixes)
        return child

    def bins(self, bits, prefix):
        signer = CryptoSigner.generate_ed25519()
        succinct = SuccinctRoles([signer.public_key.keyid], 1, bits, prefix)
        self.publisher.targets.delegations = Delegations({signer.public_key.keyid: signer.public_key},
                                                         succinct_roles=succinct)
        for name in succinct.get_roles():
            self.roles[name] = Targets(expires=self.publisher.targets.expires)
            self.signers[name] = [signer]
        return succinct

    def put(self, part, path, content, hashes=("sha256",)):
        target = part.targets[path] = TargetFile.from_data(path, content, list(hashes))
        folder, _, name = path.rpartition("/")
        (self.folder / "targets" / folder).mkdir(parents=True, exist_ok=True)
        for digest in target.hashes.values():
            (self.folder / "targets" / folder / f"{digest}.{name}").write_bytes(content)
        return target

    def publish(self, leave_out=(), signed_by=None):
        for name, part in self.roles.items():
            data = self.publisher.signed(part, (signed_by or {}).get(name, self.signers[name]))
            file = urllib.parse.quote(name, safe="")
            (self.publisher.metadata / f"{part.version}.{file}.json").write_bytes(data)
            if name not in leave_out:
                self.publisher.snapshot.meta[f"{name}.json"] = MetaFile(part.version)
        self.publisher.next()


@pytest.fixture
def site(tmp_path):
    made = Site(tmp_path / "site")
    yield made
    made.close()


class Ours:
    def __init__(self, site, state):
        self.site, self.state = site, pathlib.Path(state)
        assert self.run("init", site.publisher.first_root) == 0

    def run(self, *words):
        # An answer of 0 or 1 is the protocol's; anything else (a trap is -4 or -5) is a defect.
        done = subprocess.run(
            [CLIENT, "--metadata-dir", self.state / "metadata", "--metadata-url", self.site.address + "/metadata", *words],
            capture_output=True, text=True, timeout=60)
        assert done.returncode in (0, 1), done.stderr
        self.said = done.stderr
        return done.returncode

    def download(self, path):
        (self.state / "targets").mkdir(exist_ok=True)
        return self.run("download", "--target-name", path, "--target-dir", self.state / "targets",
                        "--target-base-url", self.site.address + "/targets")

    def file(self, path):
        found = self.state / "targets" / urllib.parse.quote(path, safe="")
        return found.read_bytes() if found.exists() else None


def theirs(site, state, path):
    """The digest that python-tuf finds for a path; None for none; "refused" where it refuses."""
    pathlib.Path(state).mkdir(exist_ok=True)
    config = UpdaterConfig(max_delegations=32)
    updater = Updater(str(state), "http://repository.invalid/", fetcher=FolderFetcher(site.publisher.metadata),
                      bootstrap=site.publisher.first_root.read_bytes(), config=config)
    try:
        found = updater.get_targetinfo(path)
    except RepositoryError:
        return "refused"
    return found and found.hashes["sha256"]


def ours(client, path):
    status = client.download(path)
    content = client.file(path)
    if status == 0:
        return hashlib.sha256(content).hexdigest()
    assert content is None
    return None if "names no target" in client.said else "refused"


NAMES = ["a", "b", "c", "d", "e", "f", "g/h", "?", "..", "ü n", "A", "1.2"]
PATTERNS = ["*", "*.txt", "a/*", "a/*/c.txt", "?.txt", "b/?", "*/*", "*/*/*", "a*", "none", "a/b/c.txt"]
PATHS = ["x.txt", "a/1", "a/b/c.txt", "b/2", "abc", "e\u0301/1", "a/b/c.txt/d"]


@pytest.mark.parametrize("seed", range(int(os.environ.get("TUF_GRAPHS", 40))))
def test_both_find_the_same_in_a_random_graph(site, tmp_path, seed):
    dice = random.Random(seed)
    names = dice.sample(NAMES, dice.randint(1, len(NAMES)))
    parents = ["targets"] + names
    for _ in range(dice.randint(1, 18)):
        parent, child = dice.choice(parents), dice.choice(names)
        if dice.random() < 0.75:
            cover = {"paths": dice.sample(PATTERNS, dice.randint(1, 3))}
        else:
            cover = {"prefixes": [dice.choice("0123456789abcdef") for _ in range(dice.randint(1, 8))]}
        site.delegate(parent, child, terminating=dice.random() < 0.2, **cover)
    known = sorted(site.roles)
    for number, path in enumerate(PATHS):
        for name in dice.sample(known, min(len(known), dice.randint(0, 3))):
            # Each role has another content, so that the digest tells whose word was taken.
            site.put(site.role(name), path, f"{name} {number}".encode())
    # Sometimes the snapshot forgets a role, or a stranger signs one.
    forgotten = [dice.choice(known)] if dice.random() < 0.15 else []
    stranger = {dice.choice(known): [CryptoSigner.generate_ed25519()]} if dice.random() < 0.15 else {}
    site.publish(leave_out=forgotten, signed_by=stranger)
    for number, path in enumerate(PATHS):
        # A new client each time: what one search cached must not answer for the next.
        client = Ours(site, tmp_path / f"ours{number}")
        mine = ours(client, path)
        assert mine == theirs(site, tmp_path / f"theirs{number}", path), f"seed {seed}, {path}: {client.said}"


@pytest.mark.parametrize("bits", [1, 3, 8])
def test_succinct_bins(site, tmp_path, bits):
    succinct = site.bins(bits, "bin")
    paths = [f"files/{number}" for number in range(12)]
    for path in paths:
        site.put(site.roles[succinct.get_role_for_target(path)], path, path.encode())
    site.publish()
    client = Ours(site, tmp_path / "ours")
    for path in paths:
        assert client.download(path) == 0 and client.file(path) == path.encode(), client.said
    assert client.download("files/none") == 1


def test_a_kept_role_is_verified_against_who_delegates_to_it_now(site, tmp_path):
    site.delegate("targets", "a", paths=["*"])
    site.put(site.role("a"), "x.txt", b"old")
    site.publish()
    client = Ours(site, tmp_path / "ours")
    assert client.download("x.txt") == 0
    # Another key from now on, and the old file stays where it is: the kept copy must not count.
    site.signers["a"], old = [CryptoSigner.generate_ed25519()], site.signers["a"]
    site.publisher.targets.delegations = None
    site.delegate("targets", "a", paths=["*"])
    site.publish(signed_by={"a": old})
    (tmp_path / "ours/targets/x.txt").unlink()
    assert client.download("x.txt") == 1 and client.file("x.txt") is None


@pytest.mark.parametrize("hashes", [["sha256"], ["sha512"], ["sha256", "sha512"]])
def test_hash_algorithms(site, tmp_path, hashes):
    site.put(site.publisher.targets, "a/x.txt", b"content", hashes)
    site.publish()
    client = Ours(site, tmp_path / "ours")
    assert client.download("a/x.txt") == 0 and client.file("a/x.txt") == b"content"
    asked = len(site.server.asked)
    assert client.download("a/x.txt") == 0
    assert not [path for path in site.server.asked[asked:] if path.startswith("/targets")], "fetched again"


def test_an_unknown_hash_algorithm_vouches_for_nothing(site, tmp_path):
    target = site.put(site.publisher.targets, "x.txt", b"content", ["sha512"])
    target.hashes["unknown"] = target.hashes.pop("sha512")
    site.publish()
    client = Ours(site, tmp_path / "ours")
    assert client.download("x.txt") == 1 and client.file("x.txt") is None


def test_a_substituted_file_is_refused_and_the_good_one_stays(site, tmp_path):
    target = site.put(site.publisher.targets, "x.txt", b"content")
    site.publish()
    client = Ours(site, tmp_path / "ours")
    assert client.download("x.txt") == 0
    served = site.folder / f"targets/{target.hashes['sha256']}.x.txt"
    for false in (b"CONTENT", b"contentmore", b"cont", b""):
        served.write_bytes(false)
        assert client.download("x.txt") == 0 and client.file("x.txt") == b"content"
        (tmp_path / "ours/targets/x.txt").unlink()
        assert client.download("x.txt") == 1 and client.file("x.txt") is None
        served.write_bytes(b"content")
        assert client.download("x.txt") == 0


def test_metadata_is_kept_byte_for_byte(site, tmp_path):
    site.delegate("targets", "a", paths=["*"])
    site.role("a").unrecognized_fields["x-note"] = {"ü": [1, None, True]}
    site.put(site.role("a"), "x.txt", b"content")
    site.publish()
    client = Ours(site, tmp_path / "ours")
    assert client.download("x.txt") == 0
    folder = site.publisher.metadata
    for name, served in [("root", "1.root"), ("timestamp", "timestamp"), ("snapshot", "2.snapshot"),
                         ("targets", "2.targets"), ("a", "1.a")]:
        assert (client.state / f"metadata/{name}.json").read_bytes() == (folder / f"{served}.json").read_bytes()


@pytest.mark.parametrize("file", ["timestamp.json", "2.snapshot.json", "2.targets.json", "1.a.json"])
def test_a_missing_file_is_refused(site, tmp_path, file):
    site.delegate("targets", "a", paths=["*"])
    site.put(site.role("a"), "x.txt", b"content")
    site.publish()
    (site.publisher.metadata / file).unlink()
    assert Ours(site, tmp_path / "ours").download("x.txt") == 1


def test_thresholds_count_distinct_keys(site, tmp_path):
    signers = [CryptoSigner.generate_ed25519(), CryptoSigner.generate_ecdsa(), CryptoSigner.generate_rsa()]
    site.role("a")
    site.signers["a"] = signers
    site.delegate("targets", "a", paths=["*"])
    site.publisher.targets.delegations.roles["a"].threshold = 3
    site.put(site.role("a"), "x.txt", b"content")
    for by, status in [(signers, 0), (signers[:2], 1), (signers[:2] + [signers[0]], 1)]:
        site.role("a").version += 1
        site.publish(signed_by={"a": by})
        client = Ours(site, tmp_path / f"ours{len(site.server.asked)}")
        assert client.download("x.txt") == status, client.said


def test_a_bound_on_delegations(site, tmp_path):
    chain = [f"r{number}" for number in range(40)]
    for parent, child in zip(["targets"] + chain, chain):
        site.delegate(parent, child, paths=["*"])
    site.put(site.role("r20"), "near.txt", b"near")
    site.put(site.role("r39"), "far.txt", b"far")
    site.publish()
    client = Ours(site, tmp_path / "ours")
    assert client.download("near.txt") == 0 and client.file("near.txt") == b"near"
    assert client.download("far.txt") == 1
    assert len([path for path in site.server.asked if ".r" in path and ".root" not in path]) <= 64
