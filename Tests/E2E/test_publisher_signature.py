"""A publisher's own signature on its way: repository, hub, box, lists, reports."""

import json
import pathlib
import re
import ssl
import sys
import urllib.error
import urllib.request

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "Peers"))
from box import Box, Hub, call, wait_for  # noqa: E402
from signing_keys import Key  # noqa: E402
from tiny_gguf import gguf  # noqa: E402


@pytest.fixture(scope="module")
def hub(programs, tmp_path_factory):
    hub = Hub(programs, tmp_path_factory.mktemp("signed"))
    hub.init()
    hub.start()
    try:
        hub.create_repository()
        hub.key = Key(hub.home)
        hub.weights = gguf(hub.home / "tiny.gguf")
        hub.signature = hub.home / "tiny.sig"
        call([programs.skerry, "model", "sign", hub.weights, "--signature", hub.signature, "--private-key", hub.key.pem])
        call([programs.skerry, "repo", "publisher", "add", hub.repo, "Acme", "--public-key", hub.key.public])
        call([programs.skerry, "repo", "add", hub.repo, hub.weights, "--keys", hub.keys, "--name", "tiny", "--version",
              "1.0.0", "--publisher", "Acme", "--signature", hub.signature, "--passphrase-file", hub.passphrase])  # fmt: skip
        yield hub
    finally:
        hub.daemon.kill()


def fetch(hub, path, method="GET", data=None):
    request = urllib.request.Request(hub.url + path, data=data, method=method)
    if path.startswith("/admin"):
        token = pathlib.Path(hub.facts["adminTokenFile"]).read_text().strip()
        request.add_header("Authorization", f"Bearer {token}")
    insecure = ssl._create_unverified_context()
    try:
        with urllib.request.urlopen(request, context=insecure, timeout=20) as reply:
            return reply.status, reply.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


def test_the_signer_is_seen_everywhere(programs, hub, tmp_path):
    # Metadata without the signature that it names is not published.
    bundle = hub.signature.read_bytes()
    [kept] = (hub.repo / "signatures").iterdir()
    name = kept.name
    upload = f"/admin/v1/repo/signatures/{name}"
    assert fetch(hub, f"/repo/signatures/{name}")[0] == 404
    assert fetch(hub, upload, "PUT", bundle + b" ")[0] == 400
    assert fetch(hub, "/admin/v1/repo/signatures/x.json", "PUT", bundle)[0] == 400
    assert fetch(hub, f"/admin/v1/repo/signatures/..%2f{name}", "PUT", bundle)[0] in (400, 404)
    hub.publish()
    assert fetch(hub, f"/repo/signatures/{name}") == (200, bundle)
    assert fetch(hub, "/repo/signatures/" + "0" * 64 + ".sigstore.json")[0] == 404

    box = Box(programs, tmp_path).start()
    try:
        box.skerry("enroll", hub.token())
        box.skerry("sync")
        wait_for("the model is active", lambda: any(m["state"] == "active" for m in box.status()["models"]), 60)
        signer = box.json("model", "show", "tiny")["publisherSignature"]["signer"]
        assert re.fullmatch(r"Acme, key [0-9a-f]{16} \(P-256\)", signer)
        assert f"its publisher  {signer}" in re.sub(" {2,}", "  ", box.skerry("model", "show", "tiny").stdout)
        assert signer in box.skerry("model", "list").stdout
        page, report = tmp_path / "report.html", tmp_path / "report.json"
        box.skerry("report", "--html", page, "--output", report)
        assert f"its publisher: {signer}" in page.read_text()
        [reported] = json.loads(report.read_text())["models"]
        assert reported["publisherSignature"]["signer"] == signer
        box.skerry("sync")

        def seen():
            _, body = fetch(hub, "/admin/v1/devices")
            return [m["signer"] for d in json.loads(body)["devices"] for m in d["models"]] == [signer]

        wait_for("the hub tells the signer", seen, 30)
        [device] = json.loads(fetch(hub, "/admin/v1/devices")[1])["devices"]
        shown = call([programs.skerry, "hub", "device", "show", device["id"], *hub.admin]).stdout
        assert f"tiny 1.0.0 active, signed by {signer}" in shown
    except BaseException:
        print(box.daemon.tail(40))
        raise
    finally:
        box.daemon.kill()


def test_the_hub_refuses_metadata_whose_signature_it_lacks(programs, hub, tmp_path):
    other = Hub(programs, tmp_path / "other")
    other.init()
    other.start()
    try:
        other.create_repository()
        call([programs.skerry, "repo", "publisher", "add", other.repo, "Acme", "--public-key", hub.key.public])
        call([programs.skerry, "repo", "add", other.repo, hub.weights, "--keys", other.keys, "--name", "tiny",
              "--version", "1.0.0", "--publisher", "Acme", "--signature", hub.signature, "--passphrase-file",
              other.passphrase])  # fmt: skip
        other.publish()
        [kept] = (other.state / "repo/signatures").iterdir()
        kept.unlink()
        call([programs.skerry, "repo", "renew", other.repo, "--keys", other.keys, "--passphrase-file", other.passphrase])
        [bundle] = (other.repo / "signatures").iterdir()
        for file in (other.repo / "metadata").glob("*.targets.json"):
            assert fetch(other, f"/admin/v1/repo/metadata/{file.name}", "PUT", file.read_bytes())[0] == 204
        status, body = fetch(other, "/admin/v1/repo/commit", "POST", b"{}")
        assert status == 409 and b"signature on models/tiny/1.0.0/tiny.gguf is missing" in body
        other.publish()
        assert kept.read_bytes() == bundle.read_bytes()
    finally:
        other.daemon.kill()
