"""What leaves the box: evidence for one entry, the log in other people's forms, collectors, the witness. All of it checked by
other people's code, and forged."""

import base64
import csv
import datetime
import hashlib
import http.server
import json
import os
import re
import signal
import socket
import ssl
import subprocess
import threading
import urllib.error
import urllib.request

import jsonschema
import pytest
from box import MODEL, call, flip_bit, free_port, wait_for
from conftest import serving
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from google.protobuf import json_format
from ocsf_json_schema import OcsfJsonSchemaEmbedded, get_ocsf_schema
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from syslog_rfc5424_parser import SyslogMessage

TLOG = os.environ.get("SKERRY_TLOG_PEER")


@pytest.fixture(scope="module")
def box(mock_programs, tmp_path_factory):
    with serving(mock_programs, tmp_path_factory.mktemp("x"), settings={"engine": {"sandbox": "off"}}) as box:
        for number in range(150):
            box.request("POST", "/v1/chat/completions", token=box.app,
                        body={"model": MODEL, "messages": [{"role": "user", "content": f'=cmd(), "{number}"\n<1>'}]})
        box.request("GET", "/skerry/v1/audit", token=box.app)
        box.skerry("sync")
        box.keys = box.status()["keys"]
        yield box


def verify(box, *arguments, keys=True):
    given = ["--key", box.keys["device"], "--witness", box.keys["witness"]] if keys else []
    return call([box.programs.skerry, "audit", "verify", *arguments, *given], check=False)


def test_one_entry_is_proven_alone(box, tmp_path):
    denied = box.json("audit", "search", "--subject", "token:app", "--outcome", "denied", "--limit", "5")["entries"]
    assert denied and all(entry["actor"].startswith("token:app") and not entry["allowed"] for entry in denied)
    number = denied[-1]["n"]
    file = tmp_path / f"{number}.tlog-proof"
    said = box.json("audit", "prove", str(number), "-o", file)
    assert said["cosigned"] and said["hashes"] <= 24
    done = verify(box, file)
    assert done.returncode == 0 and "the witness saw it" in done.stdout and "token:app" in done.stdout
    # By hand, with nothing of ours.
    lines = file.read_text().split("\n")
    assert lines[0] == "c2sp.org/tlog-proof@v1" and lines[2] == f"index {number}"
    record = base64.b64decode(lines[1].removeprefix("extra "))
    assert json.loads(record) == denied[-1]
    gap = lines.index("")
    path = [base64.b64decode(line) for line in lines[3:gap]]
    size, root = int(lines[gap + 2]), base64.b64decode(lines[gap + 3])
    node, last, value = number, size - 1, hashlib.sha256(b"\0" + record).digest()
    for sibling in path:
        if node & 1 or node == last:
            value = hashlib.sha256(b"\1" + sibling + value).digest()
            while not node & 1 and node:
                node, last = node >> 1, last >> 1
        else:
            value = hashlib.sha256(b"\1" + value + sibling).digest()
        node, last = node >> 1, last >> 1
    assert value == root
    # Another record, another place, another key.
    forged = tmp_path / "forged.tlog-proof"
    for old, new in [(lines[1], "extra " + base64.b64encode(record.replace(b"token:app", b"token:xyz")).decode()),
                     (lines[2], f"index {number + 1}"), (lines[3], lines[4])]:
        forged.write_text(file.read_text().replace(old, new, 1))
        assert verify(box, forged).returncode == 65
    assert call([box.programs.skerry, "audit", "verify", file, "--key", box.keys["witness"]], check=False).returncode == 65
    assert box.skerry("audit", "prove", "9999999", check=False).returncode == 66


@pytest.mark.skipif(not TLOG, reason="SKERRY_TLOG_PEER is not set")
def test_tiles_are_read_by_go(box, tmp_path):
    folder = tmp_path / "tiles"
    box.skerry("audit", "export", "--format", "tiles", "-o", folder)
    assert (folder / "tile" / "entries" / "000").exists() and (folder / "tile" / "1" / "000.p" / "1").exists()
    go = [TLOG, "tiles", folder, box.keys["device"]]
    assert call(go).stdout.startswith("ok ")
    assert verify(box, folder).returncode == 0
    for path in [folder / "tile" / "entries" / "000", next((folder / "tile" / "entries" / "001.p").iterdir())]:
        good = path.read_bytes()
        path.write_bytes(good[:40] + bytes([good[40] ^ 1]) + good[41:])
        assert call(go, check=False).returncode == 1 and verify(box, folder).returncode == 65
        path.write_bytes(good)
    assert verify(box, folder).returncode == 0
    proof = tmp_path / "tiles.proof"
    good = proof.read_text()
    head = json.loads(good.splitlines()[0])["checkpoint"].split("\n\n")[0]
    assert (folder / "checkpoint").read_text().startswith(head + "\n\n")
    sha256 = json.loads(good.splitlines()[1])["sha256"]
    for changed in ["", good.replace(sha256, "0" * 64), good.replace("size", "sice", 1)]:
        proof.write_text(changed)
        assert verify(box, folder).returncode == 65
    # A part of the log has no tiles.
    assert box.skerry("audit", "export", "--format", "tiles", "--kind", "decision", "-o", tmp_path / "part",
                      check=False).returncode == 65


def export(box, tmp_path, form, *options):
    file = tmp_path / f"log.{form}"
    box.skerry("audit", "export", "--format", form, "-o", file, *options)
    return file


def records(box, tmp_path):
    """What the log holds, as our own export has it up to now."""
    file = tmp_path / "own.jsonl"
    box.skerry("audit", "export", "-o", file)
    return [json.loads(line)["record"] for line in file.read_text().splitlines()[1:]]


def test_ocsf_events_are_valid(box, tmp_path):
    file = export(box, tmp_path, "ocsf")
    schema = OcsfJsonSchemaEmbedded(get_ocsf_schema(version="1.8.0"))
    validators, classes = {}, set()
    own = records(box, tmp_path)
    for line, record in zip(file.read_text().splitlines(), own):
        event = json.loads(line)
        uid = event["class_uid"]
        if uid not in validators:
            name = schema.lookup_class_name_from_uid(class_uid=uid)
            validators[uid] = jsonschema.Draft202012Validator(schema.get_class_schema(class_name=name, profiles=[]))
        validators[uid].validate(event)
        assert json.loads(event["raw_data"]) == record and event["time"] == record["t"]
        assert event["raw_data_hash"]["value"] == hashlib.sha256(event["raw_data"].encode()).hexdigest()
        classes.add(uid)
    assert {0, 6002, 6003} <= classes


def test_syslog_messages_are_rfc_5424(box, tmp_path):
    file = export(box, tmp_path, "syslog")
    lines = file.read_bytes().split(b"\n")[:-1]
    for line, record in zip(lines, records(box, tmp_path)):
        message = SyslogMessage.parse(line.decode())
        assert message.appname == "skerryd" and message.facility.name == "audit" and message.version == 1
        assert message.msgid == record["kind"] and message.sd["meta"]["sequenceId"] == str(record["n"] + 1)
        assert json.loads(message.msg.removeprefix("\ufeff")) == record
        assert datetime.datetime.fromisoformat(message.timestamp).timestamp() * 1000 == pytest.approx(record["t"])


def test_otlp_requests_are_protobufs(box, tmp_path):
    file = export(box, tmp_path, "otlp")
    found = []
    for line in file.read_text().splitlines():
        request = json_format.Parse(line, ExportLogsServiceRequest())
        found += [log for resource in request.resource_logs for scope in resource.scope_logs for log in scope.log_records]
    own = records(box, tmp_path)[:len(found)]
    assert [json.loads(log.body.string_value) for log in found] == own
    assert [log.time_unix_nano for log in found] == [record["t"] * 1_000_000 for record in own]


def test_csv_is_a_table_and_no_formula(box, tmp_path):
    file = export(box, tmp_path, "csv")
    with open(file, newline="") as text:
        rows = list(csv.DictReader(text, strict=True))
    own = records(box, tmp_path)[:len(rows)]
    assert [json.loads(row["record"]) for row in rows] == own and len(rows) > 300
    assert not [cell for row in rows for cell in row.values() if re.match(r"[=+\-@\t\r]", cell)]


@pytest.mark.parametrize("form", ["jsonl", "ocsf", "syslog", "otlp", "csv"])
def test_every_form_is_provable_and_every_forgery_shows(box, tmp_path, form):
    file = export(box, tmp_path, form, "--subject", "token:app")
    done = verify(box, file)
    assert done.returncode == 0, done.stderr
    assert "left out" in done.stdout and "not proven" in done.stdout
    good, proof = file.read_bytes(), tmp_path / f"log.{form}.proof"
    trailer = json.loads(proof.read_text().splitlines()[-1])
    assert trailer["sha256"] == hashlib.sha256(good).hexdigest() and trailer["bytes"] == len(good)
    # An edit of a record's own words, wherever the form has them.
    place = good.rindex(b"token:app")
    file.write_bytes(good[:place] + b"token:apx" + good[place + 9:])
    done = verify(box, file)
    assert done.returncode == 65 and re.search(r"entry \d+", done.stderr), done.stderr
    lines = good.split(b"\n")
    for changed in [lines[:-2] + [b""], lines[:3] + lines[2:], lines[:1] + lines[1:][::-1], [b""]]:
        file.write_bytes(b"\n".join(changed))
        assert verify(box, file).returncode == 65
    file.write_bytes(good)
    text = proof.read_text().splitlines(keepends=True)
    for changed in [text[:-1], text[:1] + text[2:], text[1:], [text[0].replace("token:app", "token:two")] + text[1:-1]]:
        proof.write_text("".join(changed))
        assert verify(box, file).returncode == 65
    # A record that is taken out of the file and stands in the proof instead is missing from the file all the same.
    if form not in ("otlp", "jsonl"):
        place, run = next((n, json.loads(line)) for n, line in enumerate(text) if '"hashes"' in line)
        lines = good.split(b"\n")
        taken = lines.pop(1 if form == "csv" else 0)
        file.write_bytes(b"\n".join(lines))
        record = next(r for r in records(box, tmp_path) if r["n"] == run["from"])
        assert json.dumps(record["kind"]).encode() in taken or record["kind"].encode() in taken
        moved = [{"hash": run["hashes"][0], "n": run["from"], "record": record},
                 {"from": run["from"] + 1, "hashes": run["hashes"][1:], "to": run["to"]}]
        last = {**trailer, "records": trailer["records"] - 1, "bytes": file.stat().st_size,
                "sha256": hashlib.sha256(file.read_bytes()).hexdigest()}

        def plain(value):
            return json.dumps(value, separators=(",", ":"), sort_keys=True, ensure_ascii=False) + "\n"
        proof.write_text("".join(text[:place] + [plain(v) for v in moved if v.get("hashes", 1)] + text[place + 1:-1])
                         + plain(last))
        done = verify(box, file)
        assert done.returncode == 65 and "left-out entries" in done.stderr, done.stderr
        file.write_bytes(good)
    proof.write_text("".join(text))
    assert verify(box, file).returncode == 0


def test_a_selection_is_provable_and_says_what_it_leaves_out(box, tmp_path):
    file = tmp_path / "part.jsonl"
    box.skerry("audit", "export", "-o", file, "--kind", "inference", "--model", MODEL)
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    assert lines[0]["selection"] == {"kind": "inference", "model": MODEL}
    found = [line["record"] for line in lines[1:] if "record" in line]
    assert {record["kind"] for record in found} == {"inference"} and len(found) >= 150
    verdict = json.loads(verify(box, file, "--json").stdout)
    assert verdict["valid"] and verdict["entriesRead"] == len(found)
    assert verdict["leftOut"] == verdict["size"] - len(found) > 0 and verdict["knownHead"] == "none"
    # With the head that the hub has, an older log would show.
    head = tmp_path / "head"
    head.write_text(box.hub.device(box.status()["deviceID"])["checkpoint"])
    whole = tmp_path / "whole.jsonl"
    box.skerry("audit", "export", "-o", whole)
    verdict = json.loads(verify(box, whole, "--json", "--head", head).stdout)
    assert verdict["knownHead"] == "contained" and verdict["valid"]
    # What stands beside an export is of this very export.
    os.replace(f"{file}.proof", f"{whole}.proof")
    done = verify(box, whole)
    assert done.returncode == 65 and "another export" in done.stderr
    os.unlink(f"{whole}.proof")
    assert verify(box, whole).returncode == 0


def test_a_cursor_goes_on_and_notices_another_log(box, tmp_path):
    cursor, seen = tmp_path / "cursor", []
    for number in range(3):
        file = tmp_path / f"{number}.jsonl"
        box.skerry("audit", "export", "-o", file, "--cursor", cursor)
        assert verify(box, file).returncode == 0
        seen += [line["n"] for line in map(json.loads, file.read_text().splitlines()[1:]) if "n" in line]
        box.skerry("role", "list")
    assert seen == list(range(len(seen))) and json.loads(cursor.read_text())["size"] == len(seen)
    for change in [{"root": "00" * 32}, {"size": 10 ** 9}, {"origin": "skerry/audit/" + "0" * 32}]:
        before = json.dumps({**json.loads(cursor.read_text()), **change})
        other = tmp_path / "other"
        other.write_text(before)
        done = box.skerry("audit", "export", "-o", tmp_path / "x.jsonl", "--cursor", other, check=False)
        assert done.returncode != 0 and other.read_text() == before and not (tmp_path / "x.jsonl").exists()


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """A self-signed certificate for 127.0.0.1 and its key."""
    import ipaddress
    folder = tmp_path_factory.mktemp("tls")
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "collector")])
    now = datetime.datetime.now(datetime.timezone.utc)
    made = (x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
            .serial_number(1).not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + datetime.timedelta(days=1))
            .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False)
            .add_extension(x509.BasicConstraints(True, None), True).sign(key, hashes.SHA256()))
    (folder / "cert.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    (folder / "key.pem").write_bytes(key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    return folder / "cert.pem", context


def test_syslog_over_tls(box, tmp_path, certificate):
    path, context = certificate
    got = []
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(30)

        def serve():
            plain, _ = server.accept()
            try:
                with context.wrap_socket(plain, server_side=True) as stream:
                    while piece := stream.recv(1 << 16):
                        got.append(piece)
            except ssl.SSLError:
                pass
        port = server.getsockname()[1]
        for trust in (True, False):
            thread = threading.Thread(target=serve)
            thread.start()
            options = ["--ca", path] if trust else []
            done = box.skerry("audit", "export", "--format", "syslog", "--to", f"tls://127.0.0.1:{port}",
                              "--subject", "token:app", "--json", *options, check=False)
            thread.join(30)
            if trust:
                assert done.returncode == 0, done.stderr
                sent = json.loads(done.stdout)["records"]
                received = b"".join(got)
            else:
                assert done.returncode == 69 and b"".join(got) == received
    messages = []
    while received:
        length, _, received = received.partition(b" ")
        messages.append(received[:int(length)].decode())
        received = received[int(length):]
    assert len(messages) == sent >= 300
    assert all(json.loads(SyslogMessage.parse(m).msg.removeprefix("\ufeff"))["actor"].startswith("token:app") for m in messages)


def test_otlp_over_http_and_a_collector_that_fails(box, tmp_path):
    got, answers = [], []

    class Collector(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            status, reply = answers.pop(0) if answers else (200, b"{}")
            if status == 200:
                got.append((self.path, json_format.Parse(body, ExportLogsServiceRequest())))
            self.send_response(status)
            self.send_header("Content-Length", str(len(reply)))
            self.end_headers()
            self.wfile.write(reply)

        def log_message(self, *_):
            pass
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Collector)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        cursor = tmp_path / "cursor"
        command = ["audit", "export", "--format", "otlp", "--cursor", cursor, "--to",
                   f"http://127.0.0.1:{server.server_port}/v1/logs"]
        answers += [(503, b"")]
        assert box.skerry(*command, check=False).returncode == 75 and not cursor.exists()
        answers += [(200, b'{"partialSuccess":{"rejectedLogRecords":"3"}}')]
        assert box.skerry(*command, check=False).returncode == 65 and not cursor.exists()
        got.clear()
        box.skerry(*command)
        size = json.loads(cursor.read_text())["size"]

        def bodies():
            return [json.loads(log.body.string_value)["n"] for _, request in got for resource in request.resource_logs
                    for scope in resource.scope_logs for log in scope.log_records]
        assert bodies() == list(range(size)) and {path for path, _ in got} == {"/v1/logs"}
        box.skerry(*command)
        assert bodies() == list(range(json.loads(cursor.read_text())["size"])) and len(bodies()) > size
    finally:
        server.shutdown()
    assert box.skerry("audit", "export", "--format", "otlp", "--to", f"http://127.0.0.1:{free_port()}/v1/logs",
                      check=False).returncode == 69


def test_a_tail_shows_entries_as_they_are_written(box):
    tail = subprocess.Popen([box.programs.skerry, "--socket", str(box.socket), "audit", "tail", "--json",
                             "--subject", "token:app", "--from", "0", "--kind", "inference"],
                            stdout=subprocess.PIPE, text=True)
    try:
        first = [json.loads(tail.stdout.readline()) for _ in range(150)]
        box.request("POST", "/v1/chat/completions", token=box.app,
                    body={"model": MODEL, "messages": [{"role": "user", "content": "now"}]})
        last = json.loads(tail.stdout.readline())
        assert last["n"] > first[-1]["n"] and last["kind"] == "inference"
    finally:
        tail.terminate()
        tail.wait(10)


def test_the_hub_is_a_witness_to_any_client(box):
    """C2SP tlog-witness, spoken by hand and with no signature of a request."""
    pinned = ssl.create_default_context()
    pinned.check_hostname, pinned.verify_mode = False, ssl.CERT_NONE

    def add(body):
        request = urllib.request.Request(box.hub.url + "/v1/audit/add-checkpoint", body.encode(), method="POST")
        try:
            with urllib.request.urlopen(request, context=pinned, timeout=20) as reply:
                return reply.status, reply.headers, reply.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.headers, error.read().decode()
    head = box.skerry("audit", "head").stdout
    status, headers, body = add(f"old 0\n\n{head}")
    assert status == 409 and headers["Content-Type"] == "text/x.tlog.size" and re.fullmatch(r"[1-9]\d*\n", body)
    size = int(body)
    box.skerry("sync")
    head = box.skerry("audit", "head").stdout
    current = int(head.split("\n")[1])
    assert current > size
    # The head that the box signed for this very sync is cosigned already, or a newer one is to come.
    now = int(add(f"old 0\n\n{head}")[2])
    assert now > size
    status, _, _ = add(f"old {current + 1}\n\n{head}")
    assert status == 400
    if current > now:
        assert add(f"old {now}\n{base64.b64encode(bytes(32)).decode()}\n\n{head}")[0] == 422
    flipped = head[:-3] + ("A" if head[-3] != "A" else "B") + head[-2:]
    assert add(f"old 0\n\n{flipped}")[0] in (400, 403)
    assert add("old 0\n\n" + head.replace("skerry/audit/", "skerry/other/"))[0] == 404
    assert add("nonsense")[0] == 400


def test_every_record_is_valid_by_the_published_schema(mock_programs, tmp_path):
    """A box that is used in every way, and its whole log held to `skerry audit schema` by other people's code."""
    schema = json.loads(call([mock_programs.skerry, "audit", "schema"]).stdout)
    jsonschema.Draft202012Validator.check_schema(schema)
    kinds = {name: jsonschema.Draft202012Validator({"$ref": f"#/$defs/{name}", "$defs": schema["$defs"]})
             for name in schema["$defs"]}
    with serving(mock_programs, tmp_path, settings={"engine": {"sandbox": "off"}}) as box:
        ask = {"model": MODEL, "messages": [{"role": "user", "content": "hello\n{\"kind\":\"stop\"}"}]}
        assert box.request("POST", "/v1/chat/completions", token=box.app, body=ask)[0] == 200
        evil = {**ask, "model": "\u2028\u202e\"x\\<y>"}
        assert box.request("POST", "/v1/chat/completions", token=box.app, body=evil)[0] in (400, 403, 404)
        assert box.request("GET", "/skerry/v1/status", token="skt_nobody")[0] == 401
        box.skerry("role", "bind", "chat", "uid:4000000001")
        box.skerry("token", "revoke", "app")
        assert box.skerry("break-glass", "open", "--reason", "a long night", check=False,
                          input="AAAAA-AAAAA-AAAAA-AAAAA-AAAAA-AAAAA\n").returncode != 0
        box.hub.daemon.stop()
        assert box.skerry("sync", check=False).returncode != 0
        settings = box.config.read_text()
        box.config.write_text("{nonsense: 1}")
        box.daemon.process.send_signal(signal.SIGHUP)
        wait_for("the refusal is on record", lambda: b'"kind":"reload"' in (box.state / "audit/log.jsonl").read_bytes(), 10)
        box.config.write_text(settings)
        box.daemon.stop()
        # The weights rot, and somebody sets the clock while the agent is off.
        blob = box.blob()
        blob.chmod(0o600)
        flip_bit(blob, 4096)
        clock = json.loads((box.state / "time.json").read_text())
        (box.state / "time.json").write_text(json.dumps({**clock, "lead": clock["lead"] - 3600}))
        box.start()
        token = box.token("other", "chat")
        box.request("POST", "/v1/chat/completions", token=token, body=ask)
        file = tmp_path / "all.jsonl"
        box.skerry("audit", "export", "-o", file)
    seen = set()
    lines = file.read_bytes().split(b"\n")[1:-1]
    assert len(lines) == len(file.read_text().splitlines()) - 1, "Python sees more lines than there are"
    for line in lines:
        record = json.loads(line)["record"]
        kinds[record["kind"]].validate(record)
        assert "cut" not in record, record
        seen.add(record["kind"])
    step = [r for r in (json.loads(line)["record"] for line in lines) if r["kind"] == "clock" and r["event"] == "step"]
    assert [round(r["seconds"] / 60) for r in step] == [60]
    print(sorted(seen), "not", sorted(set(kinds) - seen))
    assert {"start", "stop", "reload", "decision", "inference", "role", "token", "enroll", "sync", "model", "clock",
            "break-glass", "store"} <= seen
    # What is not as it must be is not valid.
    good = json.loads(lines[0])["record"]
    for bad in [{**good, "v": 1}, {**good, "kind": "other"}, {**good, "extra": 1}, {**good, "actor": "a\u2028b"},
                {**good, "actor": "x" * 513}, {k: v for k, v in good.items() if k != "actor"}]:
        assert not jsonschema.Draft202012Validator(schema).is_valid(bad), bad
