"""Publishing to a store that speaks S3: moto's server, which checks every signature with botocore's own computation.

It has two prefixes to publish to and one user with a key; whoever signs otherwise is refused.
"""

import json
import os
import random
import shutil
import socket
import subprocess
import sys
import threading
import time
import urllib.request

import boto3
import pytest
from botocore.config import Config
from publisher import SKERRY, Repository, answer, skerry
from tiny_gguf import gguf
from tuf.api.exceptions import DownloadHTTPError
from tuf.ngclient import FetcherInterface, Updater

BUCKET = "models"
POLICY = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:*", "Resource": "*"}]}


class Store:
    def __init__(self, port):
        self.url = f"http://127.0.0.1:{port}"

    def client(self, service):
        return boto3.client(service, endpoint_url=self.url, region_name="eu-north-1", aws_access_key_id=self.key,
                            aws_secret_access_key=self.secret, config=Config(s3={"addressing_style": "path"}))

    def place(self, prefix):
        return f"{self.url}/{BUCKET}/{prefix}"

    @property
    def environment(self):
        return {"AWS_ACCESS_KEY_ID": self.key, "AWS_SECRET_ACCESS_KEY": self.secret, "AWS_REGION": "eu-north-1"}


@pytest.fixture(scope="module")
def store():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = subprocess.Popen([sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
                              stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    made = Store(port)
    try:
        for _ in range(300):
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                assert server.poll() is None
                time.sleep(0.1)
        made.key = made.secret = "setup"
        made.client("s3").create_bucket(
            Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": "eu-north-1"})
        iam = made.client("iam")
        iam.create_user(UserName="publisher")
        iam.put_user_policy(UserName="publisher", PolicyName="all", PolicyDocument=json.dumps(POLICY))
        key = iam.create_access_key(UserName="publisher")["AccessKey"]
        made.key, made.secret = key["AccessKeyId"], key["SecretAccessKey"]
        # From here on every request must be signed by a key that the store knows.
        strict = urllib.request.Request(made.url + "/moto-api/reset-auth", b"0", {"Content-Type": "text/plain"})
        urllib.request.urlopen(strict).close()
        yield made
    finally:
        server.terminate()
        server.wait(20)


@pytest.fixture
def repository(tmp_path):
    made = Repository(tmp_path)
    made.add(gguf(tmp_path / "tiny.gguf"))
    return made


class StoreFetcher(FetcherInterface):
    """python-tuf's client over boto3."""

    def __init__(self, store):
        self.s3 = store.client("s3")

    def _fetch(self, url):
        try:
            yield self.s3.get_object(Bucket=BUCKET, Key=url.split("/", 3)[3])["Body"].read()
        except self.s3.exceptions.NoSuchKey:
            raise DownloadHTTPError(f"no {url}", 404) from None


def reader(store, prefix, state, root):
    state.mkdir(exist_ok=True)
    updater = Updater(str(state), f"http://store/{prefix}/metadata/", fetcher=StoreFetcher(store), bootstrap=root.read_bytes())
    updater.refresh()
    return updater


def fetched(store, prefix, folder):
    """The prefix as a folder."""
    s3 = store.client("s3")
    for page in s3.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=prefix + "/"):
        for item in page.get("Contents", []):
            path = folder / item["Key"].removeprefix(prefix + "/")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(s3.get_object(Bucket=BUCKET, Key=item["Key"])["Body"].read())
    return folder


def test_a_repository_goes_to_a_bucket(store, repository, tmp_path):
    place = ["repo", "publish", repository.path, "--s3", store.place("one/two")]
    first = answer(*place, environment=store.environment)
    assert first["chunksSent"] == first["chunks"] > 0
    assert answer(*place, environment=store.environment)["chunksSent"] == 0
    there = fetched(store, "one/two", tmp_path / "there")
    assert answer("repo", "check", there, "--root", repository.root())["models"] == 1
    assert reader(store, "one/two", tmp_path / "state", repository.root()).get_targetinfo("models/tiny/1.0.0/tiny.gguf")
    times = {o["Key"]: o["LastModified"] for o in store.client("s3").list_objects_v2(Bucket=BUCKET, Prefix="one/")["Contents"]}
    assert times["one/two/metadata/timestamp.json"] == max(times.values())
    head = store.client("s3").head_object(Bucket=BUCKET, Key="one/two/metadata/timestamp.json")
    assert head["CacheControl"] == "no-cache" and head["ContentType"] == "application/json"
    # A chunk that somebody cut short is sent again.
    chunk = next(key for key in times if key.endswith(".cacnk"))
    store.client("s3").put_object(Bucket=BUCKET, Key=chunk, Body=b"x")
    assert answer(*place, environment=store.environment)["chunksSent"] == 1


def test_many_chunks_are_listed_page_by_page(store, tmp_path):
    made = Repository(tmp_path)
    made.add(gguf(tmp_path / "big.gguf", floats=20_000_000), "big")
    place = ["repo", "publish", made.path, "--s3", store.place("many")]
    first = answer(*place, environment=store.environment, limit=300)
    assert first["chunksSent"] > 1000
    assert answer(*place, environment=store.environment)["chunksSent"] == 0


def test_what_is_foreign_newer_or_forked_is_left_alone(store, repository, tmp_path):
    prefix = store.place("kept")
    old, fork = tmp_path / "old", tmp_path / "fork"
    shutil.copytree(repository.path, old)
    repository("remove", "tiny")
    shutil.copytree(old, fork)
    publish = lambda path, **more: skerry("repo", "publish", path, "--s3", prefix, environment=store.environment, **more)
    publish(repository.path)
    before = {p.name: p.read_bytes() for p in fetched(store, "kept", tmp_path / "a").rglob("*.json")}
    publish(old, status=65, says="rollback")
    skerry("repo", "renew", fork, "--keys", repository.keys)
    publish(fork, status=65, says="other content")
    (tmp_path / "b").mkdir()
    other = Repository(tmp_path / "b")
    publish(other.path, status=65, says="another repository")
    assert {p.name: p.read_bytes() for p in fetched(store, "kept", tmp_path / "c").rglob("*.json")} == before
    store.client("s3").put_object(Bucket=BUCKET, Key="stray/metadata/timestamp.json", Body=b"{}")
    skerry("repo", "publish", other.path, "--s3", store.place("stray"), environment=store.environment, status=65,
           says="another repository")


def test_who_may_not_write_is_told_why(store, repository):
    def publish(place, status, says, **environment):
        skerry("repo", "publish", repository.path, "--s3", place, status=status, says=says,
               environment={**store.environment, **environment})

    publish(store.place("x"), 77, "SignatureDoesNotMatch", AWS_SECRET_ACCESS_KEY="x" * 40)
    publish(store.place("x"), 77, "InvalidAccessKeyId", AWS_ACCESS_KEY_ID="AKIAIOSFODNN7EXAMPLE")
    publish(store.place("x"), 64, "AWS_SECRET_ACCESS_KEY is not set", AWS_SECRET_ACCESS_KEY="")
    publish(f"{store.url}/nowhere/x", 66, "NoSuchBucket")
    publish("ftp://127.0.0.1/a/b", 64, "--s3 takes")
    publish("http://127.0.0.1", 64, "--s3 takes")
    publish("http://127.0.0.1:9/a/b", 69, "127.0.0.1")
    assert "Contents" not in store.client("s3").list_objects_v2(Bucket=BUCKET, Prefix="x/")


@pytest.mark.parametrize("kind", ["folder", "s3"])
def test_a_reader_never_sees_half(store, tmp_path, kind):
    """Publishes are killed at random moments while python-tuf's client reads; new states come with rotated keys too."""
    made = Repository(tmp_path)
    prefix, www = f"half-{kind}", tmp_path / "www"
    place = ["--to", str(www)] if kind == "folder" else ["--s3", store.place(prefix)]
    words = [SKERRY, "repo", "publish", str(made.path), *place]
    skerry(*words[1:], environment=store.environment)
    first = tmp_path / "first.root.json"
    shutil.copy(made.root(), first)
    failures, counts, stop = [], [], threading.Event()

    def read():
        from publisher import ngclient
        at = 0
        while not stop.is_set():
            at += 1
            # Some go on from what they trust, some come for the first time.
            state = tmp_path / (f"new-{at}" if at % 3 == 0 else "state")
            try:
                client = ngclient(www / "metadata", state, first) if kind == "folder" else reader(store, prefix, state, first)
                counts.append(len(client._trusted_set.targets.targets))
            except Exception as error:  # noqa: BLE001
                failures.append(repr(error))

    thread = threading.Thread(target=read)
    thread.start()
    chance = random.Random(3)
    try:
        for step in range(6):
            made.add(gguf(tmp_path / f"m{step}.gguf", seed=step, floats=200_000), f"m{step}")
            if step in (1, 3, 5):
                role = {1: "timestamp", 3: "targets", 5: "snapshot"}[step]
                made.key(f"new{step}")
                made("rotate", role, "--new", f"new{step}")
            for _ in range(4):
                process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                                           env={**os.environ, **store.environment})
                time.sleep(chance.uniform(0.01, 0.4))
                process.kill()
                process.wait()
            skerry(*words[1:], environment=store.environment)
    finally:
        stop.set()
        thread.join(60)
    assert not failures, failures[:3]
    assert len(counts) > 10 and counts[-1] == 6 and counts == sorted(counts)
