"""Our decisions beside those of Cedar (cedarpy) and Casbin, on what all of them can say: the same random policy in each
one's language, the same questions, no mismatch.

Cedar knows roles that inherit, permits and forbids, conditions and sessions; Casbin roles that inherit, permits and denials.
What only we have (separation of duty, what is not known) is left out. CEDAR_CASES and CASBIN_CASES say how many questions
are asked (default 10,000 and 1,000).
"""

import json
import os
import pathlib
import random
import re
import subprocess

import casbin
import cedarpy
import pytest

BIN = pathlib.Path(os.environ.get("SKERRY_BIN") or pathlib.Path(__file__).resolve().parents[2] / ".build/debug/skerry")

VERBS = ["infer", "model.list", "model.manage", "audit.read", "audit.export", "status.read", "role.manage"]
PATTERNS = ["*", "model:*", "model:q*", "model:qwen-a", "model:*-a", "model:*e*-*", "role:*", "box:*", "audit:*"]
RESOURCES = ["model:qwen-a", "model:smol", "model:q", "model:-a", "role:chat", "box:x", "audit:log", "model:qwe-n"]
SUBJECTS = ["uid:1", "user:ann", "group:ops", "gid:9", "token:app", "local"]
CALLERS = [["uid:1", "user:ann", "local"], ["uid:2", "group:ops", "gid:9", "local"], ["token:app"], ["uid:3", "local"]]
DAYS = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
NETWORKS = ["10.0.0.0/8", "10.1.0.0/16", "192.168.1.7", "fd00::/8"]
ADDRESSES = ["10.0.0.1", "10.1.2.3", "192.168.1.7", "11.0.0.1", "fd00::1", "fe80::1"]


class Ours:
    """`skerry role decide`, which takes policies and questions, a line each."""

    def __enter__(self):
        self.process = subprocess.Popen(
            [BIN, "role", "decide"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        return self

    def __exit__(self, *_):
        self.process.stdin.close()
        assert self.process.wait(timeout=60) == 0

    def decide(self, policy, questions):
        self.process.stdin.write(json.dumps({"policy": policy}) + "\n")
        answers = []
        # No more at a time than the pipes hold.
        for start in range(0, len(questions), 200):
            batch = questions[start:start + 200]
            self.process.stdin.writelines(json.dumps(question) + "\n" for question in batch)
            self.process.stdin.flush()
            answers += [json.loads(self.process.stdout.readline())["allowed"] for _ in batch]
        return answers


def clock(minute):
    return f"{minute // 60:02}:{minute % 60:02}"


def condition(rng):
    made = {}
    while not made:
        if rng.random() < 0.2:
            made["days"] = rng.sample(DAYS, rng.randint(1, 6))
        if rng.random() < 0.2:
            made["hours"] = [f"{clock(s)}-{clock(e)}" for s, e in [rng.sample(range(1440), 2)]]
        if rng.random() < 0.2:
            made["via"] = rng.sample(["socket", "network"], rng.randint(1, 2))
        if rng.random() < 0.2:
            made["networks"] = rng.sample(NETWORKS, rng.randint(1, 3))
        if rng.random() < 0.2:
            made["labels"] = {"site": rng.sample(["oslo", "rome", "bonn"], rng.randint(1, 2))}
        if rng.random() < 0.2:
            made["maxContextTokens"] = rng.randint(1, 4000)
        if rng.random() < 0.2:
            made["minContextTokens"] = rng.randint(1, 4000)
    return made


def permissions(rng, most, conditions):
    made = []
    for _ in range(rng.randint(0, most)):
        one = {"verbs": rng.sample(VERBS, rng.randint(1, 4)), "resources": rng.sample(PATTERNS, rng.randint(1, 3))}
        if conditions and rng.random() < 0.5:
            one["when"] = condition(rng)
        if conditions and rng.random() < 0.25:
            one["unless"] = condition(rng)
        made.append(one)
    return made


def random_policy(rng, conditions=True):
    names = [f"r{number}" for number in range(rng.randint(1, 7))]
    roles = {}
    for at, name in enumerate(names):
        roles[name] = {
            "inherits": [other for other in names[:at] if rng.random() < 0.3],
            "allow": permissions(rng, 3, conditions),
            "forbid": permissions(rng, 1, conditions) if rng.random() < 0.3 else [],
        }
    bindings = {(rng.choice(names), rng.choice(SUBJECTS)) for _ in range(rng.randint(1, 6))}
    return {
        "version": 1, "roles": roles, "bindings": [{"role": r, "subjects": [s]} for r, s in sorted(bindings)],
        "forbid": permissions(rng, 1, conditions) if rng.random() < 0.2 else [],
    }


def below(policy, names):
    found = set(names)
    for name in names:
        found |= below(policy, policy["roles"][name]["inherits"])
    return found


def held(policy, subjects):
    return {b["role"] for b in policy["bindings"] if b["subjects"][0] in subjects}


def question(rng, policy, sessions=True):
    made = {"subjects": rng.choice(CALLERS), "verb": rng.choice(VERBS), "resource": rng.choice(RESOURCES)}
    context = {"time": f"{rng.choice(DAYS)} {clock(rng.randrange(1440))}", "contextTokens": rng.randint(0, 4000)}
    if made["subjects"] == ["token:app"]:
        context |= {"via": "network", "address": rng.choice(ADDRESSES)}
    else:
        context["via"] = "socket"
    if rng.random() < 0.7:
        context["labels"] = {"site": rng.choice(["oslo", "rome", "york"])}
    made["context"] = context
    authorized = sorted(below(policy, held(policy, made["subjects"])))
    if sessions and authorized and rng.random() < 0.3:
        made["roles"] = rng.sample(authorized, rng.randint(1, len(authorized)))
    return made


# Cedar


def cedar_condition(condition):
    parts = []
    if "days" in condition:
        parts.append(f"{json.dumps(condition['days'])}.contains(context.day)")
    if "hours" in condition:
        spans = []
        for text in condition["hours"]:
            start, end = [int(side[:2]) * 60 + int(side[3:]) for side in text.split("-")]
            joint = "&&" if start < end else "||"
            spans.append(f"(context.minute >= {start} {joint} context.minute < {end})")
        parts.append("(" + " || ".join(spans) + ")")
    if "via" in condition:
        parts.append(f"{json.dumps(condition['via'])}.contains(context.via)")
    if "networks" in condition:
        nets = " || ".join(f'ip(context.address).isInRange(ip("{net}"))' for net in condition["networks"])
        parts.append(f'(context.via == "network" && ({nets}))')
    for name, values in condition.get("labels", {}).items():
        parts.append(f"(context.labels has {name} && {json.dumps(values)}.contains(context.labels.{name}))")
    if "maxContextTokens" in condition:
        parts.append(f"context.tokens <= {condition['maxContextTokens']}")
    if "minContextTokens" in condition:
        parts.append(f"context.tokens >= {condition['minContextTokens']}")
    return " && ".join(parts)


def cedar_rule(effect, role, one):
    actions = ", ".join(f'Action::"{verb}"' for verb in one["verbs"])
    likes = " || ".join(f'context.resource like "{pattern}"' for pattern in one["resources"])
    # What is permitted counts through the roles that are active, what is forbidden through those that are held.
    who = f'principal in Role::"{role}"' if effect == "forbid" and role else "principal"
    text = f"{effect}({who}, action in [{actions}], resource) when {{ {likes} }}"
    if effect == "permit":
        text += f' when {{ context.session in Role::"{role}" }}'
    if "when" in one:
        text += f" when {{ {cedar_condition(one['when'])} }}"
    if "unless" in one:
        text += f" unless {{ {cedar_condition(one['unless'])} }}"
    return text + ";\n"


def cedar_policies(policy):
    text = "".join(cedar_rule("forbid", None, one) for one in policy["forbid"])
    for name, role in policy["roles"].items():
        text += "".join(cedar_rule("permit", name, one) for one in role["allow"])
        text += "".join(cedar_rule("forbid", name, one) for one in role["forbid"])
    return text


def uid(kind, name):
    return {"type": kind, "id": name}


def entity(kind, name, parents=()):
    return {"uid": uid(kind, name), "attrs": {}, "parents": [uid(*parent) for parent in parents]}


def cedar_world(policy, questions):
    """The entities, and the questions as Cedar's requests."""
    entities = [entity("Role", name, [("Role", p) for p in role["inherits"]]) for name, role in policy["roles"].items()]
    bound = {subject: [b["role"] for b in policy["bindings"] if b["subjects"] == [subject]] for subject in SUBJECTS}
    entities += [entity("Subject", subject, [("Role", role) for role in roles]) for subject, roles in bound.items()]
    sessions, requests = {}, []
    for asked in questions:
        caller = " ".join(asked["subjects"])
        active = asked.get("roles")
        session = f"{caller} as {sorted(active) if active is not None else 'all'}"
        known = [("Subject", s) for s in asked["subjects"] if s in bound]
        sessions[("User", caller)] = known
        sessions[("Session", session)] = known if active is None else [("Role", role) for role in active]
        day, time = asked["context"]["time"].split()
        requests.append({
            "principal": f'User::"{caller}"', "action": f'Action::"{asked["verb"]}"', "resource": 'Thing::"it"',
            "context": {
                "resource": asked["resource"], "day": day, "minute": int(time[:2]) * 60 + int(time[3:]),
                "via": asked["context"]["via"], "address": asked["context"].get("address", "127.0.0.1"),
                "labels": asked["context"].get("labels", {}), "tokens": asked["context"]["contextTokens"],
                "session": {"__entity": uid("Session", session)},
            },
        })
    return entities + [entity(kind, name, parents) for (kind, name), parents in sessions.items()], requests


def test_cedar_decides_the_same():
    cases, rng = int(os.environ.get("CEDAR_CASES", "10000")), random.Random(20)
    each, asked, allowed = 200, 0, 0
    with Ours() as ours:
        while asked < cases:
            policy = random_policy(rng)
            questions = [question(rng, policy) for _ in range(each)]
            entities, requests = cedar_world(policy, questions)
            theirs = cedarpy.is_authorized_batch(requests, cedar_policies(policy), entities)
            for one, theirs_one, mine in zip(questions, theirs, ours.decide(policy, questions), strict=True):
                assert not theirs_one.diagnostics.errors, theirs_one.diagnostics.errors
                assert theirs_one.allowed == mine, (json.dumps(policy), one)
                allowed += mine
            asked += each
    assert asked // 20 < allowed < asked * 19 // 20


# Casbin

MODEL = """
[request_definition]
r = sub, obj, act
[policy_definition]
p = sub, obj, act, eft
[role_definition]
g = _, _
[policy_effect]
e = some(where (p.eft == allow)) && !some(where (p.eft == deny))
[matchers]
m = r.act == p.act && g(r.sub, p.sub) && regexMatch(r.obj, p.obj)
"""


def casbin_enforcer(policy):
    model = casbin.Model()
    model.load_model_from_text(MODEL)
    enforcer = casbin.Enforcer(model)
    rules = []

    def add(who, listed, effect):
        for one in listed:
            for verb in one["verbs"]:
                for pattern in one["resources"]:
                    rules.append((who, "^" + ".*".join(map(re.escape, pattern.split("*"))) + "$", verb, effect))

    add("everybody", policy["forbid"], "deny")
    for name, role in policy["roles"].items():
        add(name, role["allow"], "allow")
        add(name, role["forbid"], "deny")
    groups = {(name, parent) for name, role in policy["roles"].items() for parent in role["inherits"]}
    for subjects in CALLERS:
        caller = " ".join(subjects)
        groups |= {(caller, role) for role in held(policy, subjects)} | {(caller, "everybody")}
    enforcer.add_policies(sorted(set(rules)))
    enforcer.add_grouping_policies(sorted(groups))
    return enforcer


def test_casbin_decides_the_same():
    cases, rng = int(os.environ.get("CASBIN_CASES", "1000")), random.Random(21)
    each, asked, allowed = 100, 0, 0
    with Ours() as ours:
        while asked < cases:
            policy = random_policy(rng, conditions=False)
            questions = [question(rng, policy, sessions=False) for _ in range(each)]
            enforcer = casbin_enforcer(policy)
            for one, mine in zip(questions, ours.decide(policy, questions), strict=True):
                theirs = enforcer.enforce(" ".join(one["subjects"]), one["resource"], one["verb"])
                assert theirs == mine, (json.dumps(policy), one)
                allowed += mine
            asked += each
    assert asked // 50 < allowed < asked * 49 // 50


@pytest.mark.parametrize("line", ["{", '{"verb":"infer"}', '{"policy":{"version":2}}', '{"verb":"x","resource":"model:m"}'])
def test_a_line_that_says_nothing_ends_it_with_the_line_named(line):
    said = subprocess.run(
        [BIN, "role", "decide"], input='{"policy":{"version":1}}\n' + line + "\n", capture_output=True, text=True, timeout=60)
    assert said.returncode == 65 and "line 2" in said.stderr and not said.stdout
