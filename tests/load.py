"""Events that are sent to several HTTP workers at once, and what became of each id by the replies alone."""

import asyncio
import io
import os
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import msgspec
from aiohttp import encode_basic_auth

from tests.proxy import Proxy

CLIENT_ID, SECRET = "fleet", "a-secret-of-the-fleet"
ALIASES = 5
REQUEST_SECONDS_MAX = 8.0
# Single events that are under way at once: they take another way in than batches.
SINGLES = 8


class Load:
    """Events that are sent until `stop`, and what their replies promised."""

    def __init__(self, doors: Sequence[Proxy], *, seed: int, padding: int = 0) -> None:
        self._doors = doors
        self._dice = random.Random(seed)  # noqa: S311 a fixed seed, so that a failure can be looked at again
        self._padding = "x" * padding
        self._name = f"{seed}-{os.urandom(4).hex()}"
        self._next = 0
        self._names: list[str] = []
        self.accepted: dict[str, int] = {}
        self.unknown: dict[str, int] = {}
        self.statuses: dict[int, int] = {}
        # What refusals say about when to come again.
        self.hints: set[str | None] = set()

    async def run(self, stop: asyncio.Event) -> None:
        """Send to all workers at once, until told to stop."""
        timeout = aiohttp.ClientTimeout(total=REQUEST_SECONDS_MAX)
        headers = {"Authorization": encode_basic_auth(CLIENT_ID, SECRET)}
        async with aiohttp.ClientSession(timeout=timeout, headers=headers) as session:
            await asyncio.gather(*(self._send_to(session, door, stop) for door in self._doors))

    async def batch(self, size: int, door: int = 0) -> None:
        """Send one batch."""
        headers = {"Authorization": encode_basic_auth(CLIENT_ID, SECRET)}
        async with aiohttp.ClientSession(headers=headers) as session:
            await self._send(session, self._doors[door], size)

    async def _send_to(self, session: aiohttp.ClientSession, door: Proxy, stop: asyncio.Event) -> None:
        while not stop.is_set():
            await self._send(session, door, self._dice.randrange(1, 200))
            await asyncio.gather(*(self._send_one(session, door) for _ in range(SINGLES)))
            # A steady trickle: faults are what is tried here, not speed.
            await asyncio.sleep(0.02)

    async def _send(self, session: aiohttp.ClientSession, door: Proxy, size: int) -> bool:
        fresh = self._fresh(size)
        known = self._dice.choices(self._names, k=size // 10) if self._names else []
        sent = fresh | {name: self.accepted[name] for name in known}
        body = io.BytesIO(msgspec.json.encode([self._event(name, n) for name, n in sent.items()]))
        return await self._post(session, door, body, fresh)

    async def _send_one(self, session: aiohttp.ClientSession, door: Proxy) -> None:
        fresh = self._fresh(1)
        [(name, number)] = fresh.items()
        await self._post(session, door, msgspec.json.encode(self._event(name, number)), fresh)

    def _fresh(self, size: int) -> dict[str, int]:
        fresh = {f"{self._name}-{n}": n % 1_000 for n in range(self._next, self._next + size)}
        self._next += size
        return fresh

    async def _post(
        self, session: aiohttp.ClientSession, door: Proxy, body: bytes | io.BytesIO, fresh: dict[str, int]
    ) -> bool:
        """Send what has these new events in it, and remember what the reply promises of them."""
        try:
            url = f"http://127.0.0.1:{door.port}/api/usage-events"
            async with session.post(url, data=body, headers={"Content-Type": "application/json"}) as reply:
                is_accepted = reply.status in {201, 202}
                self._note(reply)
                await reply.read()
        except (aiohttp.ClientError, TimeoutError):
            is_accepted = False
        (self.accepted if is_accepted else self.unknown).update(fresh)
        self._names += fresh if is_accepted else []
        return is_accepted

    def _note(self, reply: aiohttp.ClientResponse) -> None:
        self.statuses[reply.status] = self.statuses.get(reply.status, 0) + 1
        if reply.status == 503:
            self.hints.add(reply.headers.get("Retry-After"))

    def _event(self, name: str, number: int) -> dict[str, Any]:
        return {
            "customerEventId": name,
            "customerAlias": f"customer-{number % ALIASES}",
            "eventType": "call",
            "eventTimestamp": f"2025-03-{1 + number % 9:02}T10:00:00Z",
            "eventProperties": {"tokens": number, "user": f"user-{number % 97}", "padding": self._padding},
        }


@asynccontextmanager
async def loaded(load: Load) -> AsyncIterator[None]:
    """Events come in while the block runs."""
    stop = asyncio.Event()
    sending = asyncio.create_task(load.run(stop))
    try:
        yield
    finally:
        stop.set()
        await sending
