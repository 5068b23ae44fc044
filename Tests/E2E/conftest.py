"""Real hubs, agents, engines and weights; each test module gets a fleet of its own, on loopback."""

import contextlib
import copy
import os
import pathlib
import shutil
import sys
import tempfile

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "scripts"))
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "Peers"))
from box import MODEL, Box, Hub, Programs, wait_for  # noqa: E402
from tiny_gguf import gguf  # noqa: E402

GEMMA = "gemma-3-270m"
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


@contextlib.contextmanager
def serving(programs, folder, models=((),), **options):
    """A box that holds these models, each what add_model is told of it, and has a token for an application; its hub is
    box.hub."""
    hub = Hub(programs, folder / "hub")
    try:
        hub.init()
        hub.start()
        hub.create_repository()
        for model in models:
            hub.add_model(*model)
        hub.publish()
        box = enrolled(programs, hub, folder / "box", **options)
        try:
            wait_for("all models are active",
                     lambda: [m["state"] for m in box.status()["models"]].count("active") == len(models), 60)
            box.hub, box.app = hub, box.token("app", "chat")
            yield box
        finally:
            print(box.daemon.tail(60))
            box.daemon.kill()
    finally:
        hub.daemon.kill()


@contextlib.contextmanager
def for_everybody(programs, folder, **options):
    """A box without models that any user of the machine can reach; box.hub is its hub, box.cli a program that any user can
    run, box.id its name at the hub."""
    hub = Hub(programs, folder)
    # Not below pytest's folder, which its user alone can enter.
    home = pathlib.Path(tempfile.mkdtemp(prefix="skerry-all-"))
    try:
        hub.init()
        hub.start()
        hub.create_repository()
        hub.publish()
        home.chmod(0o755)
        shutil.copy(programs.skerry, home / "skerry")
        box = Box(programs, home / "box", **options).start()
        for folder in (home / "box", box.run):
            folder.chmod(0o755)
        try:
            box.id = box.json("enroll", hub.token())["deviceID"]
            box.skerry("sync")
            box.hub, box.cli = hub, home / "skerry"
            yield box
        finally:
            print(box.daemon.tail(40))
            box.daemon.kill()
    finally:
        hub.daemon.kill()
        shutil.rmtree(home, ignore_errors=True)


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
    """A box with SmolLM2 and Gemma 3, made once for all matrices of clients."""
    models = [(None, MODEL, "1.0.0", "--no-chunks"), (os.environ["SKERRY_TEST_GEMMA"], GEMMA, "1.0.0", "--no-chunks")]
    # Threads that wait for each other by spinning make a busy machine slower than one thread is.
    with serving(programs, tmp_path_factory.mktemp("two"), models, settings={"engine": {"threads": 1}}) as box:
        box.auditor = box.token("auditor", "auditor")
        yield box


@pytest.fixture
def api(pair):
    """A client behind the face that both kinds have; a matrix says in its own `pair` which."""
    return pair[0]


@pytest.fixture
def model(pair):
    """The model that this kind of client asks."""
    return pair[1]
