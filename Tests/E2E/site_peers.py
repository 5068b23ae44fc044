"""Stand-ins for a box's surroundings: a hub's line that counts and is narrow, and neighbours that lie or hang."""

import datetime
import json
import os
import socket
import ssl
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.x509.oid import NameOID


class Line:
    """The way from a site to its hub: counts what comes down, and lets only so much a second through."""

    def __init__(self, target, bytes_per_second):
        self.target, self.rate = target, bytes_per_second
        self.down, self.free = 0, 0.0
        self.lock = threading.Lock()
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=256)
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                near, _ = self.listener.accept()
            except OSError:
                return
            try:
                far = socket.create_connection(("127.0.0.1", self.target))
            except OSError:
                near.close()
                continue
            threading.Thread(target=self.pump, args=(near, far, False), daemon=True).start()
            threading.Thread(target=self.pump, args=(far, near, True), daemon=True).start()

    def pump(self, source, sink, is_down):
        try:
            while data := source.recv(1 << 16):
                if is_down:
                    with self.lock:
                        self.down += len(data)
                        now = time.monotonic()
                        start = max(self.free, now)
                        self.free = start + len(data) / self.rate
                    time.sleep(max(0, start - now))
                sink.sendall(data)
        except OSError:
            pass
        for end in (source, sink):
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def close(self):
        self.listener.close()


def write_key(path):
    """A device key where an agent looks for its own; the public half as hexadecimal digits."""
    key = Ed25519PrivateKey.generate()
    path.parent.mkdir(parents=True, mode=0o700, exist_ok=True)
    path.write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
                                       serialization.NoEncryption()))
    path.chmod(0o600)
    return key.public_key().public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw).hex()


class Liar:
    """A neighbour with the right key that claims to have everything and sends noise."""

    def __init__(self, port, key_path, folder):
        key = serialization.load_pem_private_key(key_path.read_bytes(), None)
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "liar")])
        start = datetime.datetime(2020, 1, 1)
        made = (x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
                .serial_number(7).not_valid_before(start).not_valid_after(start.replace(year=2090)).sign(key, None))
        certificate = folder / "liar.pem"
        certificate.write_bytes(made.public_bytes(serialization.Encoding.PEM))
        liar = self
        self.chunks = 0

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def reply(self, status, body):
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def do_POST(self):
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                if self.path.endswith("/session"):
                    return self.reply(200, json.dumps({"session": "s" * 32}).encode())
                self.reply(200, json.dumps({"index": json.loads(body)["index"], "state": "whole"}).encode())

            def do_GET(self):
                if "/chunks/" not in self.path:
                    return self.reply(404, b"{}")
                liar.chunks += 1
                self.reply(200, os.urandom(40_000))

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key_path)
        self.server.socket = context.wrap_socket(self.server.socket, server_side=True, do_handshake_on_connect=False)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()


class Hanging:
    """Takes every connection and never says a word."""

    def __init__(self, port):
        self.listener = socket.create_server(("127.0.0.1", port), backlog=256)
        self.held = []
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                self.held.append(self.listener.accept()[0])
            except OSError:
                return

    def close(self):
        self.listener.close()
        for connection in self.held:
            connection.close()
