"""A publisher's folder, keys and verbs, for the tests of `skerry repo`; and python-tuf's client over a folder."""

import json
import os
import pathlib
import subprocess

from tuf.api.exceptions import DownloadHTTPError
from tuf.ngclient import FetcherInterface, Updater, UpdaterConfig

SKERRY = os.environ.get("SKERRY_BIN") or str(pathlib.Path(__file__).resolve().parents[2] / ".build/debug/skerry")


def skerry(*words, status=0, says=None, environment=None, limit=120):
    done = subprocess.run([SKERRY, *map(str, words)], capture_output=True, text=True, stdin=subprocess.DEVNULL,
                          env={**os.environ, **(environment or {})}, timeout=limit)
    assert done.returncode == status, (words, done.returncode, done.stdout, done.stderr)
    if says:
        assert says in done.stdout + done.stderr, (words, done.stdout, done.stderr)
    return done


def answer(*words, **more):
    return json.loads(skerry(*words, "--json", **more).stdout)


class Repository:
    """One that `repo init` made; every verb signs with the keys in `keys` unless told otherwise."""

    def __init__(self, home, *options):
        self.home, self.path, self.keys = home, home / "repository", home / "keys"
        skerry("repo", "init", self.path, "--keys", self.keys, "--no-passphrase", *options)

    def __call__(self, verb, *words, **expect):
        return skerry("repo", verb, self.path, *words, "--keys", self.keys, **expect)

    def add(self, file, name="tiny", version="1.0.0", *more, **expect):
        return self("add", file, "--name", name, "--version", version, *more, **expect)

    def key(self, name, *options):
        skerry("repo", "key", "create", name, "--keys", self.keys, "--no-passphrase", *options)
        return name

    @property
    def metadata(self):
        return self.path / "metadata"

    def files(self):
        return {file.name: file.read_bytes() for file in self.metadata.iterdir()}

    def root(self):
        return self.metadata / "1.root.json"

    def targets(self):
        return {t["path"]: t for t in answer("repo", "check", self.path, "--root", self.root(), "--metadata-only")["targets"]}


class FolderFetcher(FetcherInterface):
    """python-tuf reads metadata from a folder."""

    def __init__(self, folder):
        self.folder = pathlib.Path(folder)

    def _fetch(self, url):
        path = self.folder / url.rsplit("/", 1)[1]
        if not path.exists():
            raise DownloadHTTPError(f"no {path}", 404)
        yield path.read_bytes()


def ngclient(metadata, state, root):
    """python-tuf's client, refreshed; it looks into as many roles as our enumeration does."""
    pathlib.Path(state).mkdir(exist_ok=True)
    updater = Updater(
        str(state), "http://repository.invalid/", fetcher=FolderFetcher(metadata),
        bootstrap=pathlib.Path(root).read_bytes(), config=UpdaterConfig(max_delegations=64))
    updater.refresh()
    return updater


def python_sees(repository, state, path):
    return ngclient(repository.metadata, state, repository.root()).get_targetinfo(path)
