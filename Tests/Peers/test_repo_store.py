"""What a publisher's folder and a hub keep and what they collect; LoRA adapters made by llama.cpp's gguf-py."""

import hashlib
import json
import os
import shutil
import time

import pytest
from lora_gguf import adapter
from test_repo import HUB, Repository, answer, skerry
from tiny_gguf import gguf


def files(repository):
    chunks = {p.name for p in (repository.path / "chunks").rglob("*.cacnk")}
    return chunks, {p.name for p in (repository.path / "indexes").iterdir()}


def age(path, seconds):
    then = time.time() - seconds
    for file in [path, *path.rglob("*")]:
        os.utime(file, (then, then), follow_symlinks=False)


@pytest.fixture
def repository(tmp_path):
    made = Repository(tmp_path)
    made.add(gguf(tmp_path / "one.gguf", 200_000, seed=1), "one")
    made.add(gguf(tmp_path / "two.gguf", 200_000, seed=2), "two")
    return made


def remove(repository, name):
    skerry("repo", "remove", repository.path, name, "--keys", repository.keys)


def gc(repository, *options):
    if "1s" in options:
        time.sleep(2.1)
    return answer("repo", "gc", repository.path, *options)


def test_removed_models_go_after_the_grace_period_and_others_stay(repository, tmp_path):
    chunks, indexes = files(repository)
    alone = Repository(tmp_path / "alone")
    alone.add(tmp_path / "one.gguf", "one")
    kept_chunks, kept_indexes = files(alone)
    assert gc(repository, "--grace", "1s")["chunks"] == 0
    remove(repository, "two")
    # A reader may still be at the list before this one.
    age(repository.path / "chunks", 8 * 86_400)
    age(repository.path / "indexes", 8 * 86_400)
    assert gc(repository)["chunks"] == 0
    assert files(repository) == (chunks, indexes)
    age(repository.path / "metadata", 8 * 86_400)
    told = gc(repository, "--dry-run")
    assert told["chunks"] == len(chunks - kept_chunks) > 3 and told["indexes"] == 1 and told["dryRun"]
    assert files(repository) == (chunks, indexes)
    done = gc(repository)
    assert {**done, "dryRun": True} == told
    assert files(repository) == (kept_chunks, kept_indexes)
    assert gc(repository)["chunks"] == 0
    skerry("repo", "check", repository.path)


def test_young_chunks_of_an_unfinished_publication_stay(repository):
    remove(repository, "two")
    age(repository.path / "metadata", 8 * 86_400)
    before = files(repository)
    # The chunks are of this moment: somebody may be about to sign a list that names them.
    assert gc(repository)["chunks"] == 0
    assert files(repository) == before
    assert gc(repository, "--grace", "1s")["chunks"] > 0


def test_staged_metadata_counts(repository):
    two = files(repository)
    remove(repository, "two")
    newest = max(repository.path.glob("metadata/*.targets.json"), key=lambda p: int(p.name.split(".")[0]))
    with_two = newest.with_name(f"{int(newest.name.split('.')[0]) - 1}.targets.json")
    (repository.path / "staged").mkdir(exist_ok=True)
    shutil.copy(with_two, repository.path / "staged" / "99.targets.json")
    assert gc(repository, "--grace", "1s")["chunks"] == 0
    assert files(repository) == two
    shutil.rmtree(repository.path / "staged")
    assert gc(repository, "--grace", "1s")["indexes"] == 1


def test_nothing_goes_when_nobody_knows_what_is_needed(repository):
    remove(repository, "two")
    before, _ = files(repository)
    newest = max(repository.path.glob("metadata/*.targets.json"), key=lambda p: int(p.name.split(".")[0]))
    listed = json.loads(newest.read_bytes())["signed"]["targets"]["models/one/1.0.0/one.gguf"]
    index = repository.path / "indexes" / (listed["custom"]["skerry"]["index"]["sha256"] + ".caibx")
    good = index.read_bytes()
    index.write_bytes(good[:-1] + b"x")
    time.sleep(2.1)
    skerry("repo", "gc", repository.path, "--grace", "1s", status=65, says="missing or damaged")
    index.unlink()
    skerry("repo", "gc", repository.path, "--grace", "1s", status=65)
    assert files(repository)[0] == before
    index.write_bytes(good)
    assert gc(repository, "--grace", "1s")["chunks"] > 0
    skerry("repo", "gc", repository.path / "chunks", status=66, says="no repository")


def test_a_stopped_hub_collects(tmp_path):
    state = tmp_path / "hub"
    import subprocess
    subprocess.run([HUB, "init", "--state", state, "--url", "https://127.0.0.1:1"], check=True, capture_output=True)
    stray = hashlib.sha256(b"x").hexdigest()
    chunk = state / "repo" / "chunks" / stray[:4] / f"{stray}.cacnk"
    chunk.parent.mkdir()
    chunk.write_bytes(b"x")
    mark = state / "repo" / "verified" / stray
    mark.touch()

    def collect(*options):
        time.sleep(2.1)
        done = subprocess.run([HUB, "gc", "--state", state, "--json", *options], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)
    assert collect()["chunks"] == 0 and chunk.exists(), "an upload of this moment"
    assert collect("--grace", "1s", "--dry-run")["chunks"] == 1 and chunk.exists()
    assert collect("--grace", "1s")["chunks"] == 1 and not chunk.exists()
    assert not mark.exists(), "the hub believes that the chunks are there"


# LoRA adapters


def test_an_adapter_names_its_base_by_digest(repository, tmp_path):
    lora = adapter(tmp_path / "lora.gguf")
    add = ["repo", "add", repository.path, lora, "--keys", repository.keys, "--name", "french", "--version", "1"]
    skerry(*add, status=65, says="--adapter --base")
    skerry(*add, "--adapter", status=64, says="go together")
    skerry(*add, "--adapter", "--base", "nothing:1", status=66, says="no model nothing:1")
    skerry(*add, "--adapter", "--base", "one:1.0.0")
    newest = max(repository.path.glob("metadata/*.targets.json"), key=lambda p: int(p.name.split(".")[0]))
    fields = json.loads(newest.read_bytes())["signed"]["targets"]["models/french/1/lora.gguf"]["custom"]["skerry"]
    assert fields["kind"] == "adapter"
    assert fields["base"] == {"sha256": hashlib.sha256((tmp_path / "one.gguf").read_bytes()).hexdigest()}
    skerry("repo", "check", repository.path)
    # A model is no adapter, an adapter no base, and another architecture no match.
    skerry("repo", "add", repository.path, gguf(tmp_path / "m.gguf"), "--keys", repository.keys, "--name", "m",
           "--version", "1", "--adapter", "--base", "one:1.0.0", status=65, says="it is a model")
    other = adapter(tmp_path / "other.gguf", seed=2)
    again = ["repo", "add", repository.path, other, "--keys", repository.keys, "--name", "more", "--version", "1"]
    skerry(*again, "--adapter", "--base", "french:1", status=65, says="adapter itself")
    strange = adapter(tmp_path / "strange.gguf", architecture="qwen2")
    skerry("repo", "add", repository.path, strange, "--keys", repository.keys, "--name", "s", "--version", "1",
           "--adapter", "--base", "one:1.0.0", status=65, says="qwen2")
    # A base that another repository lists goes by its digest.
    skerry(*again, "--adapter", "--base", "ab" * 32)
