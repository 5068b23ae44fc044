"""Publishers' signatures against the reference implementation of OpenSSF Model Signing: each verifies what the other
signs, and both refuse the same attacks."""

import base64
import json
import os
import pathlib
import subprocess
import sys

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID
from model_signing import hashing, signing, verifying
from signing_keys import DAY, NOW, Authority, Key

SKERRY = os.environ.get("SKERRY_BIN") or str(pathlib.Path(__file__).resolve().parents[2] / ".build/debug/skerry")


def skerry(*words, status=0, says=None, cwd=None):
    done = subprocess.run(
        [SKERRY, *map(str, words)], capture_output=True, text=True, stdin=subprocess.DEVNULL, cwd=cwd,
        env={"PATH": os.environ["PATH"], "SKERRY_SOCKET": "/nonexistent/skerry.sock"},
    )  # fmt: skip
    assert done.returncode == status, (words, done.returncode, done.stdout, done.stderr)
    if says:
        assert says in done.stdout + done.stderr, (done.stdout, done.stderr)
    return done


@pytest.fixture
def model(tmp_path):
    folder = tmp_path / "smollm"
    for path, content in {
        "weights.bin": os.urandom(300_000), "config.json": b"{}", "empty": b"", "a-b": b"1", "a/b": b"2", "a.txt": b"3",
        "deep/er/模型 (1).bin": b"unicode", "with:colon": b"colon", ".hidden/x": b"h", ".gitignore": b"*", ".git/HEAD": b"r",
        "sub/.git/x": b"counts",
    }.items():  # fmt: skip
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content)
    return folder


@pytest.fixture
def signature(tmp_path):
    return tmp_path / "model.sig"


@pytest.fixture
def key(tmp_path):
    return Key(tmp_path)


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("authority"))


def sign(model, signature, key, *options, **expect):
    words = ["model", "sign", model, "--signature", signature, "--private-key", key.pem, *options]
    return skerry(*words, **expect)


def certified(signer, *chain):
    return ["--signing-certificate", signer.cert] + [w for c in chain for w in ("--certificate-chain", c.cert)]


def verify(model, signature, key=None, *options, roots=(), **expect):
    trust = ["--public-key", key.public] if key else [w for r in roots for w in ("--certificate-chain", r.cert)]
    return skerry("model", "verify", model, "--signature", signature, *trust, *options, **expect)


def refused(*words, says, **options):
    return verify(*words, status=65, says=says, **options)


def peer_verify(model, signature, key=None, roots=(), config=None):
    verifier = verifying.Config()
    if key:
        verifier.use_elliptic_key_verifier(public_key=key.public)
    else:
        verifier.use_certificate_verifier(certificate_chain=[r.cert for r in roots])
    if config:
        verifier.set_hashing_config(config)
    verifier.verify(model, signature)


def statement(signature):
    return json.loads(base64.b64decode(json.loads(signature.read_text())["dsseEnvelope"]["payload"]))


# What we sign, it verifies.


@pytest.mark.parametrize("curve", ["P-256", "P-384", "P-521"])
@pytest.mark.parametrize("shape", ["folder", "file", "shards"])
def test_the_peer_verifies_what_we_sign_with_a_key(model, signature, tmp_path, curve, shape):
    key = Key(tmp_path, curve=curve)
    path = model / "weights.bin" if shape == "file" else model
    if shape == "shards":
        # The reference's reader of shard names splits at every colon.
        (model / "with:colon").unlink()
    sign(path, signature, key, *(["--shard-size", "100000"] if shape == "shards" else []))
    peer_verify(path, signature, key)
    verify(path, signature, key)
    if shape == "file":
        path.write_bytes(b"other")
    else:
        (model / "weights.bin").write_bytes(os.urandom(300_000))
    with pytest.raises(ValueError, match="mismatch"):
        peer_verify(path, signature, key)
    refused(path, signature, key, says="altered")


@pytest.mark.parametrize("curve", ["P-256", "P-384", "P-521"])
@pytest.mark.parametrize("shape", ["folder", "file"])
def test_the_peer_verifies_what_we_sign_with_a_certificate(model, signature, authority, curve, shape):
    signer = authority.signer(curve=curve)
    path = model / "weights.bin" if shape == "file" else model
    sign(path, signature, signer, *certified(signer, authority.middle))
    peer_verify(path, signature, roots=[authority.root])
    verify(path, signature, roots=[authority.root])


def test_the_peers_command_verifies_what_we_sign(model, signature, key):
    sign(model, signature, key, "--ignore-paths", "config.json")
    done = subprocess.run(
        [sys.executable, "-m", "model_signing", "verify", "key", str(model), "--signature", str(signature),
         "--public_key", str(key.public)], capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


# What it signs, we verify.


@pytest.mark.parametrize("curve", ["P-256", "P-384", "P-521"])
@pytest.mark.parametrize("shape", ["folder", "file", "shards"])
def test_we_verify_what_the_peer_signs_with_a_key(model, signature, tmp_path, curve, shape):
    key = Key(tmp_path, curve=curve)
    path = model / "weights.bin" if shape == "file" else model
    config = hashing.Config()
    if shape == "shards":
        config.use_shard_serialization(shard_size=100_000)
    signing.Config().use_elliptic_key_signer(private_key=key.pem).set_hashing_config(config).sign(path, signature)
    done = verify(path, signature, key, "--json")
    assert json.loads(done.stdout)["signer"]["curve"] == curve
    with open(model / "weights.bin", "r+b") as file:
        file.seek(250_000)
        file.write(b"\0" * 8)
    refused(path, signature, key, says="altered")


@pytest.mark.parametrize("curve", ["P-256", "P-384", "P-521"])
@pytest.mark.parametrize("shape", ["folder", "file"])
def test_we_verify_what_the_peer_signs_with_a_certificate(model, signature, authority, curve, shape):
    signer = authority.signer(curve=curve)
    path = model / "weights.bin" if shape == "file" else model
    signing.Config().use_certificate_signer(
        private_key=signer.pem, signing_certificate=signer.cert, certificate_chain=[authority.middle.cert]
    ).sign(path, signature)
    done = verify(path, signature, None, "--json", roots=[authority.root])
    assert json.loads(done.stdout)["signer"]["name"] == "Acme Models"


def test_both_leave_out_the_same_files(model, key, tmp_path):
    ours, theirs = tmp_path / "ours.sig", tmp_path / "theirs.sig"
    sign(model, ours, key, "--ignore-paths", "config.json", "--ignore-paths", model / "deep")
    config = hashing.Config().set_ignored_paths(paths=["config.json", "deep"], ignore_git_paths=True)
    signing.Config().use_elliptic_key_signer(private_key=key.pem).set_hashing_config(config).sign(model, theirs)
    names = [sorted(r["name"] for r in statement(s)["predicate"]["resources"]) for s in (ours, theirs)]
    assert names[0] == names[1] == sorted(["weights.bin", "empty", "a-b", "a/b", "a.txt", "with:colon", ".hidden/x", "sub/.git/x"])
    (model / "deep/new").write_bytes(b"nobody minds")
    for signature in ours, theirs:
        verify(model, signature, key)
        peer_verify(model, signature, key)
    (model / "sub/new").write_bytes(b"unsigned")
    for signature in ours, theirs:
        refused(model, signature, key, says="not signed: sub/new")


def test_gits_files_are_signed_when_asked_for(model, signature, key):
    sign(model, signature, key, "--no-ignore-git-paths")
    config = hashing.Config().set_ignored_paths(paths=[], ignore_git_paths=False)
    peer_verify(model, signature, key, config=config)
    (model / ".git/HEAD").write_bytes(b"moved")
    refused(model, signature, key, says="altered: .git/HEAD")


def test_our_resources_stand_in_the_order_of_their_code_points(model, signature, key):
    sign(model, signature, key)
    names = [r["name"] for r in statement(signature)["predicate"]["resources"]]
    assert names == sorted(names) and "a.txt" in names and len(names) == 10


def test_a_signature_inside_the_model_is_no_part_of_it(model, key):
    sign(model, model / "model.sig", key)
    assert "model.sig" in statement(model / "model.sig")["predicate"]["serialization"]["ignore_paths"]
    verify(model, model / "model.sig", key)
    peer_verify(model, model / "model.sig", key)
    sign(".", "model.sig", key, cwd=model)
    assert statement(model / "model.sig")["subject"][0]["name"] == "smollm"
    verify(".", "model.sig", key, cwd=model)


def test_an_encrypted_key_signs(model, signature, tmp_path):
    key = Key(tmp_path, passphrase=b"open sesame")
    (tmp_path / "phrase").write_text("open sesame\n")
    sign(model, signature, key, status=64, says="passphrase")
    sign(model, signature, key, "--passphrase-file", tmp_path / "phrase")
    verify(model, signature, key)
    (tmp_path / "phrase").write_text("wrong\n")
    sign(model, signature, key, "--passphrase-file", tmp_path / "phrase", status=65, says="passphrase is wrong")


# Links.


def test_a_link_is_refused_unless_it_is_asked_for(model, signature, key, tmp_path):
    (model / "link").symlink_to("config.json")
    sign(model, signature, key, status=65, says="is a symbolic link")
    assert not signature.exists()
    sign(model, signature, key, "--allow-symlinks")
    verify(model, signature, key)
    peer_verify(model, signature, key, config=hashing.Config().set_allow_symlinks(True))
    (tmp_path / "elsewhere").write_bytes(b"{}")
    (model / "link").unlink()
    (model / "link").symlink_to(tmp_path / "elsewhere")
    done = sign(model, signature, key, "--allow-symlinks")
    assert "leads out of the model" in done.stderr
    (model / "around").symlink_to(".")
    sign(model, signature, key, "--allow-symlinks", status=65, says="link to a folder")


@pytest.mark.parametrize("target", ["config.json", "/dev/null", "nowhere", "."])
def test_a_link_added_to_a_signed_model_is_refused(model, signature, key, target):
    sign(model, signature, key)
    (model / "link").symlink_to(target)
    refused(model, signature, key, says="is a symbolic link")


def test_a_link_in_place_of_a_signed_file_is_refused(model, signature, key, tmp_path):
    sign(model, signature, key)
    (model / "config.json").rename(tmp_path / "config.json")
    (model / "config.json").symlink_to(tmp_path / "config.json")
    refused(model, signature, key, says="is a symbolic link")
    with pytest.raises(ValueError):
        peer_verify(model, signature, key)


def test_a_pipe_is_refused_at_once(model, signature, key):
    sign(model, signature, key)
    os.mkfifo(model / "pipe")
    refused(model, signature, key, says="neither a file nor a folder")
    sign(model, signature, key, status=65, says="neither a file nor a folder")


# Files that are not as they were.


def test_changed_models_are_refused(model, signature, key):
    sign(model, signature, key)
    weights = (model / "weights.bin").read_bytes()
    (model / "extra").write_bytes(b"x")
    refused(model, signature, key, says="not signed: extra")
    verify(model, signature, key, "--ignore-unsigned-files")
    verify(model, signature, key, "--ignore-paths", "extra")
    (model / "extra").unlink()
    (model / "weights.bin").unlink()
    refused(model, signature, key, says="missing: weights.bin")
    refused(model, signature, key, "--ignore-unsigned-files", says="missing: weights.bin")
    # What was signed is looked at, whatever the reader would leave out.
    refused(model, signature, key, "--ignore-paths", "weights.bin", says="missing: weights.bin")
    (model / "weights.bin").write_bytes(weights[:-1])
    refused(model, signature, key, says="altered: weights.bin")
    (model / "weights.bin").write_bytes(weights)
    (model / "config.json").rename(model / "Config.json")
    done = refused(model, signature, key, "--json", says="missing: config.json")
    assert json.loads(done.stdout)["mismatches"] == ["missing: config.json", "not signed: Config.json"]


def test_nothing_to_sign_is_refused(tmp_path, signature, key):
    (tmp_path / "m").mkdir()
    sign(tmp_path / "m", signature, key, status=65, says="no file to sign")
    sign(tmp_path / "nowhere", signature, key, status=66, says="does not exist")
    assert not signature.exists()


def test_a_signature_never_replaces_another_kind_of_file(model, key):
    before = (model / "weights.bin").read_bytes()
    sign(model, model / "weights.bin", key, status=65, says="is no signature")
    assert (model / "weights.bin").read_bytes() == before


def test_names_that_cannot_be_written_down_are_refused(model, signature, key):
    with open(os.fsencode(model) + b"/\xff\xfe", "wb"):
        pass
    sign(model, signature, key, status=65, says="no UTF-8")


def test_keys_of_other_kinds_are_refused(model, signature, key, tmp_path):
    for curve in ec.SECP256K1(), ec.SECP224R1(), ec.BrainpoolP256R1():
        other = Key(tmp_path, f"other-{curve.name}", curve)
        sign(model, signature, other, status=65, says="another kind")
        sign(model, signature, key)
        verify(model, signature, other, status=65, says="another kind")
    verify(model, signature, Key(tmp_path, "stranger"), status=65, says="the signature is by the key")


# Bundles that are not what they seem.


class Forger:
    """Signs any statement and writes any bundle."""

    def __init__(self, key, signature):
        self.key, self.signature = key, signature
        self.bundle = json.loads(signature.read_text())
        self.statement = statement(signature)

    def write(self, payload=None, payload_type=None, change=None):
        envelope = self.bundle["dsseEnvelope"]
        raw = payload if payload is not None else json.dumps(self.statement).encode()
        kind = payload_type or envelope["payloadType"]
        message = b"DSSEv1 %d %s %d %s" % (len(kind), kind.encode(), len(raw), raw)
        envelope["payload"], envelope["payloadType"] = base64.b64encode(raw).decode(), kind
        signed = self.key.private.sign(message, ec.ECDSA(hashes.SHA256()))
        envelope["signatures"] = [{"sig": base64.b64encode(signed).decode(), "keyid": ""}]
        if change:
            change(self.bundle)
        self.signature.write_text(json.dumps(self.bundle))


@pytest.fixture
def forger(model, signature, key):
    sign(model, signature, key)
    return Forger(key, signature)


def test_the_forger_forges(model, signature, key, forger):
    forger.write()
    verify(model, signature, key)
    peer_verify(model, signature, key)


def test_statements_of_other_kinds_are_refused(model, signature, key, forger):
    for member, value, says in [
        ("predicateType", "https://slsa.dev/provenance/v1", "predicateType"),
        ("predicateType", "https://model_signing/Digests/v0.1", "predicateType"),
        ("_type", "https://in-toto.io/Statement/v0.1", "_type"),
        ("subject", [], "0 subjects"),
        ("subject", forger.statement["subject"] * 2, "2 subjects"),
        ("predicate", None, "wrong type"),
    ]:
        before = forger.statement[member]
        forger.statement[member] = value
        forger.write()
        refused(model, signature, key, says=says)
        forger.statement[member] = before
    for member in list(forger.statement):
        before = forger.statement.pop(member)
        forger.write()
        refused(model, signature, key, says=f"“{member}”")
        forger.statement[member] = before
    forger.write(payload_type="application/json")
    refused(model, signature, key, says="application/json")


@pytest.mark.parametrize(
    "name", ["../escape", "/etc/passwd", "a/../../b", "./a.txt", "a//b", "a/b/", "", ".", "a/./b", "a\0b"]
)
def test_paths_that_leave_the_model_are_refused(model, signature, key, forger, name):
    forger.statement["predicate"]["resources"][0]["name"] = name
    forger.write()
    refused(model, signature, key, says="what was signed is no statement about a model")


@pytest.mark.parametrize(
    "change,says",
    [
        (lambda p: p["serialization"].update(hash_type="md5"), "md5"),
        (lambda p: p["serialization"].update(hash_type="blake2b"), "blake2b"),
        (lambda p: p["serialization"].update(method="tensors"), "tensors"),
        (lambda p: p["serialization"].update(method="shards"), "shard_size"),
        (lambda p: p["serialization"].update(method="shards", shard_size=0), "out of range"),
        (lambda p: p["serialization"].update(shard_size=5), "shard_size"),
        (lambda p: p["serialization"].update(allow_symlinks="yes"), "allow_symlinks"),
        (lambda p: p["serialization"].update(extra=1), "extra"),
        (lambda p: p["serialization"].pop("allow_symlinks"), "allow_symlinks"),
        (lambda p: p["resources"].clear(), "names no file"),
        (lambda p: p["resources"].append(p["resources"][0]), "twice"),
        (lambda p: p["resources"][0].update(algorithm="sha1"), "sha1"),
        (lambda p: p["resources"][0].update(digest="00"), "SHA-256"),
        (lambda p: p["resources"][0].update(digest="A" * 64), "lower-case"),
        (lambda p: p["resources"][0].update(digest="0" * 64), "root digest"),
        (lambda p: p["resources"].pop(), "root digest"),
        (lambda p: p["resources"][0].pop("digest"), "digest"),
    ],
)
def test_signed_nonsense_is_refused(model, signature, key, forger, change, says):
    change(forger.statement["predicate"])
    forger.write()
    refused(model, signature, key, says=says)


def test_shards_must_cover_their_file(model, signature, key):
    sign(model, signature, key, "--shard-size", "100000")
    forger = Forger(key, signature)
    resources = forger.statement["predicate"]["resources"]
    piece = next(r for r in resources if r["name"] == "weights.bin:100000:200000")
    for name in ["weights.bin:100001:200000", "weights.bin:0:100000", "weights.bin:100000:99999", "weights.bin",
                 "weights.bin:+1:2", "weights.bin:300000:400000"]:  # fmt: skip
        piece["name"] = name
        forger.write()
        refused(model, signature, key, says="no statement about a model")
    piece["name"] = "weights.bin:100000:200000"
    forger.write()
    verify(model, signature, key)
    with open(model / "weights.bin", "ab") as file:
        file.write(b"tail")
    refused(model, signature, key, says="300004 bytes, and 300000 were signed")


@pytest.mark.parametrize(
    "change,says",
    [
        (lambda b: b["dsseEnvelope"]["signatures"].append(b["dsseEnvelope"]["signatures"][0]), "2 signatures"),
        (lambda b: b["dsseEnvelope"]["signatures"].clear(), "0 signatures"),
        (lambda b: b["dsseEnvelope"]["signatures"][0].update(sig="AAAA"), "does not match"),
        (lambda b: b["dsseEnvelope"]["signatures"][0].update(sig=""), "base64"),
        (lambda b: b["dsseEnvelope"]["signatures"][0].update(keyid=7), "wrong type"),
        (lambda b: b["dsseEnvelope"].update(payload="!!"), "base64"),
        (lambda b: b["dsseEnvelope"].update(payload=base64.b64encode(b"{}").decode()), "does not match"),
        (lambda b: b["verificationMaterial"]["publicKey"].update(hint="0" * 64), "by the key 0000"),
        (lambda b: b["verificationMaterial"].pop("publicKey"), "0 kinds of key"),
        (lambda b: b["verificationMaterial"].update(x509CertificateChain={"certificates": []}), "2 kinds of key"),
        (lambda b: b.update(verificationMaterial={"certificate": {"rawBytes": "AAAA"}}), "transparency log"),
        (lambda b: b.update(messageSignature={}), "unknown key"),
        (lambda b: b.pop("dsseEnvelope"), "a part is missing"),
        (lambda b: b.update(mediaType="application/vnd.dev.sigstore.bundle+json;version=0.1"), "media type"),
    ],
)
def test_malformed_bundles_are_refused(model, signature, key, forger, change, says):
    forger.write(change=change)
    refused(model, signature, key, says=says)


def test_bytes_that_are_no_bundle_are_refused(model, signature, key, forger):
    whole = signature.read_bytes()
    for cut in (0, 1, 100, len(whole) // 2, len(whole) - 1):
        signature.write_bytes(whole[:cut])
        refused(model, signature, key, says="no signature of a model")
    signature.write_bytes(whole.replace(b'"mediaType"', b'"mediaType": "application/x", "mediaType"'))
    refused(model, signature, key, says="stands twice")
    signature.write_bytes(b"[" * 100_000)
    refused(model, signature, key, says="nested deeper")
    forger.write(payload=json.dumps(forger.statement).replace('"_type"', '"_type": "x", "_type"').encode())
    refused(model, signature, key, says="stands twice")
    verify(model, model / "nowhere.sig", key, status=66, says="there is no")


def test_a_keyid_may_be_missing_empty_or_null(model, signature, key, forger):
    for change in (
        lambda b: b["dsseEnvelope"]["signatures"][0].pop("keyid"),
        lambda b: b["dsseEnvelope"]["signatures"][0].update(keyid=None),
        lambda b: b["verificationMaterial"].pop("tlogEntries"),
        # Before 1.1.0 the key itself stood there, and no hint.
        lambda b: b["verificationMaterial"].update(publicKey={"rawBytes": "AAAA", "keyDetails": "X"}),
    ):
        forger.write(change=change)
        verify(model, signature, key)


# Certificates.


@pytest.mark.parametrize(
    "options,says",
    [
        (dict(end=NOW - DAY), "has expired"),
        (dict(start=NOW + DAY), "is valid from"),
        (dict(usage="key_agreement"), "digitalSignature"),
        (dict(usage=None, purposes=()), "neither KeyUsage"),
        (dict(purposes=[ExtendedKeyUsageOID.SERVER_AUTH]), "codeSigning"),
    ],
)
def test_certificates_that_may_not_sign_are_refused(model, signature, authority, options, says):
    signer = authority.signer("Wrong", **options)
    sign(model, signature, signer, *certified(signer, authority.middle), status=65, says=says)
    signing.Config().use_certificate_signer(
        private_key=signer.pem, signing_certificate=signer.cert, certificate_chain=[authority.middle.cert]
    ).sign(model, signature)
    refused(model, signature, says=says, roots=[authority.root])


def test_only_the_given_roots_count(model, signature, authority, tmp_path):
    signer = authority.signer()
    sign(model, signature, signer, *certified(signer, authority.middle))
    stranger, namesake = Authority(tmp_path, "Stranger"), Authority(tmp_path)
    refused(model, signature, says="not accepted", roots=[namesake.root])
    refused(model, signature, says="leads to none of the given root", roots=[stranger.root])
    verify(model, signature, roots=[stranger.root, authority.root])
    # A root that the bundle brings along vouches for nothing.
    sign(model, signature, signer, *certified(signer, authority.middle, authority.root))
    refused(model, signature, says="leads to none of the given root", roots=[stranger.root])
    # Without the certificate between, there is no way to the root.
    sign(model, signature, signer, *certified(signer))
    refused(model, signature, says="leads to none of the given root", roots=[authority.root])


def test_the_signers_certificate_comes_first(model, signature, authority):
    signer = authority.signer()
    sign(model, signature, signer, *certified(signer, authority.root, authority.middle, authority.middle))
    bundle = json.loads(signature.read_text())
    chain = bundle["verificationMaterial"]["x509CertificateChain"]["certificates"]
    names = [x509.load_der_x509_certificate(base64.b64decode(c["rawBytes"])).subject.rfc4514_string() for c in chain]
    assert names == ["CN=Acme Models", "CN=Acme Signing CA", "CN=Acme Root"]
    # The others' order says nothing, the first place does.
    chain[1], chain[2] = chain[2], chain[1]
    signature.write_text(json.dumps(bundle))
    verify(model, signature, roots=[authority.root])
    chain[0], chain[2] = chain[2], chain[0]
    signature.write_text(json.dumps(bundle))
    refused(model, signature, says="not for signing", roots=[authority.root])


def test_a_certificate_in_the_wrong_place_is_refused(model, signature, authority, tmp_path):
    signer = authority.signer()
    stranger = Authority(tmp_path, "Stranger")
    sign(model, signature, signer, *certified(signer, stranger.middle), status=65, says="no part of")
    other = Key(tmp_path, "other")
    sign(model, signature, other, *certified(signer, authority.middle), status=65, says="another private key")
    # A signer can't issue: its certificate is no authority's.
    below = authority.signer("Below", issuer=signer)
    sign(model, signature, below, *certified(below, signer, authority.middle), status=65, says="no part of")
    signing.Config().use_certificate_signer(
        private_key=below.pem, signing_certificate=below.cert, certificate_chain=[signer.cert, authority.middle.cert]
    ).sign(model, signature)
    refused(model, signature, says="not accepted", roots=[authority.root])


def test_an_expired_authority_is_refused(model, signature, tmp_path):
    from signing_keys import Certified

    root = Certified(tmp_path, "Old Root", ca=True)
    middle = Certified(tmp_path, "Old CA", root, ca=True, end=NOW - DAY)
    signer = Certified(tmp_path, "Signer", middle)
    sign(model, signature, signer, *certified(signer, middle))
    refused(model, signature, says="“Old CA” has expired", roots=[root])


def test_the_signers_name_can_be_asked_for(model, signature, authority):
    signer = authority.signer(mail="models@acme.example")
    sign(model, signature, signer, *certified(signer, authority.middle))
    for name in "Acme Models", "models@acme.example":
        verify(model, signature, None, "--identity", name, roots=[authority.root])
    for name in "acme models", "Acme", "CN=Acme Models", "models@acme.example.org":
        refused(model, signature, None, "--identity", name, says="names “Acme Models”", roots=[authority.root])


def test_a_self_signed_certificate_is_its_own_root(model, signature, tmp_path):
    from signing_keys import Certified

    signer = Certified(tmp_path, "Alone")
    sign(model, signature, signer, *certified(signer, signer))
    verify(model, signature, roots=[signer])
    peer_verify(model, signature, roots=[signer])
    refused(model, signature, says="leads to none", roots=[Certified(tmp_path, "Other")])


def test_one_way_is_not_taken_for_the_other(model, signature, key, authority):
    signer = authority.signer()
    sign(model, signature, key)
    refused(model, signature, says="with a bare key", roots=[authority.root])
    sign(model, signature, signer, *certified(signer, authority.middle))
    refused(model, signature, signer, says="with a certificate")


@pytest.mark.parametrize(
    "words,says",
    [
        (["sign", "{model}", "--signature", "{sig}"], "private key is missing"),
        (["verify", "{model}", "--signature", "{sig}"], "who may have signed"),
        (["verify", "{model}", "--signature", "{sig}", "--public-key", "{key}", "--certificate-chain", "{key}"], "two ways"),
        (["verify", "{model}", "--signature", "{sig}", "--public-key", "{key}", "--identity", "x"], "names nobody"),
        (["sign", "{model}", "--private-key", "{key}", "--ignore-paths", "../x"], "not inside the model"),
        (["sign", "{model}", "--private-key", "{key}", "--ignore-paths", "/etc"], "not inside the model"),
        (["sign", "{model}", "--private-key", "{key}", "--ignore-paths", "*.bin"], "looks like a pattern"),
        (["sign", "{model}", "--private-key", "{key}", "--shard-size", "0"], "whole number"),
        (["sign", "{model}", "--private-key", "{key}", "--certificate-chain", "{key}"], ""),
    ],
)  # fmt: skip
def test_command_lines_that_make_no_sense(model, signature, key, words, says):
    words = [w.format(model=model, sig=signature, key=key.pem) for w in words]
    done = subprocess.run([SKERRY, "model", *words], capture_output=True, text=True, stdin=subprocess.DEVNULL)
    assert done.returncode in (64, 65) and says in done.stderr, done.stderr
    assert not signature.exists()


def test_memory_does_not_grow_with_the_file(tmp_path, signature, key):
    def resident(size):
        model = tmp_path / str(size)
        model.mkdir()
        for name in "ab":
            with open(model / name, "wb") as file:
                file.truncate(size)
        words = [SKERRY, "model", "sign", str(model), "--signature", str(signature), "--private-key", str(key.pem)]
        process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        assert process.returncode == 0
        return usage.ru_maxrss

    small, large = resident(1 << 20), resident(256 << 20)
    assert large - small < 16 << 10, f"{small} KiB for 2 MiB, {large} KiB for 512 MiB"
