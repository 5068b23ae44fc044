"""Real hubs, agents, engines and weights; each test module gets a fleet of its own, on loopback."""

import copy
import pathlib
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "scripts"))
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "Peers"))
from box import Box, Hub, Programs, wait_for  # noqa: E402
from tiny_gguf import gguf  # noqa: E402

MOCK = pathlib.Path(__file__).with_name("mock_engine.py")


def pytest_configure(config):
    config.addinivalue_line("markers", "chaos: many kills, run by make chaos and with a small count by make test")


@pytest.fixture(scope="session")
def programs():
    return Programs.from_environment()


@pytest.fixture(scope="session")
def mock_programs(programs, tmp_path_factory):
    """The programs with an engine that computes nothing, and a model that nobody could run."""
    made = copy.copy(programs)
    made.engine, made.weights = str(MOCK), str(gguf(tmp_path_factory.mktemp("tiny") / "tiny.gguf", floats=8192))
    return made


@pytest.fixture(scope="module")
def hub(programs, tmp_path_factory):
    hub = Hub(programs, tmp_path_factory.mktemp("hub"))
    try:
        yield hub.ready()
    finally:
        hub.daemon.kill()


def enrolled(programs, hub, home, **options):
    """A box that has enrolled and holds the model."""
    box = Box(programs, home, **options).start()
    try:
        box.skerry("enroll", hub.token())
        box.skerry("sync")
        wait_for("the model is active", lambda: any(m["state"] == "active" for m in box.status()["models"]), 60)
    except BaseException:
        print(box.daemon.tail(60))
        box.daemon.kill()
        raise
    return box


@pytest.fixture(scope="module")
def box(programs, hub, tmp_path_factory):
    box = enrolled(programs, hub, tmp_path_factory.mktemp("b"))
    box.app = box.token("app", "chat")
    box.auditor = box.token("auditor", "auditor")
    try:
        yield box
    finally:
        print(box.daemon.tail(40))
        box.daemon.kill()


@pytest.fixture(scope="session")
def two_models(programs, tmp_path_factory):
    """A box with SmolLM2 and Gemma 3, made once for all matrices of clients: a hub takes its time over 350 MB."""
    from two_models import serving
    hub, box = serving(programs, tmp_path_factory.mktemp("two"))
    try:
        yield box
    finally:
        print(box.daemon.tail(40))
        box.daemon.kill()
        hub.daemon.kill()
