"""The whole HTTP application on a free port, with its aggregator and invoicer to be stepped by hand.

server.get("/invoices"), server.post("/usage-events", {...})    below /api, signed in
await server.aggregate()                                        until nothing waits in the streams
await server.invoice(now)                                       until nothing is due at `now`
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import aiohttp
import msgspec
from aiohttp import encode_basic_auth, web
from redis.asyncio import Redis

from meter.aggregate import Aggregator
from runtime.settings import Settings
from store import account as accounts
from store.account import Principal
from store.db import Connection, Pool
from usance import app, loop

CLIENT_ID, SECRET = "test", "a-secret-of-the-tests"
STEPS_MAX = 1_000
# Numbers stay exact in both directions.
_decoder = msgspec.json.Decoder(float_hook=Decimal)


class Reply(msgspec.Struct, frozen=True):
    status: int
    headers: dict[str, str]
    body: Any


class Server:
    def __init__(self, url: str, session: aiohttp.ClientSession, servers: loop.Servers, settings: Settings) -> None:
        self.url = url
        self._session = session
        self._aggregator = Aggregator(servers.pool, servers.redis, settings=settings)
        self._invoicer = loop.make_invoicer(settings, servers)

    async def get(self, path: str, **options: Any) -> Reply:
        return await self.ask("GET", path, **options)

    async def post(self, path: str, json: Any = None, **options: Any) -> Reply:
        return await self.ask("POST", path, json=json, **options)

    async def ask(self, method: str, path: str, **options: Any) -> Reply:
        headers = {"Authorization": encode_basic_auth(CLIENT_ID, SECRET), **options.pop("headers", {})}
        async with self._session.request(method, f"{self.url}/api{path}", headers=headers, **options) as response:
            content = await response.read()
            is_json = response.content_type == "application/json"
            return Reply(response.status, dict(response.headers), _decoder.decode(content) if is_json else content)

    async def made(self, path: str, json: Any) -> dict[str, Any]:
        """Post it, expect success, answer the body."""
        reply = await self.post(path, json)
        assert reply.status in {200, 201, 202}, reply.body
        return dict(reply.body)

    async def aggregate(self) -> int:
        """Count everything that was accepted; answers how many events that were."""
        return await self._until_done(self._aggregator.step)

    async def invoice(self, now: datetime) -> int:
        """Bill everything that is due at `now`; answers how many schedules that were."""
        return await self._until_done(lambda: self._invoicer.step(now))

    async def _until_done(self, step: Any) -> int:
        total = 0
        for _ in range(STEPS_MAX):
            done = await step()
            if not done:
                return total
            total += done
        raise AssertionError(f"still not done after {STEPS_MAX} steps")


@asynccontextmanager
async def serving(*, pool: Pool, redis: Redis, conn: Connection, account: Principal) -> AsyncIterator[Server]:
    """The application with these connections, open for this account."""
    settings = Settings()
    await accounts.create_key(
        conn, account.account, client_id=CLIENT_ID, secret=SECRET, now=datetime(2025, 1, 1, tzinfo=UTC)
    )
    runner = web.AppRunner(
        app.make_app(settings=settings, pool=pool, redis=redis), auto_decompress=False, access_log=None
    )
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    async with aiohttp.ClientSession() as session:
        yield Server(url, session, loop.Servers(pool, redis), settings)
    await runner.cleanup()
