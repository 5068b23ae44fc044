"""Operators with roles at a real hub, their passes at a real box while the hub is gone, and ID tokens made by pyjwt."""

import base64
import json
import signal
import subprocess
import time

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from conftest import for_everybody

ISSUER = "https://idp.example"


@pytest.fixture(scope="module")
def provider(tmp_path_factory):
    """A key of an identity provider, and the file that names it."""
    key = ec.generate_private_key(ec.SECP256R1())
    jwk = {**json.loads(jwt.algorithms.ECAlgorithm.to_jwk(key.public_key())), "kid": "one", "use": "sig", "alg": "ES256"}
    file = tmp_path_factory.mktemp("idp") / "keys.json"
    file.write_text(json.dumps({"keys": [jwk]}))
    return key, file


@pytest.fixture(scope="module")
def fleet(programs, provider, tmp_path_factory):
    with for_everybody(programs, tmp_path_factory.mktemp("subjects-hub"), settings={
            "identityProviders": [{"name": "corp", "issuer": ISSUER, "audience": "box-7", "jwksFile": str(provider[1]),
                                   "groupsClaim": "groups"}]}) as box:
        yield box


def hub_cli(box, *arguments, token=None, check=True):
    admin = list(box.hub.admin)
    if token:
        file = box.home / "operator.token"
        file.write_text(token)
        admin[admin.index("--admin-token-file") + 1] = str(file)
    return subprocess.run([box.programs.skerry, "hub", *arguments, "--json", *admin], capture_output=True, text=True,
                          check=check, timeout=60)


def id_token(provider, **more):
    now = int(time.time())
    claims = {"iss": ISSUER, "aud": "box-7", "sub": "alice", "iat": now, "exp": now + 600, **more}
    return jwt.encode(claims, provider[0], algorithm="ES256", headers={"kid": "one"})


def ask(box, token):
    return box.request("GET", "/skerry/v1/status", token=token)


def test_operators_hold_roles(fleet):
    made = json.loads(hub_cli(fleet, "operator", "create", "vera").stdout)
    assert made["role"] == "viewer"
    assert json.loads(hub_cli(fleet, "device", "list", token=made["token"]).stdout)["devices"]
    denied = hub_cli(fleet, "operator", "pass", fleet.id, token=made["token"], check=False)
    assert denied.returncode == 77
    assert "skerry hub operator role vera operator" in denied.stderr
    hub_cli(fleet, "operator", "role", "vera", "operator")
    assert hub_cli(fleet, "operator", "pass", fleet.id, token=made["token"]).returncode == 0
    roles = {one["name"]: one["role"] for one in json.loads(hub_cli(fleet, "operator", "list").stdout)["operators"]}
    assert roles == {"first": "admin", "vera": "operator"}
    assert hub_cli(fleet, "operator", "role", "first", "viewer", check=False).returncode == 65


def test_an_id_token_of_pyjwts_names_its_bearer(fleet, provider):
    assert ask(fleet, id_token(provider))[0] == 403
    fleet.skerry("role", "bind", "operator", "oidc-group:corp/ops")
    assert ask(fleet, id_token(provider, groups=["ops", "others"]))[0] == 200
    fleet.skerry("role", "bind", "chat", "oidc:corp/alice")
    assert ask(fleet, id_token(provider))[0] == 200
    for wrong in [{"aud": "box-8"}, {"exp": int(time.time()) - 600}, {"iss": "https://other.example"}, {"sub": "a b"}]:
        assert ask(fleet, id_token(provider, **wrong))[0] == 401, wrong
    stranger = (ec.generate_private_key(ec.SECP256R1()), None)
    assert ask(fleet, id_token(stranger))[0] == 401
    assert json.loads(fleet.skerry("role", "what-may", "oidc:corp/alice", "--json").stdout)["held"] == ["chat"]


def test_keys_change_with_a_reload(fleet, provider):
    key = ec.generate_private_key(ec.SECP256R1())
    jwk = json.loads(jwt.algorithms.ECAlgorithm.to_jwk(key.public_key()))
    before = provider[1].read_text()
    provider[1].write_text(json.dumps({"keys": [{**jwk, "kid": "one"}]}))
    try:
        fleet.daemon.process.send_signal(signal.SIGHUP)
        deadline = time.monotonic() + 10
        while ask(fleet, id_token((key, None)))[0] != 200 and time.monotonic() < deadline:
            time.sleep(0.1)
        assert ask(fleet, id_token((key, None)))[0] == 200
        assert ask(fleet, id_token(provider))[0] == 401
    finally:
        provider[1].write_text(before)
        fleet.daemon.process.send_signal(signal.SIGHUP)


def test_a_pass_is_good_at_its_box_without_the_hub(fleet):
    made = json.loads(hub_cli(fleet, "operator", "pass", fleet.id, "--lasts", "10m").stdout)
    head = json.loads(base64.urlsafe_b64decode(made["pass"].split(".")[0] + "=="))
    assert head["typ"] == "skerry-pass+jwt" and head["alg"] == "EdDSA"
    said = jwt.decode(made["pass"], options={"verify_signature": False})
    assert said["aud"] == fleet.id and said["sub"] == "first"
    fleet.hub.daemon.kill()
    assert ask(fleet, made["pass"])[0] == 403, "a pass gives nothing by itself"
    fleet.skerry("role", "bind", "operator", "operator:first")
    assert ask(fleet, made["pass"])[0] == 200
    assert fleet.request("GET", "/skerry/v1/audit", token=made["pass"])[0] == 403
    assert ask(fleet, made["pass"][:-4] + "AAAA")[0] == 401
    actors = {one["actor"] for one in fleet.json("audit", "list", "--limit", "1000")["entries"]}
    assert {"operator:first", "oidc:corp/alice"} <= actors
