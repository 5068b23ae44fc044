"""Time, when there is none: boxes that were offline for days and months, with clocks that are right, wrong and moving,
before metadata that has expired and roots that were missed. Real agents and hubs under libfaketime.

One state is prepared and copied for each case; two cases run at a time. What must hold in every one:
- the installed model is there, verified, and answered for unless the signed policy says otherwise;
- the audit log goes on, and knows of the clock's doubt exactly when there is one;
- nothing new comes in on expired metadata without signed grace, and nothing that nobody signed ever does;
- once the clock is right and the hub has fresh metadata, the box has the newest model and nothing is left of the doubt.
"""

import concurrent.futures
import dataclasses
import http.client
import json
import os
import pathlib
import random
import shutil
import socket
import sys
import tempfile
import threading
import time

import pytest
from box import MODEL, Box, Daemon, Hub, Programs, call, wait_for
from conftest import enrolled
from faketime import LIBRARY, FakeClock
from tuf_craft import DAY, Key, Owners

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "Peers"))
import tiny_gguf  # noqa: E402

pytestmark = pytest.mark.skipif(LIBRARY is None, reason="Debian's libfaketime is not here: scripts/setup.sh packages")

TEN_YEARS = 3650 * DAY
ASK = {"model": MODEL, "messages": [{"role": "user", "content": "Say hello."}], "max_tokens": 4}
ROLES = ("root", "targets", "snapshot", "timestamp")
# What the box's own metadata is good for when the link goes, in days.
LIFE = {"root": 365, "targets": 90, "snapshot": 90, "timestamp": 7}


@dataclasses.dataclass(frozen=True)
class Case:
    """One box: how long it was away, what its clock shows when it comes back, and what the hub then has for it."""
    days: int
    clock: str  # right, 1970, ahead, back
    expired: str = ""  # the role that has expired at the hub; the director's as director/ROLE
    missed: int = 0  # root rotations
    fleet: str = "plain"  # plain, grace (10 days), stale (20 days)
    newKey: bool = False  # the hub's online key was replaced
    late: int = 1  # by how many days what has expired did

    @property
    def id(self):
        parts = [f"{self.days}d", self.clock]
        parts += [f"{self.expired} expired {self.late}d"] * bool(self.expired) + [f"{self.missed} roots"] * bool(self.missed)
        parts += [self.fleet] * (self.fleet != "plain") + ["new key"] * self.newKey
        return " ".join(parts)


CLOCKS = ("right", "1970", "ahead", "back")
CASES = [Case(days, clock) for days in (0, 1, 6, 8, 30, 91, 200, 366, 400) for clock in CLOCKS]
CASES += [Case(days, clock, expired=role) for role in ROLES for days in (3, 30, 100, 366, 400) for clock in CLOCKS]
CASES += [Case(days, clock, expired=f"director/{role}") for role in ROLES for days in (60, 400) for clock in CLOCKS]
CASES += [Case(days, clock, missed=missed) for missed in (1, 2, 3, 7, 20, 50) for days in (0, 120, 400) for clock in CLOCKS]
CASES += [Case(days, clock, missed=1, newKey=True) for days in (1, 200) for clock in CLOCKS]
CASES += [Case(60, clock, expired=role, fleet="grace", late=late)
          for role in ("targets", "timestamp") for late in (9, 11) for clock in CLOCKS]
CASES += [Case(days, clock, fleet="stale") for days in (26, 28) for clock in CLOCKS]


class Template:
    """A fleet with one enrolled box, at rest, to be copied."""

    def __init__(self, programs, home):
        self.home = pathlib.Path(home)
        weights = [tiny_gguf.gguf(self.home / f"tiny-{n}.gguf", floats=30_000, seed=n) for n in (1, 2)]
        programs = Programs(programs.skerryd, programs.skerry, programs.hub, "/bin/false", weights[0])
        self.programs = programs
        hub = Hub(programs, self.home / "h").ready()
        box = Box(programs, self.home / "b", settings=SETTINGS).start()
        box.skerry("enroll", hub.token())
        self.start = int(time.time())
        box.skerry("sync")
        self.hour = box.json("token", "create", "hour", "--role", "chat", "--expires", "1h")["token"]
        box.daemon.stop()
        hub.add_model(weights[1], version="2.0.0")
        self.port, self.url = hub.port, hub.url
        secret = hub.passphrase.read_text().strip().encode()
        self.keys = (Key.load(next(hub.keys.glob("root*.pem")), secret), Key.load(next(hub.keys.glob("targets*.pem")), secret),
                     Key.load(hub.state / "keys" / "online.key"))
        hub.daemon.stop()
        self.device = json.loads((box.state / "enrolment.json").read_text())["deviceID"]
        first, second = self.home / "first", hub.state
        shutil.copytree(second, first)
        hub.start()
        hub.publish()
        hub.daemon.stop()
        # What the director says to the box now, signed once, for the cases that sign it again with another expiry.
        scratch = self.home / "scratch"
        shutil.copytree(second, scratch)
        serving = Serving(self, scratch, self.port, self.home / "scratch.clock")
        other = Box(programs, self.home / "b-scratch", settings=SETTINGS)
        shutil.copytree(box.state, other.state)
        other.start()
        other.skerry("sync")
        other.daemon.stop()
        serving.stop()
        self.said = scratch / "repo/director" / self.device
        # A box under each policy; the plain one keeps the first root.
        self.fleets = {"plain": (box.state, second, self.owners())}
        for fleet, policy in (("grace", {"graceSeconds": 10 * DAY}), ("stale", {"staleSeconds": 20 * DAY})):
            state = self.home / f"hub-{fleet}"
            shutil.copytree(first, state)
            owners = self.owners()
            owners.rotate(state / "repo/metadata", 1, self.start + LIFE["root"] * DAY, policy)
            root = (state / "repo/metadata/2.root.json").read_bytes()
            owners.renew(state / "repo/metadata", 1, {r: self.start + LIFE[r] * DAY for r in ROLES})
            serving = Serving(self, state, self.port, self.home / f"{fleet}-hub.clock")
            other = Box(programs, self.home / f"b-{fleet}", settings=SETTINGS)
            shutil.copytree(box.home / "lib", other.state)
            other.start()
            other.skerry("sync")
            assert policy.items() <= json.loads((other.state / "registry/tuf/root.json").read_text())["signed"]["skerry"].items()
            other.daemon.stop()
            serving.stop()
            newer = self.home / f"hub-{fleet}-2"
            shutil.copytree(second, newer)
            (newer / "repo/metadata/2.root.json").write_bytes(root)
            self.fleets[fleet] = (other.state, newer, owners)

    def owners(self):
        return Owners(*self.keys)


# It syncs when it is told to, so that a case knows when.
SETTINGS = {"sync": {"probeSeconds": 3600, "intervalSeconds": 86_400 * 30}, "engine": {"sandbox": "off"}}


class Serving:
    """A hub over a copied state."""

    def __init__(self, template, state, port, clock, offset=0):
        path = pathlib.Path(state) / "hub.json5"
        path.write_text(path.read_text().replace(f":{template.port}", f":{port}"))
        self.port = port
        clock = FakeClock(clock, offset)
        self.daemon = Daemon("skerry-hub", [template.programs.hub, "serve", "--state", state],
                             pathlib.Path(state).parent / "hub.log", clock.environment)
        self.daemon.start()
        wait_for("the hub listens", self.listening, 30, 0.02)

    def listening(self):
        self.daemon.check()
        with socket.create_connection(("127.0.0.1", self.port), 1):
            return True

    def stop(self):
        self.daemon.kill()


_given = set()
_giving = threading.Lock()


def own_port():
    """A port that no other case gets, below those that the system hands out by itself: a hub's port is taken long before
    the hub listens on it."""
    with _giving:
        while True:
            port = random.randrange(20_000, 32_000)
            with socket.socket() as probe:
                if port not in _given and probe.connect_ex(("127.0.0.1", port)) != 0:
                    _given.add(port)
                    return port


class Socket(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("localhost", timeout=60)
        self.path = str(path)

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(60)
        self.sock.connect(self.path)


class Trial:
    """Plays one case through."""

    def __init__(self, template, case, home):
        self.template, self.case, self.home = template, case, home
        state, self.hub_from, owners = template.fleets[case.fleet]
        self.owners = owners.copy()
        self.port = own_port()
        self.clock = FakeClock(home / "box.clock")
        self.box = Box(template.programs, home / "b", settings=SETTINGS, environment=self.clock.environment)
        self.box.port = own_port()
        self.box.settings["listen"]["tcp"] = f"127.0.0.1:{self.box.port}"
        self.box.write_config()
        shutil.copytree(state, self.box.state)
        path = self.box.state / "enrolment.json"
        path.write_text(path.read_text().replace(f":{template.port}", f":{self.port}"))
        self.metadata = home / "hub" / "repo" / "metadata"
        self.director = home / "hub" / "repo" / "director"
        self.hub = None
        # The true time at which the box comes back, as an offset to the real clock.
        self.away = case.days * DAY

    # What the box shows.

    def request(self, method, path, body=None, token=None):
        connection = http.client.HTTPConnection("127.0.0.1", self.box.port, timeout=60) if token else Socket(self.box.socket)
        try:
            headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {token}"} if token else {})
            connection.request(method, path, json.dumps(body).encode() if body is not None else None, headers)
            reply = connection.getresponse()
            text = reply.read().decode()
            return reply.status, text
        finally:
            connection.close()

    def get(self, path):
        status, text = self.request("GET", path)
        assert status == 200, text
        return json.loads(text)

    def sync(self):
        """The outcome, or the error."""
        status, text = self.request("POST", "/skerry/v1/sync")
        assert status == 200, text
        return json.loads(text.strip().splitlines()[-1])

    def records(self, kind):
        entries = self.get("/skerry/v1/audit?limit=10000")["entries"]
        return [e for e in entries if e["kind"] == kind]

    def doubts(self):
        return [e.get("doubt") or "right" for e in self.records("clock") if e["event"] in ("doubted", "right")]

    def versions(self):
        models = self.get("/skerry/v1/models")["models"]
        return {m["version"]: m["state"] for m in models}

    # The box alone.

    def wall(self):
        """The box's clock as an offset to the real one."""
        return {"right": self.away, "back": self.away, "1970": -int(time.time()) + 3 * DAY,
                "ahead": self.away + TEN_YEARS}[self.case.clock]

    def alone(self):
        case = self.case
        self.clock.set(self.wall())
        self.box.daemon.start()
        wait_for("the agent answers", lambda: self.get("/skerry/v1/status"), 30, 0.02)
        doubt = {"right": None, "back": None, "1970": "behind", "ahead": "ahead"}[case.clock]
        self.look(doubt, case.days if doubt is None else 0)
        if case.clock == "back":
            # The hour's token has ended by now, and a clock that goes back does not bring it to life.
            self.clock.set(-int(time.time()) + 3 * DAY)
            self.look("behind", 0)
            self.expect_token(alive=case.days == 0)
        else:
            self.expect_token(alive=doubt is not None or case.days == 0)

    def look(self, doubt, days):
        """What must hold while the box reckons that so many days have passed since its last sync."""
        case = self.case
        status = self.get("/skerry/v1/status")
        assert status["clock"]["doubt"] == doubt, status["clock"]
        reckoned = status["clock"]["time"] - self.template.start
        assert abs(reckoned - days * DAY) < 3600, f"reckons with {reckoned / DAY} days"
        expired = sorted(r for r in ROLES if days >= LIFE[r])
        refused = case.fleet == "stale" and days >= LIFE["timestamp"] + 20
        assert [r for r in status["freshness"]["expired"] if "/" not in r] == expired
        assert status["freshness"]["state"] == ("refused" if refused else "stale" if expired else "fresh")
        assert self.versions() == {"1.0.0": "active"}
        model = self.get("/skerry/v1/models")["models"][0]
        assert model["freshness"] == status["freshness"]["state"]
        checked, text = self.request("POST", f"/skerry/v1/models/{MODEL}/verify")
        assert checked == 200 and json.loads(text)["ok"], text
        answered, text = self.request("POST", "/v1/chat/completions", ASK)
        # There is no engine here: one that is not allowed is told from one that does not start.
        code = json.loads(text)["error"]["code"]
        assert answered == 503 and code == ("model_stale" if refused else "engine_unavailable"), text
        if refused:
            assert "skerry sync" in text
            assert any(e.get("outcome") == "failed" and "policy" in e.get("reason", "") for e in self.records("inference"))
        report = self.get("/skerry/v1/report")
        assert report["clock"].get("doubt") == doubt
        found = {f["id"] for f in report["findings"]}
        assert ("clock-wrong" in found) == (doubt is not None)
        assert ("metadata-expired" in found) == (bool(expired) and not refused) and ("models-stale" in found) == refused

        def told():
            told = self.doubts()
            return (told[-1] if told else "right") == (doubt or "right")
        wait_for("the audit log knows what is to know of the clock", told, 10, 0.02)

    def expect_token(self, alive):
        status, text = self.request("GET", "/v1/models", token=self.template.hour)
        assert status == (200 if alive else 401), text
        assert alive or "expired" in text

    # The hub, back.

    def world(self):
        """What the hub has by now. Returns the offset of the hub's clock: one that can't sign afresh is a hub whose clock
        stands, or somebody who kept its files."""
        case, now = self.case, int(time.time()) + self.away
        shutil.copytree(self.hub_from, self.home / "hub")
        expires = {"root": now + 300 * DAY, "targets": now + 80 * DAY, "snapshot": now + 80 * DAY, "timestamp": now + 6 * DAY}
        over = now - case.late * DAY
        if case.expired in ROLES:
            expires[case.expired] = over
        key = None
        if case.newKey:
            key = Key.new()
            self.write_online(key)
        if case.missed or case.expired or case.days + 80 > LIFE["root"]:
            self.owners.rotate(self.metadata, max(case.missed, 1), expires["root"], keys=key)
            self.owners.rotate_director(self.director, over if case.expired == "director/root" else now + 300 * DAY)
        self.owners.renew(self.metadata, 10, expires, signed_at=now)
        # The hub signs again what has half of its life behind it. One that has let something expire is a hub whose clock
        # stands, or somebody who kept its files.
        signs = {"timestamp": 4, "snapshot": 46, "director/timestamp": 4, "director/snapshot": 46, "director/targets": 46}
        if case.expired.startswith("director/") and case.expired in signs:
            folder = self.director / self.template.device
            shutil.rmtree(folder, ignore_errors=True)
            shutil.copytree(self.template.said, folder)
            theirs = {**expires, case.expired.split("/")[1]: over}
            self.owners.renew(folder, 10, theirs, signed_at=now, targets_key=self.owners.online)
        return self.away - (case.late + signs[case.expired]) * DAY if case.expired in signs else self.away

    def write_online(self, key):
        from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
        path = self.home / "hub" / "keys" / "online.key"
        path.write_bytes(key.private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))

    def serve(self, offset):
        if self.hub:
            self.hub.stop()
        self.hub = Serving(self.template, self.home / "hub", self.port, self.home / "hub.clock", offset)

    def back(self):
        case = self.case
        self.serve(self.world())
        before = len(self.get("/skerry/v1/audit?limit=10000")["entries"])
        done = self.sync()
        grace = case.fleet == "grace" and case.late < 10
        if case.expired and not grace:
            said = done["error"]["message"] if done["event"] == "error" else str(done["outcome"]["failures"])
            assert "expired" in said, done
            assert self.versions() == {"1.0.0": "active"}, "something came in on expired metadata"
            role = case.expired if "/" in case.expired else f"image/{case.expired}"
            assert {(a["attack"], a["role"]) for a in self.records("attack")} == {("freeze", role)}
        else:
            assert done["event"] == "done" and done["outcome"]["failures"] == [], done
            assert done["outcome"]["activated"] == [f"{MODEL}:2.0.0"], done
            assert self.records("attack") == []
            assert bool(self.records("grace")) == bool(case.expired)
        assert len(self.get("/skerry/v1/audit?limit=10000")["entries"]) > before
        # What the clock shows is not made true by a hub that is there.
        doubt = {"right": None, "1970": "behind", "back": "behind", "ahead": "ahead"}[case.clock]
        status = self.get("/skerry/v1/status")
        assert status["clock"]["doubt"] == doubt, status["clock"]
        if not case.expired or case.clock == "right":
            assert abs(status["clock"]["time"] - time.time() - self.away) < 3600, "it does not know what time it is"

    def recovered(self):
        case, now = self.case, int(time.time()) + self.away
        self.clock.set(self.away)
        if case.expired:
            self.owners.rotate(self.metadata, 1, now + 300 * DAY)
            self.owners.rotate_director(self.director, now + 300 * DAY)
            self.owners.renew(self.metadata, 10, {r: now + 5 * DAY for r in ROLES}, signed_at=now)
            self.serve(self.away)
        done = self.sync()
        assert done["event"] == "done" and done["outcome"]["failures"] == [], done
        wait_for("the newest model alone", lambda: {v for v, s in self.versions().items() if s == "active"} == {"2.0.0"}, 10)
        status = self.get("/skerry/v1/status")
        assert status["clock"]["doubt"] is None and status["clock"]["refused"] is None
        assert status["freshness"]["state"] == "fresh", status["freshness"]
        expected = {"right": [], "1970": ["behind", "right"], "back": ["behind", "right"], "ahead": ["ahead", "right"]}
        wait_for("the doubt is over in the audit log", lambda: self.doubts() == expected[case.clock], 10, 0.02)
        checked, text = self.request("POST", f"/skerry/v1/models/{MODEL}/verify")
        assert checked == 200 and json.loads(text)["ok"], text
        self.expect_token(alive=case.days == 0)
        code = json.loads(self.request("POST", "/v1/chat/completions", ASK)[1])["error"]["code"]
        assert code == "engine_unavailable"

    def play(self):
        try:
            self.alone()
            self.back()
            self.recovered()
            self.box.daemon.stop()
        except BaseException as error:
            error.add_note(f"{self.case.id}\n{self.box.daemon.tail(40)}\n{self.hub.daemon.tail(10) if self.hub else ''}")
            raise
        finally:
            self.box.daemon.kill()
            if self.hub:
                self.hub.stop()


def chosen():
    """All cases, or for a quick look every Nth (SKERRY_TIME_EVERY)."""
    return CASES[::int(os.environ.get("SKERRY_TIME_EVERY", "1"))]


@pytest.fixture(scope="module")
def results(programs, tmp_path_factory):
    """Every case's outcome: nil, or what went wrong."""
    home = tmp_path_factory.mktemp("time")
    template = Template(programs, home)
    pool = concurrent.futures.ThreadPoolExecutor(2)

    def run(case):
        # Short, for the sockets' sake, and gone afterwards.
        place = pathlib.Path(tempfile.mkdtemp(prefix="skt-"))
        try:
            Trial(template, case, place).play()
        except Exception as error:  # told by the test of the case
            return error
        finally:
            shutil.rmtree(place, ignore_errors=True)
    outcomes = {case: pool.submit(run, case) for case in chosen()}
    yield outcomes
    pool.shutdown(wait=True, cancel_futures=True)


@pytest.mark.parametrize("case", chosen(), ids=lambda c: c.id)
def test_time(results, case):
    error = results[case].result()
    if error is not None:
        raise error


def test_the_matrix_is_large_enough():
    assert len(set(CASES)) == len(CASES) >= 200


def test_a_real_engine_answers_whatever_the_clock_shows(programs, hub, tmp_path):
    clock = FakeClock(tmp_path / "clock")
    box = enrolled(programs, hub, tmp_path / "b", settings=SETTINGS, environment=clock.environment)
    try:
        app = box.token("app", "chat")
        # The engine starts under a clock that is far ahead, and goes on under the others.
        for offset in (TEN_YEARS, 3 * DAY - int(time.time()), 400 * DAY, TEN_YEARS):
            clock.set(offset)
            status, _, body = box.request("POST", "/v1/chat/completions", ASK, app)
            assert status == 200 and json.loads(body)["choices"], body
        assert box.status()["clock"]["doubt"] == "ahead"
        shown = box.skerry("status").stdout
        assert "NOT BELIEVED" in shown and "set the clock" in shown
        exported = tmp_path / "log.jsonl"
        box.skerry("audit", "export", "--output", exported)
        assert call([programs.skerry, "audit", "verify", exported]).returncode == 0
    finally:
        print(box.daemon.tail(40))
        box.daemon.kill()
