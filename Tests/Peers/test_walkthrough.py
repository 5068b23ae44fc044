"""The key ceremony of docs/registry.md, command for command as it stands there."""

import os
import pathlib
import re
import subprocess

from publisher import SKERRY, ngclient
from tiny_gguf import gguf

DOCUMENT = pathlib.Path(__file__).resolve().parents[2] / "docs/registry.md"


def commands():
    text = DOCUMENT.read_text()
    section = text[text.index("\n## Key ceremony\n"):]
    section = section[: section.index("\n## ", 4)] if "\n## " in section[4:] else section
    return [line for block in re.findall(r"```sh\n(.*?)```", section, re.S) for line in block.splitlines() if line]


def test_the_ceremony_of_the_documentation_works_step_by_step(tmp_path):
    lines = commands()
    assert sum(line.startswith("skerry repo ") for line in lines) >= 30
    programs = tmp_path / "programs"
    programs.mkdir()
    (programs / "skerry").symlink_to(pathlib.Path(SKERRY).resolve())
    here = tmp_path / "machines"
    (here / "stick").mkdir(parents=True)
    for name in ("alice", "bob", "carol", "dora", "office", "acme"):
        (here / f"{name}.phrase").write_text(f"the words of {name}\n")
    gguf(here / "tiny.gguf")
    gguf(here / "acme-one.gguf", seed=2)
    environment = {**os.environ, "PATH": f"{programs}:{os.environ['PATH']}"}
    for line in lines:
        done = subprocess.run(["bash", "-c", line], cwd=here, env=environment, capture_output=True, text=True,
                              stdin=subprocess.DEVNULL)
        assert done.returncode == 0, f"$ {line}\n{done.stdout}{done.stderr}"
    # At its end python-tuf's client, which knows the first root alone, finds both models.
    client = ngclient(here / "www/metadata", tmp_path / "state", here / "stick/1.root.json")
    assert client.get_targetinfo("models/tiny/1.0.0/tiny.gguf")
    assert client.get_targetinfo("models/acme-one/1/acme-one.gguf")
    assert client._trusted_set.root.version == 2
