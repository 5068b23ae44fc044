"""A hub seen through a proxy that holds the hub's own key, counts what each box fetches, and can break the line."""

import collections
import http.client
import json
import socket
import ssl
import threading
import time

from box import Hub, call, free_port, wait_for


class CountingHub(Hub):
    """Boxes talk to the proxy, which is at the hub's address; the hub itself listens behind it."""

    def __init__(self, programs, home):
        super().__init__(programs, home)
        self.behind = free_port()
        self.bodies = collections.Counter()
        self.requests = collections.Counter()
        self.connections = 0
        self.lock = threading.Lock()
        self.open = set()
        self.server = None
        self.sizes = {}
        # Bytes of content after which `trouble` is called, once; None: never.
        self.left = self.trouble = None
        self.troubled = threading.Event()
        self.first = self.last = None

    def init(self):
        out = call([self.programs.hub, "init", "--state", self.state, "--url", self.url,
                    "--listen", f"127.0.0.1:{self.behind}", "--json"]).stdout
        self.facts = json.loads(out)
        self.admin = ["--hub", f"https://127.0.0.1:{self.behind}", "--pin", self.facts["pin"],
                      "--admin-token-file", self.facts["adminTokenFile"]]
        return self.facts

    def start(self):
        if self.server is None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(self.state / "keys/tls.crt", self.state / "keys/tls.key")
            self.context = context
            self.server = socket.create_server(("127.0.0.1", self.port), backlog=64)
            threading.Thread(target=self.accept, daemon=True).start()
        self.daemon.start()
        wait_for("the hub listens", self.listening, 20)
        return self

    def listening(self):
        self.daemon.check()
        with socket.create_connection(("127.0.0.1", self.behind), 1):
            return True

    def accept(self):
        while True:
            try:
                connection, _ = self.server.accept()
            except OSError:
                return
            threading.Thread(target=self.serve, args=(connection,), daemon=True).start()

    def serve(self, raw):
        upstream = tls = None
        try:
            raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            raw.settimeout(60)
            tls = self.context.wrap_socket(raw, server_side=True)
            with self.lock:
                self.open.add(tls)
                self.connections += 1
            reader = tls.makefile("rb")
            unchecked = ssl.create_default_context()
            unchecked.check_hostname, unchecked.verify_mode = False, ssl.CERT_NONE
            while True:
                line = reader.readline(65536)
                if not line.strip():
                    return
                method, target, _ = line.decode().split(" ", 2)
                headers = {}
                while (field := reader.readline(65536)).strip():
                    name, value = field.decode().split(":", 1)
                    headers[name.strip().lower()] = value.strip()
                body = reader.read(int(headers.get("content-length", 0)))
                if upstream is None:
                    upstream = http.client.HTTPSConnection("127.0.0.1", self.behind, timeout=120, context=unchecked)
                upstream.putrequest(method, target, skip_host=True, skip_accept_encoding=True)
                for name, value in headers.items():
                    upstream.putheader(name, value)
                upstream.endheaders(body or None)
                reply = upstream.getresponse()
                answer = reply.read()
                head = f"HTTP/1.1 {reply.status} {reply.reason}\r\n"
                for name, value in reply.getheaders():
                    if name.lower() not in ("connection", "transfer-encoding", "content-length"):
                        head += f"{name}: {value}\r\n"
                tls.sendall((head + f"Content-Length: {len(answer)}\r\n\r\n").encode())
                self.send(tls, target, answer)
        except (OSError, ValueError, http.client.HTTPException):
            pass
        finally:
            with self.lock:
                self.open.discard(tls)
            for end in (upstream, tls, raw):
                try:
                    if end:
                        end.close()
                except OSError:
                    pass

    def send(self, tls, target, answer):
        content = any(part in target for part in ("/repo/chunks/", "/repo/indexes/", "/repo/targets/"))
        with self.lock:
            if content:
                self.sizes[target] = max(len(answer), self.sizes.get(target, 0))
        for at in range(0, len(answer), 16384):
            piece = answer[at:at + 16384]
            if content:
                trouble = None
                with self.lock:
                    now = time.monotonic()
                    self.first, self.last = self.first or now, now
                    if self.left is not None:
                        self.left -= len(piece)
                        if self.left <= 0:
                            self.left, trouble = None, self.trouble
                if trouble:
                    trouble()
                    self.troubled.set()
                with self.lock:
                    if tls not in self.open:
                        raise OSError("cut")
                    self.bodies[target] += len(piece)
            tls.sendall(piece)
        if content:
            with self.lock:
                self.requests[target] += 1

    def arm(self, after, trouble):
        """Calls `trouble` once so many further bytes of content have gone to boxes."""
        self.troubled.clear()
        with self.lock:
            self.left, self.trouble = after, trouble

    def cut(self):
        """Every connection ends at once."""
        with self.lock:
            connections, self.open = self.open, set()
        for tls in connections:
            try:
                socket.socket.shutdown(tls, socket.SHUT_RDWR)
            except OSError:
                pass

    def twice(self, part="/repo/chunks/"):
        """Bytes of content that travelled more than once."""
        with self.lock:
            return sum(count - self.sizes[target] for target, count in self.bodies.items()
                       if part in target and count > self.sizes[target])

    @property
    def total(self):
        with self.lock:
            return sum(self.bodies.values())

    def forget(self):
        with self.lock:
            self.bodies.clear()
            self.requests.clear()
            self.connections, self.first, self.last = 0, None, None
            # What an earlier test armed and did not come to is none of the next one's.
            self.left = None

    def close(self):
        if self.server:
            self.server.close()
        self.daemon.kill()
