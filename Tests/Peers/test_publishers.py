"""Publishers' own signatures, required before a model gets into a repository."""

import hashlib
import json
import shutil

import pytest
from model_signing import signing, verifying
from signing_keys import DAY, NOW, Authority, Key
from test_repo import Repository, answer, skerry
from tiny_gguf import gguf


@pytest.fixture
def repository(tmp_path):
    return Repository(tmp_path)


@pytest.fixture
def weights(tmp_path):
    (tmp_path / "smollm").mkdir()
    (tmp_path / "smollm/config.json").write_text("{}")
    return gguf(tmp_path / "smollm/tiny.gguf")


@pytest.fixture
def key(tmp_path):
    return Key(tmp_path)


@pytest.fixture
def signature(weights, key, tmp_path):
    path = tmp_path / "tiny.sig"
    skerry("model", "sign", weights, "--signature", path, "--private-key", key.pem)
    return path


def publisher(repository, *words, **expect):
    verb, *rest = words
    return skerry("repo", "publisher", verb, repository.path, *rest, **expect)


def add(repository, weights, *options, status=0, says=None):
    before = tree(repository.path)
    done = skerry("repo", "add", repository.path, weights, "--keys", repository.keys, "--name", "tiny", "--version",
                  "1.0.0", *options, status=status, says=says)  # fmt: skip
    if status:
        assert tree(repository.path) == before, "something was written"
    return done


def tree(folder):
    return {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def custom(repository):
    newest = max((repository.path / "metadata").glob("*.targets.json"), key=lambda p: int(p.name.split(".")[0]))
    [target] = json.loads(newest.read_text())["signed"]["targets"].values()
    return target["custom"]["skerry"]


def test_a_required_signature_is_demanded_verified_and_recorded(repository, weights, key, signature, tmp_path):
    publisher(repository, "add", "Acme", "--public-key", key.public, says="need its signature")
    acme = ("--publisher", "Acme")
    add(repository, weights, *acme, status=65, says="only with its own signature")
    other = Key(tmp_path, "other")
    forged = tmp_path / "forged.sig"
    skerry("model", "sign", weights, "--signature", forged, "--private-key", other.pem)
    add(repository, weights, *acme, "--signature", forged, status=65, says="the signature is by the key")
    add(repository, weights, *acme, "--signature", tmp_path / "nowhere", status=66, says="there is no")
    add(repository, weights, *acme, "--signature", weights, status=65, says="no signature of a model")

    add(repository, weights, *acme, "--signature", signature)
    bundle = signature.read_bytes()
    digest = hashlib.sha256(bundle).hexdigest()
    record = custom(repository)["signature"]
    assert record["sha256"] == digest and record["length"] == len(bundle)
    assert record["signer"].startswith("Acme, key ") and "P-256" in record["signer"]
    kept = repository.path / f"signatures/{digest}.sigstore.json"
    assert kept.read_bytes() == bundle
    # Whoever has the file can verify the bundle again, with somebody else's program.
    verifying.Config().use_elliptic_key_verifier(public_key=key.public).verify(weights, kept)

    skerry("repo", "check", repository.path)
    kept.write_bytes(bundle[:-1])
    skerry("repo", "check", repository.path, status=65, says="is damaged")
    kept.unlink()
    skerry("repo", "check", repository.path, status=65, says="is missing")
    skerry("repo", "status", repository.path, status=65, says="its publisher's signature")


def test_other_bytes_are_not_vouched_for(repository, weights, key, signature, tmp_path):
    publisher(repository, "add", "Acme", "--public-key", key.public)
    changed = bytearray(weights.read_bytes())
    changed[-1] ^= 1
    weights.write_bytes(changed)
    add(repository, weights, "--publisher", "Acme", "--signature", signature, status=65, says="is NOT what Acme has signed")
    weights.write_bytes(bytes(changed) + b"\0")
    add(repository, weights, "--publisher", "Acme", "--signature", signature, status=65, says="is NOT what Acme has signed")


def test_another_spelling_is_no_way_round(repository, weights, key):
    publisher(repository, "add", "Acme Models", "--public-key", key.public)
    for name in "acme models", "AcmeModels", " Acme  Models":
        add(repository, weights, "--publisher", name, status=65, says="is known here as “Acme Models”")
    publisher(repository, "add", "ACME MODELS", "--public-key", key.public, status=65, says="known here as")


def test_who_is_not_required_needs_none(repository, weights, signature):
    add(repository, weights, "--publisher", "Somebody", "--signature", signature, status=66, says="nothing says what")
    add(repository, weights, "--signature", signature, status=66, says="is not said")
    add(repository, weights, "--publisher", "Somebody")
    assert "signature" not in custom(repository)


@pytest.mark.parametrize("shards", [None, 1000])
@pytest.mark.parametrize("signer", ["ours", "theirs"])
def test_a_signed_folder_vouches_for_the_weights_in_it(repository, weights, key, tmp_path, signer, shards):
    path = tmp_path / "folder.sig"
    if signer == "ours":
        options = ["--shard-size", shards] if shards else []
        skerry("model", "sign", weights.parent, "--signature", path, "--private-key", key.pem, *options)
    else:
        from model_signing import hashing

        config = hashing.Config()
        if shards:
            config.use_shard_serialization(shard_size=shards)
        signing.Config().use_elliptic_key_signer(private_key=key.pem).set_hashing_config(config).sign(weights.parent, path)
    publisher(repository, "add", "Acme", "--public-key", key.public)
    stranger = gguf(tmp_path / "other.gguf")
    add(repository, stranger, "--publisher", "Acme", "--signature", path, status=65, says="is NOT what")
    data = weights.read_bytes()
    weights.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    add(repository, weights, "--publisher", "Acme", "--signature", path, status=65, says="is NOT what")
    weights.write_bytes(data)
    add(repository, weights, "--publisher", "Acme", "--signature", path)


def test_a_certificate_with_a_name(repository, weights, tmp_path):
    authority = Authority(tmp_path)
    publisher(repository, "add", "Acme", "--certificate-chain", authority.root.cert, "--identity", "Acme Models")
    options = ["--publisher", "Acme", "--signature", tmp_path / "x.sig"]

    def sign(signer):
        signing.Config().use_certificate_signer(
            private_key=signer.pem, signing_certificate=signer.cert, certificate_chain=[authority.middle.cert]
        ).sign(weights, tmp_path / "x.sig")

    sign(authority.signer("Somebody Else"))
    add(repository, weights, *options, status=65, says="names “Somebody Else”")
    sign(authority.signer(end=NOW - DAY))
    add(repository, weights, *options, status=65, says="has expired")
    sign(authority.signer())
    add(repository, weights, *options)
    assert custom(repository)["signature"]["signer"].startswith("Acme, Acme Models (certificate ")


def test_a_model_that_is_only_staged_needs_its_signature_too(repository, weights, key, signature, tmp_path):
    publisher(repository, "add", "Acme", "--public-key", key.public)
    words = ["repo", "add", repository.path, weights, "--stage", "--name", "tiny", "--version", "1.0.0", "--publisher", "Acme"]
    before = tree(repository.path)
    skerry(*words, status=65, says="only with its own signature")
    assert tree(repository.path) == before
    skerry(*words, "--signature", signature)
    # Who signs the list sees whose signature the model bears.
    skerry("repo", "stage", repository.path, tmp_path / "next.json")
    skerry("repo", "sign", tmp_path / "next.json", "--keys", repository.keys, "--yes", says="signed by its publisher: Acme, key ")
    skerry("repo", "commit", repository.path, "--keys", repository.keys)
    assert custom(repository)["signature"]["signer"].startswith("Acme, key ")


def test_any_of_several_keys_is_enough(repository, weights, key, signature, tmp_path):
    old = Key(tmp_path, "old", "P-384")
    publisher(repository, "add", "Acme", "--public-key", old.public, "--public-key", key.public)
    add(repository, weights, "--publisher", "Acme", "--signature", signature)


def test_publishers_are_listed_and_removed(repository, weights, key, tmp_path):
    authority = Authority(tmp_path)
    assert answer("repo", "publisher", "list", repository.path) == {"publishers": []}
    publisher(repository, "add", "Acme", "--public-key", key.public)
    publisher(repository, "add", "Zeta", "--certificate-chain", authority.root.cert, "--identity", "Zeta Models")
    listed = answer("repo", "publisher", "list", repository.path)["publishers"]
    assert [p["name"] for p in listed] == ["Acme", "Zeta"]
    assert listed[0]["keys"][0]["curve"] == "P-256" and listed[1]["roots"][0]["name"] == "Acme Root"
    assert "Zeta Models" in publisher(repository, "list").stdout
    publisher(repository, "add", "Acme", "--public-key", key.public, status=65, says="known already")
    publisher(repository, "remove", "Nobody", status=66, says="not known")
    publisher(repository, "remove", "Acme")
    add(repository, weights, "--publisher", "Acme")
    publisher(repository, "add", "X", status=64, says="whose signature")
    publisher(repository, "add", "X", "--public-key", key.public, "--identity", "x", status=64, says="names nobody")
    publisher(repository, "add", "X", "--public-key", key.pem, status=65, says="no public key")
    skerry("repo", "publisher", "list", tmp_path / "nowhere", status=66, says="is no repository")


@pytest.mark.parametrize(
    "text,says",
    [
        ("{Acme: {}}", "neither a key nor a certificate"),
        ("{Acme: {publicKeys: ['x']}}", "no public key"),
        ("{Acme: {certificates: ['x']}}", "no X.509 certificate"),
        ("{Acme: {publicKey: 'x'}}", "unknown key"),
        ("{Acme: {publicKeys: []}, Acme: {}}", "stands twice"),
        ("{", ""),
    ],
)
def test_a_damaged_file_of_publishers_lets_nothing_through(repository, weights, text, says):
    (repository.path / "publishers.json5").write_text(text)
    add(repository, weights, "--publisher", "Acme", status=78, says=says)
    assert "publishers.json5" in add(repository, weights, "--publisher", "Other", status=78).stderr


def test_published_with_the_repository(repository, weights, key, signature, tmp_path):
    publisher(repository, "add", "Acme", "--public-key", key.public)
    add(repository, weights, "--publisher", "Acme", "--signature", signature)
    skerry("repo", "publish", repository.path, "--to", tmp_path / "www")
    name = f"signatures/{custom(repository)['signature']['sha256']}.sigstore.json"
    assert (tmp_path / "www" / name).read_bytes() == signature.read_bytes()
    assert not (tmp_path / "www/publishers.json5").exists()
    skerry("repo", "check", tmp_path / "www", "--root", repository.root())
    shutil.rmtree(repository.path / "signatures")
    skerry("repo", "publish", repository.path, "--to", tmp_path / "other", status=65, says="its publisher's signature")
