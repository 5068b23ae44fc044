"""An exported log, checked with nothing of ours: hashlib, and Ed25519 from PyPI's cryptography."""

import base64
import hashlib
import json
import struct

import pytest
from box import MODEL, call
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey


def leaf(data):
    return hashlib.sha256(b"\0" + data).digest()


def root(hashes):
    if not hashes:
        return hashlib.sha256(b"").digest()
    if len(hashes) == 1:
        return hashes[0]
    k = 1
    while k * 2 < len(hashes):
        k *= 2
    return hashlib.sha256(b"\1" + root(hashes[:k]) + root(hashes[k:])).digest()


def open_note(note, vkey):
    """The text of a C2SP signed note when this key signed or cosigned it."""
    name, _, coded = vkey.split("+", 2)
    raw = base64.b64decode(coded)
    wanted = hashlib.sha256(name.encode() + b"\n" + raw).digest()[:4]
    text, _, signatures = note.rpartition("\n\n")
    text += "\n"
    for line in signatures.splitlines():
        dash, signer, value = line.split(" ")
        blob = base64.b64decode(value)
        if dash == "\u2014" and signer == name and blob[:4] == wanted:
            message, signature = text.encode(), blob[4:]
            if raw[0] == 4:
                time, signature = struct.unpack(">Q", blob[4:12])[0], blob[12:]
                message = f"cosignature/v1\ntime {time}\n{text}".encode()
            Ed25519PublicKey.from_public_bytes(raw[1:]).verify(signature, message)
            return text
    raise InvalidSignature(f"no signature by {name}")


@pytest.fixture(scope="module")
def export(box):
    box.skerry("run", MODEL, "Hello")
    box.skerry("sync")
    return box.skerry("audit", "export", "--output", "-").stdout


def test_the_root_and_both_signatures_hold_by_another_implementation(box, export):
    lines = export.splitlines()
    header, entries = json.loads(lines[0]), [json.loads(line) for line in lines[1:]]
    assert len(entries) == header["size"] > 5
    hashes = []
    for number, entry in enumerate(entries):
        canonical = json.dumps(entry["record"], sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
        assert base64.b64decode(entry["hash"]) == leaf(canonical)
        assert entry["n"] == entry["record"]["n"] == number
        hashes.append(leaf(canonical))
    keys = box.status()["keys"]
    text = open_note(header["checkpoint"], keys["device"])
    origin, size, coded = text.splitlines()[:3]
    assert origin == header["origin"] and int(size) == len(hashes)
    assert base64.b64decode(coded) == root(hashes)

    # The head that the hub cosigned is one of this very log, signed by the device and by the hub.
    signed = open_note(header["cosigned"], keys["device"])
    assert open_note(header["cosigned"], keys["witness"]) == signed
    origin, size, coded = signed.splitlines()[:3]
    assert origin == header["origin"] and 0 < int(size) <= len(hashes)
    assert base64.b64decode(coded) == root(hashes[:int(size)])


def test_nobody_elses_key_opens_the_head(box, export):
    header, keys = json.loads(export.splitlines()[0]), box.status()["keys"]
    with pytest.raises(InvalidSignature):
        open_note(header["checkpoint"], keys["witness"])
    with pytest.raises(InvalidSignature):
        open_note(header["cosigned"].replace("\n\n", "\nforged\n\n", 1), keys["device"])


def test_every_kind_of_forgery_is_found(programs, box, export, tmp_path):
    lines = export.splitlines(keepends=True)
    key = box.status()["keys"]["device"]
    middle = len(lines) // 2

    def verify(changed):
        path = tmp_path / "forged.jsonl"
        path.write_text("".join(changed))
        return call([programs.skerry, "audit", "verify", path, "--key", key], check=False)
    assert verify(lines).returncode == 0
    forgeries = {
        "deleted": lines[:middle] + lines[middle + 1:],
        "inserted": lines[:middle] + [lines[middle]] + lines[middle:],
        "swapped": lines[:middle] + [lines[middle + 1], lines[middle]] + lines[middle + 2:],
        "cut tail": lines[:-1],
        "no entries": lines[:1],
        "header gone": lines[1:],
        "half a line": lines[:-1] + [lines[-1][:20]],
        "spaces": lines[:middle] + [lines[middle].replace('":', '": ', 1)] + lines[middle + 1:],
        "nothing": [],
    }
    for name, changed in forgeries.items():
        done = verify(changed)
        assert done.returncode == 65, f"{name}: {done.returncode} {done.stdout}{done.stderr}"
    edited = lines[middle].replace('"actor":"', '"actor":"x', 1)
    done = verify(lines[:middle] + [edited] + lines[middle + 1:])
    assert done.returncode == 65 and f"entry {middle - 1}" in done.stdout + done.stderr


def test_an_edit_of_the_stored_log_shows(programs, hub, tmp_path):
    from conftest import enrolled
    box = enrolled(programs, hub, tmp_path / "b")
    box.skerry("sync")
    box.daemon.stop()
    log = box.state / "audit" / "log.jsonl"
    text = log.read_bytes()
    place = text.index(b'"kind":"') + 8
    log.write_bytes(text[:place] + bytes([text[place] ^ 1]) + text[place + 1:])
    done = call([programs.skerryd, "--config", box.config], check=False, timeout=20)
    assert done.returncode != 0 and "audit" in done.stderr.lower()
