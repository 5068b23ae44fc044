"""Starts real hubs and agents in a folder of their own, for the demo, the tests and the benchmarks.

Everything listens on loopback or on Unix sockets, and is stopped by the process that started it.
"""

import atexit
import http.client
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
MODEL = "smollm2-135m"


class Failed(Exception):
    """Something did not go as it should; the message is for a person."""


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def wait_for(what, check, seconds, step=0.05):
    """Calls check until it returns something true; its last exception is told when time runs out."""
    deadline = time.monotonic() + seconds
    last = None
    while time.monotonic() < deadline:
        try:
            result = check()
            if result:
                return result
        except (OSError, Failed, http.client.HTTPException, ValueError, KeyError) as error:
            last = error
        time.sleep(step)
    raise Failed(f"{what}: not within {seconds} s" + (f" ({last})" if last else ""))


class Programs:
    """The three programs, the engine and the weights."""

    def __init__(self, skerryd, skerry, hub, engine, weights):
        self.skerryd, self.skerry, self.hub = str(skerryd), str(skerry), str(hub)
        self.engine, self.weights = str(engine), str(weights)

    @classmethod
    def from_environment(cls):
        e = os.environ
        return cls(e["SKERRYD_BIN"], e["SKERRY_BIN"], e["SKERRY_HUB_BIN"],
                   e["SKERRY_LLAMA_SERVER"], e["SKERRY_TEST_WEIGHTS"])


class Daemon:
    """A child process with its log in a file."""

    def __init__(self, name, argv, log, environment=None):
        self.name, self.argv, self.log, self.environment = name, argv, log, environment
        self.process = None

    def start(self):
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(self.argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                            env={**os.environ, **(self.environment or {})}, start_new_session=True)
        return self

    @property
    def running(self):
        return self.process is not None and self.process.poll() is None

    def check(self):
        if not self.running:
            raise Failed(f"{self.name} ended by itself:\n{self.tail()}")

    def stop(self, seconds=15):
        if not self.running:
            return
        self.process.terminate()
        try:
            self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise Failed(f"{self.name} did not stop within {seconds} s of SIGTERM")

    def kill(self):
        """kill -9, the way a power cut looks to a process."""
        if self.running:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()

    def tail(self, lines=20):
        try:
            return "\n".join(open(self.log, errors="replace").read().splitlines()[-lines:])
        except OSError:
            return "(no log)"


def call(argv, check=True, **options):
    """Runs a program to its end; raises Failed with what it said unless check is False."""
    done = subprocess.run([str(a) for a in argv], capture_output=True, text=True, **options)
    if check and done.returncode != 0:
        raise Failed(f"{os.path.basename(str(argv[0]))} {' '.join(map(str, argv[1:3]))} ended with "
                     f"{done.returncode}:\n{done.stdout}{done.stderr}".rstrip())
    return done


class Hub:
    """A hub on loopback with TLS, and a publisher whose offline keys lie in another folder."""

    def __init__(self, programs, home):
        self.programs, self.home = programs, pathlib.Path(home)
        self.home.mkdir(parents=True, exist_ok=True)
        self.state, self.repo, self.keys = self.home / "hub", self.home / "publisher", self.home / "offline-keys"
        self.port = free_port()
        self.url = f"https://127.0.0.1:{self.port}"
        self.daemon = Daemon("skerry-hub", [programs.hub, "serve", "--state", self.state], self.home / "hub.log")
        self.facts = None

    def init(self):
        out = call([self.programs.hub, "init", "--state", self.state, "--url", self.url,
                    "--listen", f"127.0.0.1:{self.port}", "--json"]).stdout
        self.facts = json.loads(out)
        self.admin = ["--hub", self.url, "--pin", self.facts["pin"], "--admin-token-file", self.facts["adminTokenFile"]]
        return self.facts

    def start(self):
        self.daemon.start()
        wait_for("the hub listens", self.listening, 20)
        return self

    def listening(self):
        self.daemon.check()
        with socket.create_connection(("127.0.0.1", self.port), 1):
            return True

    def create_repository(self):
        self.passphrase = self.home / "passphrase"
        self.passphrase.write_text("only the publisher knows\n")
        self.passphrase.chmod(0o600)
        call([self.programs.skerry, "repo", "init", self.repo, "--keys", self.keys,
              "--online-key", self.facts["onlineKey"], "--passphrase-file", self.passphrase])

    def add_model(self, weights=None, name=MODEL, version="1.0.0", *options):
        call([self.programs.skerry, "repo", "add", self.repo, weights or self.programs.weights, "--keys", self.keys,
              "--name", name, "--version", version, "--publisher", "Skerry demo", "--license", "Apache-2.0",
              "--passphrase-file", self.passphrase, *options])

    def publish(self):
        call([self.programs.skerry, "repo", "publish", self.repo, *self.admin])

    def token(self):
        out = call([self.programs.skerry, "hub", "token", "create", "--json", *self.admin]).stdout
        return json.loads(out)["token"]

    def device(self, device_id):
        return json.loads(call([self.programs.skerry, "hub", "device", "show", device_id, "--json", *self.admin]).stdout)

    def ready(self):
        """From nothing to a hub that serves one signed model."""
        self.init()
        self.start()
        self.create_repository()
        self.add_model()
        self.publish()
        return self


class Box:
    """An agent in a folder of its own."""

    def __init__(self, programs, home, name="demo-box", settings=None, environment=None):
        self.programs, self.home, self.name = programs, pathlib.Path(home), name
        self.environment = environment
        (self.home / "etc" / "policies").mkdir(parents=True, exist_ok=True)
        self.state = self.home / "lib"
        # A socket's path may not be longer than 107 bytes.
        self.run = self.home / "run"
        if len(str(self.run)) > 60:
            self.run = pathlib.Path(tempfile.mkdtemp(prefix="skerry-run-"))
            atexit.register(shutil.rmtree, self.run, ignore_errors=True)
        self.run.mkdir(exist_ok=True)
        self.socket = self.run / "skerry.sock"
        self.port = free_port()
        self.config = self.home / "etc" / "agent.json5"
        shutil.copy(ROOT / "policies" / "roles.json5", self.home / "etc" / "policies")
        self.settings = {
            "name": name, "stateDirectory": str(self.state), "runtimeDirectory": str(self.run),
            "policyDirectory": str(self.home / "etc" / "policies"),
            "listen": {"socket": str(self.socket), "tcp": f"127.0.0.1:{self.port}"},
            "engine": {"path": programs.engine, "contextTokens": 2048, "slots": 2},
        }
        for key, value in (settings or {}).items():
            self.settings[key] = {**self.settings.get(key, {}), **value} if isinstance(value, dict) else value
        self.write_config()
        self.daemon = Daemon("skerryd", [programs.skerryd, "--config", self.config], self.home / "agent.log",
                             environment)

    def write_config(self):
        self.config.write_text(json.dumps(self.settings, indent=2))

    def start(self, seconds=20):
        self.daemon.start()
        wait_for("the agent answers", self.status, seconds)
        return self

    def skerry(self, *arguments, check=True, **options):
        return call([self.programs.skerry, "--socket", self.socket, *arguments], check=check, **options)

    def json(self, *arguments):
        return json.loads(self.skerry(*arguments, "--json").stdout)

    def status(self):
        self.daemon.check()
        return self.json("status")

    def request(self, method, path, body=None, token=None, headers=None, timeout=120):
        """(status, headers, bytes) over loopback TCP."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        try:
            sent = {"Content-Type": "application/json", **(headers or {})}
            if token:
                sent["Authorization"] = f"Bearer {token}"
            data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
            connection.request(method, path, data, sent)
            reply = connection.getresponse()
            return reply.status, dict(reply.getheaders()), reply.read()
        finally:
            connection.close()

    def stream(self, path, body, token, timeout=120):
        """Yields the lines of a streamed answer as they come."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        try:
            connection.request("POST", path, json.dumps(body).encode(),
                               {"Content-Type": "application/json", "Authorization": f"Bearer {token}"})
            reply = connection.getresponse()
            if reply.status != 200:
                raise Failed(f"{path} answered {reply.status}: {reply.read().decode(errors='replace')}")
            for line in reply:
                yield line.decode().rstrip("\r\n")
        finally:
            connection.close()

    def token(self, name, role):
        return self.json("token", "create", name, "--role", role)["token"]

    def blob(self):
        """The stored weights of the only model."""
        blobs = [p for p in (self.state / "registry" / "blobs").rglob("*") if p.is_file()]
        if len(blobs) != 1:
            raise Failed(f"expected one stored model, found {len(blobs)}")
        return blobs[0]


def flip_bit(path, offset):
    with open(path, "r+b") as file:
        file.seek(offset)
        byte = file.read(1)[0]
        file.seek(offset)
        file.write(bytes([byte ^ 1]))
