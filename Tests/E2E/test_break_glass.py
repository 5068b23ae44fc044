"""A sealed code from a real hub opens a real box for somebody whom no role knows, once, and the hub hears of it."""

import json
import subprocess

import pytest
from box import wait_for
from conftest import for_everybody

ANN, BOB = 64001, 64002
WHY = "the shop is locked out, ticket 4711"


@pytest.fixture(scope="module")
def fleet(programs, tmp_path_factory):
    with for_everybody(programs, tmp_path_factory.mktemp("glass-hub")) as box:
        yield box


def admin(box, *arguments):
    out = subprocess.run([box.programs.skerry, "hub", *arguments, "--json", *box.hub.admin], capture_output=True,
                         text=True, check=True, timeout=60)
    return json.loads(out.stdout)


def issue(box, *options):
    grant = admin(box, "break-glass", "issue", box.id, *options)["grants"][0]
    box.skerry("sync")
    return grant


def call(box, uid, *arguments, code=None):
    """The command line as another user; its exit status and its words."""
    done = subprocess.run([box.cli, "--socket", box.socket, *arguments], input=code, capture_output=True, text=True,
                          user=uid, group=uid, extra_groups=[], timeout=60, cwd="/")
    return done.returncode, done.stdout + done.stderr


def opens(box, uid, code):
    return call(box, uid, "break-glass", "open", "--reason", WHY, code=code + "\n")


def listed(box, grant):
    grants = admin(box, "break-glass", "list", box.id)["grants"]
    return next(one for one in grants if one["id"] == grant["id"])


def records(box):
    return [one for one in box.json("audit", "list", "--limit", "1000")["entries"] if one["kind"] == "break-glass"]


def test_one_person(fleet):
    grant = issue(fleet, "--lasts", "5m")
    assert call(fleet, ANN, "audit", "list")[0] == 77, "nobody knows ann"
    status, said = opens(fleet, ANN, grant["codes"][0])
    assert status == 0 and "you hold admin" in said, said
    assert call(fleet, ANN, "audit", "list")[0] == 0
    assert call(fleet, BOB, "audit", "list")[0] == 77, "the door is ann's own"
    assert call(fleet, ANN, "role", "bind", "admin", f"uid:{ANN}")[0] == 77, "it is not handed on"
    opened = [one for one in records(fleet) if one["event"] == "opened"][-1]
    assert opened["id"] == grant["id"] and opened["why"] == WHY and opened["issuedBy"] == "operator:first"
    # The hub is told at the next sync, and takes the code off its list.
    fleet.skerry("sync")
    told = listed(fleet, grant)
    assert told["state"] == "used" and told["used"]["reason"] == WHY and str(ANN) in told["used"]["persons"][0]
    # Given back, used up, and no second time; not after a restart, either.
    assert call(fleet, ANN, "break-glass", "close")[0] == 0
    assert call(fleet, ANN, "audit", "list")[0] == 77
    assert opens(fleet, ANN, grant["codes"][0])[0] == 77
    fleet.skerry("sync")
    assert listed(fleet, grant)["state"] == "closed"


def test_two_persons_offline_and_a_kill(fleet):
    grant = issue(fleet, "--persons", "2", "--role", "auditor")
    fleet.hub.daemon.stop()
    try:
        one, two = grant["codes"]
        status, said = opens(fleet, ANN, one)
        assert status == 0 and "waits for the second" in said, said
        assert opens(fleet, ANN, two)[0] == 77, "one person is not two"
        status, said = opens(fleet, BOB, two.lower())
        assert status == 0, said
        assert call(fleet, ANN, "audit", "list")[0] == 0
        # It ends with the agent, however that ends.
        fleet.daemon.kill()
        fleet.start()
        assert call(fleet, ANN, "audit", "list")[0] == 77
        assert opens(fleet, ANN, one)[0] == 77
        wait_for("the end is on record", lambda: any(
            one["event"] == "closed" and one["id"] == grant["id"] for one in records(fleet)), 10)
    finally:
        fleet.hub.daemon.start()
        wait_for("the hub listens", fleet.hub.listening, 20)
    fleet.skerry("sync")
    assert listed(fleet, grant)["state"] == "closed"


def test_a_revoked_code_and_a_wrong_one(fleet):
    grant = issue(fleet)
    admin(fleet, "break-glass", "revoke", fleet.id, grant["id"])
    fleet.skerry("sync")
    assert opens(fleet, ANN, grant["codes"][0])[0] == 77
    code = grant["codes"][0]
    assert opens(fleet, ANN, code[:-1] + ("2" if code[-1] != "2" else "3"))[0] == 65
    assert call(fleet, ANN, "break-glass", "open", code=code + "\n")[0] == 64, "no reason is no use"
    assert call(fleet, ANN, "break-glass", "open", "--reason", "short", code=code + "\n")[0] == 65
    assert call(fleet, ANN, "audit", "list")[0] == 77
    refused = [one for one in records(fleet) if one["event"] == "refused"]
    assert refused and not any(code[4:9] in json.dumps(one) for one in refused), "no code is on record"
