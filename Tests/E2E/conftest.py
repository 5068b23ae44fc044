"""Real hubs, agents, engines and weights; each test module gets a fleet of its own, on loopback."""

import pathlib
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "scripts"))
from box import Box, Hub, Programs, wait_for  # noqa: E402


def pytest_configure(config):
    config.addinivalue_line("markers", "chaos: many kills, run by make chaos and with a small count by make test")


@pytest.fixture(scope="session")
def programs():
    return Programs.from_environment()


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
