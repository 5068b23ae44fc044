"""Chunks both ways: Debian's casync reads what Skerry publishes, and Skerry reads what casync makes."""

import functools
import hashlib
import http.server
import json
import os
import pathlib
import random
import shutil
import subprocess
import threading

import pytest
from tiny_gguf import gguf

SKERRY = os.environ.get("SKERRY_BIN") or str(pathlib.Path(__file__).resolve().parents[2] / ".build/debug/skerry")


def run(*words, status=0):
    done = subprocess.run([str(w) for w in words], capture_output=True, text=True, stdin=subprocess.DEVNULL)
    assert done.returncode == status, (words, done.stdout, done.stderr)
    return done.stdout


def casync(*words, store):
    return run("casync", "--digest=sha256", "--compression=zstd", f"--store={store}", *words)


def zstd(frame):
    """Decompressed by the system's own libzstd."""
    import ctypes
    library = ctypes.CDLL("libzstd.so.1")
    library.ZSTD_decompress.restype = ctypes.c_size_t
    out = ctypes.create_string_buffer(1 << 20)
    size = library.ZSTD_decompress(out, ctypes.c_size_t(len(out)), frame, ctypes.c_size_t(len(frame)))
    assert size <= len(out), "no zstd frame"
    return out.raw[:size]


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """A repository of three models: noise, a repetition with zeros in it, and one that is shorter than a chunk."""
    home = tmp_path_factory.mktemp("casync")
    repo, keys = home / "repo", home / "keys"
    run(SKERRY, "repo", "init", repo, "--keys", keys, "--no-passphrase")
    files = {"noise": gguf(home / "noise.gguf", floats=1_000_000), "tiny": gguf(home / "tiny.gguf", floats=1000)}
    mixed = gguf(home / "mixed.gguf", floats=600_000, seed=5)
    whole = bytearray(mixed.read_bytes())
    whole[400_000:1_300_000] = bytes(900_000)
    whole[1_500_000:1_900_000] = whole[100_000:500_000]
    mixed.write_bytes(whole)
    files["mixed"] = mixed
    for name, file in files.items():
        run(SKERRY, "repo", "add", repo, file, "--keys", keys, "--name", name, "--version", "1")
    targets = json.loads(run(SKERRY, "repo", "status", repo, "--json"))["targets"]
    indexes = {t["custom"]["skerry"]["name"]: repo / "indexes" / (t["custom"]["skerry"]["index"]["sha256"] + ".caibx")
               for t in targets}
    return home, repo, files, indexes


@pytest.fixture
def server(published):
    """The repository behind Python's own static web server."""
    requests = []

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            requests.append(self.path)

    handler = functools.partial(Handler, directory=published[1])
    httpd = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=httpd.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{httpd.server_address[1]}", requests
    httpd.shutdown()
    httpd.server_close()


@pytest.mark.parametrize("name", ["noise", "mixed", "tiny"])
def test_casync_reads_what_we_write(published, tmp_path, name):
    _, repo, files, indexes = published
    casync("extract", indexes[name], tmp_path / "out.gguf", store=repo / "chunks")
    assert (tmp_path / "out.gguf").read_bytes() == files[name].read_bytes()


@pytest.mark.parametrize("name", ["noise", "mixed", "tiny"])
def test_both_write_the_same_index_and_the_same_chunks(published, tmp_path, name):
    _, repo, files, indexes = published
    casync("make", tmp_path / "x.caibx", files[name], store=tmp_path / "x.castr")
    assert (tmp_path / "x.caibx").read_bytes() == indexes[name].read_bytes()
    theirs = sorted(p.relative_to(tmp_path / "x.castr") for p in (tmp_path / "x.castr").rglob("*.cacnk"))
    assert theirs
    for chunk in theirs:
        ours = zstd((repo / "chunks" / chunk).read_bytes())
        assert ours == zstd((tmp_path / "x.castr" / chunk).read_bytes())
        assert hashlib.sha256(ours).hexdigest() == chunk.stem


def test_we_read_what_casync_writes(published, tmp_path):
    """The signed metadata stays; every index and chunk behind it is casync's own."""
    home, repo, files, indexes = published
    other = tmp_path / "repo"
    shutil.copytree(repo / "metadata", other / "metadata")
    (other / "indexes").mkdir()
    for name, file in files.items():
        casync("make", other / "indexes" / indexes[name].name, file, store=other / "chunks")
    checked = json.loads(run(SKERRY, "repo", "check", other, "--root", repo / "metadata/1.root.json", "--json"))
    assert checked["models"] == 3
    # And it sees when one of them is not what it was.
    chunk = random.Random(3).choice(sorted((other / "chunks").rglob("*.cacnk")))
    good = chunk.read_bytes()
    chunk.write_bytes(good[:-9] + bytes([good[-9] ^ 4]) + good[-8:])
    run(SKERRY, "repo", "check", other, "--root", repo / "metadata/1.root.json", status=65)


def test_a_static_server_serves_casync_and_us(published, server, tmp_path):
    _, repo, files, indexes = published
    url, requests = server
    casync("extract", f"{url}/indexes/{indexes['noise'].name}", tmp_path / "out.gguf", store=f"{url}/chunks")
    assert (tmp_path / "out.gguf").read_bytes() == files["noise"].read_bytes()
    checked = json.loads(run(SKERRY, "repo", "check", url, "--root", repo / "metadata/1.root.json", "--json"))
    assert checked["models"] == 3 and requests


def test_a_seed_spares_casync_our_chunks(published, server, tmp_path):
    """The chunks that casync finds in an older file are those that Skerry would."""
    _, repo, files, indexes = published
    url, requests = server
    older = tmp_path / "older.gguf"
    content = bytearray(files["noise"].read_bytes())
    content[2_000_000:2_000_100] = bytes(100)
    older.write_bytes(content)
    del requests[:]
    casync("extract", f"--seed={older}", f"{url}/indexes/{indexes['noise'].name}", tmp_path / "out.gguf",
           store=f"{url}/chunks")
    assert (tmp_path / "out.gguf").read_bytes() == files["noise"].read_bytes()
    assert 1 <= sum("/chunks/" in r for r in requests) <= 3


def test_a_whole_file_is_a_target_that_any_client_fetches(published, tmp_path):
    home, _, files, _ = published
    repo, keys = tmp_path / "repo", tmp_path / "keys"
    run(SKERRY, "repo", "init", repo, "--keys", keys, "--no-passphrase")
    run(SKERRY, "repo", "add", repo, files["noise"], "--keys", keys, "--name", "noise", "--version", "1", "--no-chunks")
    target = json.loads(run(SKERRY, "repo", "status", repo, "--json"))["targets"][0]
    assert "index" not in target["custom"]["skerry"]
    digest = hashlib.sha256(files["noise"].read_bytes()).hexdigest()
    # As TUF's consistent snapshots have it (specification 1.0, section 5.7).
    place = repo / "targets/models/noise/1" / f"{digest}.noise.gguf"
    assert place.read_bytes() == files["noise"].read_bytes()
    assert json.loads(run(SKERRY, "repo", "check", repo, "--json"))["models"] == 1
    run(SKERRY, "repo", "publish", repo, "--to", tmp_path / "www")
    root = repo / "metadata/1.root.json"
    assert json.loads(run(SKERRY, "repo", "check", tmp_path / "www", "--root", root, "--json"))["models"] == 1

    from tuf.ngclient import Updater
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=tmp_path / "www")
    handler.log_message = lambda *_: None
    httpd = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=httpd.serve_forever, daemon=True).start()
    try:
        url = f"http://127.0.0.1:{httpd.server_address[1]}"
        (tmp_path / "state").mkdir()
        (tmp_path / "got").mkdir()
        updater = Updater(metadata_dir=str(tmp_path / "state"), metadata_base_url=f"{url}/metadata/",
                          target_dir=str(tmp_path / "got"), target_base_url=f"{url}/targets/",
                          bootstrap=root.read_bytes())
        updater.refresh()
        found = updater.get_targetinfo("models/noise/1/noise.gguf")
        assert pathlib.Path(updater.download_target(found)).read_bytes() == files["noise"].read_bytes()
        assert json.loads(run(SKERRY, "repo", "check", url, "--root", root, "--json"))["models"] == 1
    finally:
        httpd.shutdown()
        httpd.server_close()
    for damage in (b"", place.read_bytes()[:-1], place.read_bytes()[:-1] + b"x"):
        (tmp_path / "www" / place.relative_to(repo)).write_bytes(damage)
        run(SKERRY, "repo", "check", tmp_path / "www", "--root", root, status=65)
