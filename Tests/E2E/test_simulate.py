"""`skerry role simulate` on a real box: what was decided there, under another policy."""

from box import Box


def test_a_policy_is_tried_on_recorded_decisions(programs, tmp_path):
    box = Box(programs, tmp_path / "box").start()
    try:
        token = box.token("app", "chat")
        assert box.request("GET", "/v1/models", token=token)[0] == 200
        assert box.request("GET", "/skerry/v1/audit", token=token)[0] == 403
        shipped = tmp_path / "box" / "etc" / "policies" / "roles.json5"
        assert box.json("role", "simulate", shipped)["changes"] == []
        # The auditor's rights go to whoever may chat, and nobody lists models.
        new = tmp_path / "new.json5"
        new.write_text("""{version: 1, roles: {
            admin: {allow: [{verbs: ["*"], resources: ["*"]}]},
            chat: {allow: [{verbs: ["audit.read"], resources: ["audit:*"]}]}},
          bindings: [{role: "admin", subjects: ["uid:0"]}]}""")
        before = shipped.read_bytes()
        changes = {(c["caller"], c["verb"]): c for c in box.json("role", "simulate", new, "--days", "1")["changes"]}
        assert changes["token:app", "model.list"]["wasAllowed"] and not changes["token:app", "audit.read"]["wasAllowed"]
        assert all(caller == "token:app" for caller, _ in changes), "root stays root"
        said = box.skerry("role", "simulate", new).stdout
        assert "model.list" in said and "denied" in said
        # It changed nothing.
        assert shipped.read_bytes() == before
        assert box.request("GET", "/v1/models", token=token)[0] == 200
        new.write_text("{version: 1, rols: {}}")
        refused = box.skerry("role", "simulate", new, check=False)
        assert refused.returncode == 65 and "rols" in refused.stderr
    finally:
        print(box.daemon.tail(40))
        box.daemon.kill()
