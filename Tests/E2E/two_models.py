"""Both kinds of a client behind one face, for the matrices over the box of the fixture two_models."""

import asyncio

from box import MODEL
from conftest import GEMMA

MODELS = [MODEL, GEMMA]


def clients(kind, plain, asynchronous, **options):
    """(client, the model that it asks), closed afterwards: each kind has one, so that every case runs twice."""
    options = {"max_retries": 0, "timeout": 120, **options}
    api, model = (Sync(plain(**options)), MODEL) if kind == "sync" else (Async(asynchronous(**options)), GEMMA)
    yield api, model
    api.close()


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
