"""The whole HTTP application on a free port, with a key, and a clock that stands still until a test moves it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest
from aiohttp import encode_basic_auth, web
from redis.asyncio import Redis
from yarl import URL

from meter import stream
from runtime.settings import Settings
from store import account as accounts
from store.account import Principal
from store.db import Connection, Pool
from usance.app import make_app

CLIENT_ID = "test"
SECRET = "a-secret-of-the-tests"
# Numbers stay exact on their way into a test, too.
DECODER = msgspec.json.Decoder(float_hook=Decimal)


class Clock:
    def __init__(self) -> None:
        self.now = datetime(2025, 3, 10, 12, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now


class Reply(msgspec.Struct, frozen=True):
    status: int
    headers: dict[str, str]
    body: Any

    @property
    def codes(self) -> list[str]:
        return [problem["code"] for problem in self.body["error"]["errors"]]

    @property
    def keys(self) -> list[str | None]:
        return [problem["key"] for problem in self.body["error"]["errors"]]


class Api:
    """Asks the application; paths are below /api unless they start with `//`, which is the root."""

    def __init__(self, url: str, session: aiohttp.ClientSession, clock: Clock) -> None:
        self.url = url
        self.clock = clock
        self._session = session

    async def get(self, path: str, **options: Any) -> Reply:
        return await self.ask("GET", path, **options)

    async def post(self, path: str, json: Any = None, **options: Any) -> Reply:
        return await self.ask("POST", path, json=json, **options)

    async def put(self, path: str, json: Any = None, **options: Any) -> Reply:
        return await self.ask("PUT", path, json=json, **options)

    async def delete(self, path: str, **options: Any) -> Reply:
        return await self.ask("DELETE", path, **options)

    async def made(self, path: str, json: Any) -> dict[str, Any]:
        reply = await self.post(path, json)
        assert reply.status == 201, reply.body
        return dict(reply.body)

    async def ask(self, method: str, path: str, **options: Any) -> Reply:
        text = self.url + (path[1:] if path.startswith("//") else f"/api{path}")
        # Percent signs are the test's own: the client would decode some of them.
        url = URL(text, encoded="%" in path)
        headers = {"Authorization": encode_basic_auth(CLIENT_ID, SECRET), **options.pop("headers", {})}
        async with self._session.request(method, url, **options, headers=headers) as response:
            content = await response.read()
            is_json = response.content_type == "application/json"
            return Reply(response.status, dict(response.headers), DECODER.decode(content) if is_json else content)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def api(pool: Pool, redis: Redis, conn: Connection, account: Principal, clock: Clock) -> AsyncIterator[Api]:
    async with running(pool, redis, conn, account, clock) as api:
        yield api


@pytest.fixture
async def away(tmp_path: Path) -> AsyncIterator[Redis]:
    """A Redis that cannot be reached."""
    redis = stream.connect(f"unix://{tmp_path}/nothing")
    yield redis
    await redis.aclose()


@asynccontextmanager
async def running(
    pool: Pool, redis: Redis, conn: Connection, account: Principal, clock: Clock, settings: Settings | None = None
) -> AsyncIterator[Api]:
    await accounts.create_key(conn, account.account, client_id=CLIENT_ID, secret=SECRET, now=clock())
    app = make_app(settings=settings or Settings(), pool=pool, redis=redis, clock=clock)
    runner = web.AppRunner(app, auto_decompress=False, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    async with aiohttp.ClientSession() as session:
        yield Api(f"http://127.0.0.1:{runner.addresses[0][1]}", session, clock)
    await runner.cleanup()
