"""Ten boxes of one site fetch a model once between them, whatever some of them do."""

import concurrent.futures
import hashlib
import json
import pathlib
import socket
import ssl
import sys

import pytest
from box import Box, Hub, flip_bit, free_port, wait_for
from site_peers import Hanging, Liar, Line, write_key

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "Peers"))
from tiny_gguf import gguf  # noqa: E402

BOXES = 10
FLOATS = 3_000_000
LINE = 6_000_000


def together(work, items):
    with concurrent.futures.ThreadPoolExecutor(len(items)) as pool:
        return list(pool.map(work, items))


@pytest.fixture(scope="module")
def site(programs, tmp_path_factory):
    """A hub behind a line that counts; ten boxes that know each other; and a stranger who knows them."""
    home = tmp_path_factory.mktemp("site")
    hub = Hub(programs, home / "h")
    line = Line(hub.port, LINE)
    hub.url = f"https://127.0.0.1:{line.port}"
    hub.init()
    hub.start()
    hub.create_repository()
    hub.publish()
    ports = [free_port() for _ in range(BOXES + 1)]
    homes = [home / f"b{n}" for n in range(BOXES + 1)]
    keys = [write_key(h / "lib" / "keys" / "device.key") for h in homes]
    neighbours = [{"name": f"box-{n}", "address": f"127.0.0.1:{ports[n]}", "key": keys[n]} for n in range(BOXES)]
    boxes = [Box(programs, homes[n], name=f"box-{n}", settings={
        "sync": {"probeSeconds": 60, "intervalSeconds": 86400},
        "site": {"listen": f"127.0.0.1:{ports[n]}", "neighbours": neighbours, "maxConnections": 512},
    }) for n in range(BOXES + 1)]
    try:
        together(lambda box: box.start(60), boxes)
        together(lambda box: box.skerry("enroll", hub.token()), boxes)
        together(lambda box: box.skerry("sync"), boxes)
        site = type("Site", (), {})()
        site.hub, site.line, site.home, site.ports, site.homes = hub, line, home, ports, homes
        site.keys, site.boxes, site.stranger = keys, boxes[:BOXES], boxes[BOXES]
        yield site
    finally:
        for box in boxes:
            print(box.name, box.daemon.tail(12))
            box.daemon.kill()
        hub.daemon.kill()
        line.close()


def publish(site, name, seed):
    file = gguf(site.home / f"{name}.gguf", floats=FLOATS, seed=seed)
    site.hub.add_model(file, name=name)
    site.hub.publish()
    return file.stat().st_size, hashlib.sha256(file.read_bytes()).hexdigest()


def holds(box, digest):
    blob = box.state / "registry" / "blobs" / "sha256" / digest
    return blob.exists() and hashlib.sha256(blob.read_bytes()).hexdigest() == digest


def taken_from(box, name):
    return next(n["takenBytes"] for n in box.json("site")["neighbours"] if n["name"] == name)


def test_ten_boxes_fetch_one_copy(site):
    size, digest = publish(site, "first", 1)
    before = site.line.down
    together(lambda box: box.skerry("sync"), site.boxes)
    copies = (site.line.down - before) / size
    print(f"ten boxes: {copies:.3f} copies of {size} bytes over the line")
    assert all(holds(box, digest) for box in site.boxes)
    shares = [box.json("site") for box in site.boxes]
    chunks = sum(share["hubBytes"] for share in shares) / size
    print(f"of these {chunks:.3f} are chunks; the rest is indexes, metadata, reports and TLS")
    assert copies <= 1.1
    assert all(n["lies"] == 0 and n["state"] == "reachable" for share in shares for n in share["neighbours"])
    taken = sum(n["takenBytes"] for share in shares for n in share["neighbours"])
    assert taken >= 8.5 * size
    assert sum(n["servedBytes"] for share in shares for n in share["neighbours"]) >= taken * 0.99
    # For people: what goes into the others' configuration, and who gave what.
    text = site.boxes[3].skerry("site").stdout
    assert f'key: "{site.keys[3]}"' in text and f"127.0.0.1:{site.ports[3]}, serving" in text
    assert "box-4" in text and "box-3 " not in text


def test_one_is_killed_one_lies_one_hangs_one_is_a_stranger(site):
    size, digest = publish(site, "second", 2)
    killed, hung, false = site.boxes[9], site.boxes[8], site.boxes[7]
    honest = site.boxes[:7]
    given = {box.name: taken_from(box, "box-7") for box in honest}
    hung.daemon.stop()
    false.daemon.stop()
    liar = Liar(site.ports[7], site.homes[7] / "lib" / "keys" / "device.key", site.home)
    hanging = Hanging(site.ports[8])
    before = site.line.down
    try:
        with concurrent.futures.ThreadPoolExecutor(12) as pool:
            # Killed in the middle: its own command fails.
            pool.submit(lambda: killed.skerry("sync", check=False))
            lone = pool.submit(lambda: site.stranger.skerry("sync"))
            running = [pool.submit(lambda box=box: box.skerry("sync")) for box in honest]
            wait_for("the transfer is under way", lambda: site.line.down - before > size * 0.4, 60)
            killed.daemon.kill()
            for future in [*running, lone]:
                future.result()
        assert all(holds(box, digest) for box in [*honest, site.stranger])
        # The stranger is refused by all and fetches for itself.
        status = site.stranger.json("site")
        assert sum(n["takenBytes"] for n in status["neighbours"]) == 0
        assert status["hubBytes"] >= size
        copies = (site.line.down - before - status["hubBytes"]) / size
        print(f"killed, lying, hanging: {copies:.3f} copies of {size} bytes over the line, beside the stranger's own")
        # What the killed one had fetched for all, and a hundredth for the stranger's metadata and TLS.
        assert copies <= 1.2
        for box in honest:
            false_one = next(n for n in box.json("site")["neighbours"] if n["name"] == "box-7")
            assert false_one["lies"] >= 1 and false_one["takenBytes"] == given[box.name] and false_one["restsSeconds"] > 0
            records = [json.loads(line) for line in (box.state / "audit" / "log.jsonl").read_text().splitlines()]
            attacks = [r for r in records if r["kind"] == "attack"]
            assert [a["attack"] for a in attacks] == ["lying-neighbour"] and "box-7" in attacks[0]["reason"]
        # What was under way when the first lie showed.
        assert liar.chunks <= 8 * 12
    finally:
        liar.close()
        hanging.close()

    # The killed one goes on where it stopped, and the line carries none of it.
    before = site.line.down
    killed.start(60)
    killed.skerry("sync")
    assert holds(killed, digest)
    print(f"the killed one afterwards: {site.line.down - before} bytes over the line")
    assert site.line.down - before < size * 0.03


def test_without_the_hub_a_neighbour_mends(site):
    box, digest = site.boxes[2], hashlib.sha256((site.home / "first.gguf").read_bytes()).hexdigest()
    site.hub.daemon.stop()
    try:
        flip_bit(box.state / "registry" / "blobs" / "sha256" / digest, 5_000_000)
        assert box.skerry("model", "verify", "first", check=False).returncode != 0
        assert box.skerry("sync", check=False).returncode == 69
        wait_for("a neighbour mended it", lambda: holds(box, digest), 30)
        wait_for("it is active", lambda: all(m["state"] == "active" for m in box.status()["models"]), 10)
    finally:
        site.hub.start()


def test_a_listener_says_nothing_to_strangers(site):
    port = site.ports[0]
    # Plain HTTP, and TLS before 1.3.
    with socket.create_connection(("127.0.0.1", port), 5) as plain:
        plain.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        plain.settimeout(10)
        try:
            assert b"HTTP" not in plain.recv(4096)
        except ConnectionError:
            pass
    old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    old.check_hostname, old.verify_mode = False, ssl.CERT_NONE
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    with socket.create_connection(("127.0.0.1", port), 5) as raw, pytest.raises((ssl.SSLError, ConnectionError)):
        old.wrap_socket(raw)
    # The certificate holds the device key that the box prints.
    new = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    new.check_hostname, new.verify_mode = False, ssl.CERT_NONE
    with socket.create_connection(("127.0.0.1", port), 5) as raw, new.wrap_socket(raw) as secure:
        assert secure.version() == "TLSv1.3"
        assert bytes.fromhex(site.keys[0]) in secure.getpeercert(binary_form=True)
        secure.sendall(b"GET /site/v1/x HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        answer = b""
        while data := secure.recv(4096):
            answer += data
    assert answer.startswith(b"HTTP/1.1 401") and b"skerry" not in answer.lower()
