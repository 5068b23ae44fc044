"""The policy that a publisher signs and a hub assigns, on real boxes: by sync and by stick, and what a box makes of one
that is bad, old, changed on the disk or over."""

import datetime
import json
import subprocess
import time

import pytest
from box import Box, call, wait_for
from conftest import for_everybody
from test_bundle import FarHub, create, join

ANN = 64001


def document(serial, ceiling='["infer", "model.list"]', lasts=30 * 86400, trial="{}", roles="", more=""):
    end = datetime.datetime.fromtimestamp(time.time() + lasts, datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return f"""
// signed for the fleet
{{version: 1, serial: {serial}, expires: "{end}", staleRoles: ["watch"], ceiling: {ceiling}, trial: {trial},
 policy: {{version: 1,
  roles: {{
   watch: {{summary: "see how the box is", allow: [{{verbs: ["status.read"], resources: ["box:*"]}},
     {{verbs: ["role.read"], resources: ["role:*"]}}]}},
   chief: {{summary: "everything", inherits: ["watch"], allow: [{{verbs: ["*"], resources: ["*"]}}]}}{roles}}},
  bindings: [{{role: "watch", subjects: ["local"]}}, {{role: "chief", subjects: ["uid:0"]}}],
  forbid: [{{verbs: ["infer"], resources: ["model:*-draft"]}}]{more}}}}}
"""


def publish(hub, text, *options, check=True):
    file = hub.home / "fleet.json5"
    file.write_text(text)
    done = call([hub.programs.skerry, "repo", "access", "add", hub.repo, file, "--keys", hub.keys, "--passphrase-file",
                 hub.passphrase, "--json", *options], check=check)
    if done.returncode == 0:
        hub.publish()
    return done


def ask(box, uid, *arguments):
    done = subprocess.run([box.cli, "--socket", box.socket, *arguments], capture_output=True, text=True, user=uid,
                          group=uid, extra_groups=[], timeout=60, cwd="/")
    return done.returncode


def records(box):
    return [one for one in box.json("audit", "list", "--limit", "1000")["entries"] if one["kind"] == "policy"]


def attacks(box):
    return [one["attack"] for one in box.json("audit", "list", "--limit", "1000")["entries"] if one["kind"] == "attack"]


def policy(box):
    return box.json("role", "policy")["policy"]


@pytest.fixture
def fleet(programs, tmp_path):
    with for_everybody(
            programs, tmp_path / "hub", settings={"sync": {"probeSeconds": 1, "intervalSeconds": 10}}) as box:
        yield box


def test_by_sync(fleet):
    hub = fleet.hub
    assert policy(fleet) is None and ask(fleet, ANN, "model", "list") == 0
    fleet.skerry("role", "bind", "operator", f"uid:{ANN}")
    assert ask(fleet, ANN, "sync") == 0
    # What nobody could mend is not even published.
    bad = publish(hub, document(1).replace("infer\"], resources: [\"model:*-draft", "infer\"], resources: [\"box:x"),
                  check=False)
    assert bad.returncode == 65 and "never counts" in bad.stderr, bad.stderr
    added = json.loads(publish(hub, document(1)).stdout)
    assert added["policy"]["name"] == "default" and added["policy"]["serial"] == 1
    call([hub.programs.skerry, "repo", "check", hub.repo])
    fleet.skerry("sync")
    held = policy(fleet)
    assert held["serial"] == 1 and held["state"] == "in force" and held["ceiling"] == ["infer", "model.list"]
    assert held["sha256"] == added["policy"]["sha256"] and held["replayed"] > 0 and held["changed"] >= 1
    # The bytes are the publisher's own.
    kept = fleet.state / "policy" / f"{held['sha256']}.json5"
    assert kept.read_bytes() == (hub.home / "fleet.json5").read_bytes()
    # What the box's own roles give beyond the ceiling is gone, and is named; what is within it goes on.
    assert ask(fleet, ANN, "sync") == 77 and ask(fleet, ANN, "status") == 0 and ask(fleet, ANN, "model", "list") == 0
    said = fleet.skerry("role", "policy").stdout
    assert "default, serial 1" in said and "roles.operator.allow[0]" in said, said
    assert "policy" in fleet.skerry("status").stdout
    refused = fleet.skerry("role", "bind", "chief", f"uid:{ANN}", check=False)
    assert refused.returncode != 0 and "ceiling" in refused.stderr
    assert records(fleet)[-1]["event"] in ("adopted", "in-force")
    # The operator sees it.
    wait_for("the hub has the report", lambda: (hub.device(fleet.id).get("policy") or {}).get("serial") == 1, 20)
    # A higher serial is needed to publish, and a rollback that gets past that is an attack.
    assert publish(hub, document(1, lasts=86400), check=False).returncode == 65
    # Another policy for this box alone.
    publish(hub, document(1, ceiling='["sync.run"]'), "--name", "ships")
    unknown = call([hub.programs.skerry, "hub", "device", "policy", fleet.id, "boats", *hub.admin], check=False)
    assert unknown.returncode != 0 and "default, ships" in unknown.stderr
    call([hub.programs.skerry, "hub", "device", "policy", fleet.id, "ships", *hub.admin])
    # Assigning models leaves the policy alone.
    call([hub.programs.skerry, "hub", "device", "assign", fleet.id, "--all", *hub.admin])
    fleet.skerry("sync")
    assert policy(fleet)["name"] == "ships" and ask(fleet, ANN, "sync") == 0 and ask(fleet, ANN, "model", "list") == 77
    listed = json.loads(call([hub.programs.skerry, "repo", "access", "list", hub.repo, "--json"]).stdout)["policies"]
    assert [(one["name"], one["serial"]) for one in listed] == [("default", 1), ("ships", 1)]
    # Taken off the list, it stays on the box.
    call([hub.programs.skerry, "repo", "access", "remove", hub.repo, "ships", "--keys", hub.keys, "--passphrase-file",
          hub.passphrase])
    hub.publish()
    fleet.skerry("sync", check=False)
    assert policy(fleet)["name"] == "ships"


def test_trial_tamper_and_kill(fleet):
    hub = fleet.hub
    for _ in range(3):
        ask(fleet, ANN, "model", "list")
    # Tried on what was decided: more would change than it lets.
    publish(hub, document(1, ceiling='["infer"]', trial="{mostChanged: 0}"))
    assert fleet.skerry("sync", check=False).returncode != 0
    answer = fleet.json("role", "policy")
    assert answer["policy"] is None and "would lose or gain something" in answer["refused"]["reason"]
    assert [one["event"] for one in records(fleet)] == ["refused"]
    publish(hub, document(2, ceiling='["infer"]'))
    fleet.skerry("sync")
    held = policy(fleet)
    assert held["serial"] == 2
    # Killed and started: the same.
    fleet.daemon.kill()
    fleet.start()
    assert policy(fleet)["state"] == "in force" and attacks(fleet) == []
    # Edited while it is off: not used, not nothing, not all; the next sync mends it.
    kept = fleet.state / "policy" / f"{held['sha256']}.json5"
    good = kept.read_bytes()
    fleet.daemon.kill()
    hub.daemon.stop()
    kept.write_bytes(good.replace(b'ceiling: ["infer"]', b'ceiling: ["*"]'))
    fleet.start()
    assert ask(fleet, ANN, "status") == 0 and ask(fleet, ANN, "sync") == 77
    assert policy(fleet)["state"] == "damaged"
    assert fleet.skerry("role", "bind", "watch", f"uid:{ANN}", check=False).returncode == 77, "root is no chief now"
    hub.start()
    wait_for("the sync brings what is signed", lambda: policy(fleet)["state"] == "in force", 60)
    assert kept.read_bytes() == good and attacks(fleet) == ["tampered-content"]


def test_expiry_leaves_the_stale_roles(fleet):
    hub = fleet.hub
    publish(hub, document(1, lasts=12))
    fleet.skerry("sync")
    assert policy(fleet)["state"] == "in force" and fleet.skerry("audit", "head").returncode == 0
    wait_for("it has expired", lambda: policy(fleet)["state"] == "stale", 40)
    assert ask(fleet, ANN, "status") == 0 and ask(fleet, ANN, "model", "list") == 77
    assert fleet.skerry("audit", "head", check=False).returncode == 77, "root is no chief now"
    assert "EXPIRED" in fleet.skerry("status").stdout
    # The next sync brings a newer one, by itself: nobody on the box may sync now.
    publish(hub, document(2))
    wait_for("a newer one", lambda: policy(fleet)["serial"] == 2, 60)
    assert [one["event"] for one in records(fleet)].count("stale") <= 1
    assert fleet.skerry("audit", "head").returncode == 0


def test_by_a_plain_folder(programs, tmp_path):
    """A publisher without a hub: any static server's folder, checked as a client would."""
    repo, keys, place = tmp_path / "repo", tmp_path / "keys", tmp_path / "place"
    call([programs.skerry, "repo", "init", repo, "--keys", keys, "--no-passphrase"])
    file = tmp_path / "fleet.json5"
    file.write_text(document(1))
    call([programs.skerry, "repo", "access", "add", repo, file, "--keys", keys])
    call([programs.skerry, "repo", "publish", repo, "--to", place])
    copies = list((place / "targets" / "policies").iterdir())
    assert [one.read_bytes() for one in copies] == [file.read_bytes()]
    check = [programs.skerry, "repo", "check", place, "--root", repo / "metadata" / "1.root.json"]
    call(check)
    copies[0].write_text(document(2))
    bad = call(check, check=False)
    assert bad.returncode == 65 and "policy default" in bad.stderr, bad.stderr
    copies[0].unlink()
    assert "is missing" in call(check, check=False).stderr
    # Of the publisher's own folder a lost file is told before anything goes out.
    next((repo / "targets" / "policies").iterdir()).unlink()
    lost = call([programs.skerry, "repo", "publish", repo, "--to", tmp_path / "other"], check=False)
    assert lost.returncode == 65 and "the policy default" in lost.stderr, lost.stderr


def test_by_stick(programs, tmp_path):
    hub = FarHub(programs, tmp_path / "hub")
    try:
        hub.init()
        hub.start()
        hub.create_repository()
        publish(hub, document(1))
        box = Box(programs, tmp_path / "box", name="far-box", settings={"sync": {"probeSeconds": 1}}).start()
        try:
            joined = join(hub, box, tmp_path)
            create(hub, tmp_path / "first.skb", "--device", joined["device"])
            box.skerry("bundle", "import", tmp_path / "first.skb")
            assert policy(box)["serial"] == 1
            publish(hub, document(2))
            create(hub, tmp_path / "second.skb", "--device", joined["device"])
            box.skerry("bundle", "import", tmp_path / "second.skb")
            assert policy(box)["serial"] == 2
            kept = (box.state / "policy" / f"{policy(box)['sha256']}.json5").read_bytes()
            assert kept == (hub.home / "fleet.json5").read_bytes()
            # The first stick again takes nothing back.
            box.skerry("bundle", "import", tmp_path / "first.skb", check=False)
            assert policy(box)["serial"] == 2
        finally:
            print(box.daemon.tail(40))
            box.daemon.kill()
    finally:
        hub.daemon.kill()
