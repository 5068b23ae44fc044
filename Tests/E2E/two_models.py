"""A box with two models of different architectures, for the matrices of unmodified clients: the fixture two_models."""

import asyncio
import os

from box import MODEL, Hub, wait_for
from conftest import enrolled

GEMMA = "gemma-3-270m"
MODELS = [MODEL, GEMMA]


def serving(programs, folder, **options):
    """(hub, box): the box holds SmolLM2 and Gemma 3, and has tokens for an application and an auditor."""
    hub = Hub(programs, folder / "hub")
    hub.init()
    hub.start()
    try:
        hub.create_repository()
        hub.add_model()
        hub.add_model(os.environ["SKERRY_TEST_GEMMA"], GEMMA)
        hub.publish()
        # Threads that wait for each other by spinning make a busy machine slower than one thread is.
        box = enrolled(programs, hub, folder / "box", settings={"engine": {"threads": 1}}, **options)
        wait_for("both models are active",
                 lambda: [m["state"] for m in box.status()["models"]].count("active") == 2, 60)
    except BaseException:
        hub.daemon.kill()
        raise
    box.app, box.auditor = box.token("app", "chat"), box.token("auditor", "auditor")
    return hub, box


class Sync:
    """Calls a client's methods as they are."""

    def __init__(self, client):
        self.client = client

    def ask(self, call):
        return call(self.client)

    def stream(self, call):
        return list(call(self.client))

    def close(self):
        self.client.close()


class Async:
    """Calls the methods of an asynchronous client, and waits."""

    def __init__(self, client):
        self.client, self.loop = client, asyncio.new_event_loop()

    def ask(self, call):
        return self.loop.run_until_complete(self._wait(call))

    def stream(self, call):
        async def collect():
            return [piece async for piece in await call(self.client)]
        return self.loop.run_until_complete(collect())

    async def _wait(self, call):
        return await call(self.client)

    def close(self):
        self.loop.run_until_complete(self.client.close())
        self.loop.close()
