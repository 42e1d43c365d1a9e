"""The whole HTTP application on a free port, with its aggregator and invoicer to be stepped by hand.

server.get("/invoices"), server.post("/usage-events", {...})    below /api, signed in; "//ready" is at the root
await server.aggregate()                                        until nothing waits in the streams
await server.invoice(now)                                       until nothing is due at `now`
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import aiohttp
import msgspec
from aiohttp import encode_basic_auth, web
from yarl import URL

from invoicer.run import Invoicer
from meter.aggregate import Aggregator
from meter.history import History
from runtime.connection import Runner
from runtime.settings import Settings
from store import account as accounts
from store.account import Principal
from store.db import Connection
from usance import app, loop

CLIENT_ID, SECRET = "test", "a-secret-of-the-tests"
STEPS_MAX = 1_000
# Numbers stay exact in both directions.
DECODER = msgspec.json.Decoder(float_hook=Decimal)


class Clock:
    """Stands still until a test moves it."""

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


class Server:
    def __init__(
        self, url: str, clock: Any, *, session: aiohttp.ClientSession, parts: tuple[Aggregator, History, Invoicer]
    ) -> None:
        self.url = url
        self.clock = clock
        self._session = session
        self.runner: web.AppRunner
        self._aggregator, self._history, self._invoicer = parts

    async def get(self, path: str, **options: Any) -> Reply:
        return await self.ask("GET", path, **options)

    async def post(self, path: str, json: Any = None, **options: Any) -> Reply:
        return await self.ask("POST", path, json=json, **options)

    async def put(self, path: str, json: Any = None, **options: Any) -> Reply:
        return await self.ask("PUT", path, json=json, **options)

    async def delete(self, path: str, **options: Any) -> Reply:
        return await self.ask("DELETE", path, **options)

    async def made(self, path: str, json: Any) -> dict[str, Any]:
        """Post it, expect success, answer the body."""
        reply = await self.post(path, json)
        assert reply.status in {200, 201, 202}, reply.body
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

    async def aggregate(self) -> int:
        """Count everything that was accepted; answers how many events that were."""
        total = await _until_done(self._aggregator.step)
        await _until_done(self._history.step)
        return total

    async def stop(self) -> None:
        """End the application as a process that is told to stop does."""
        await self.runner.cleanup()

    async def invoice(self, now: datetime) -> int:
        """Bill everything that is due at `now`; answers how many schedules that were."""
        return await _until_done(lambda: self._invoicer.step(now))


async def _until_done(step: Callable[[], Awaitable[int]]) -> int:
    total = 0
    for _ in range(STEPS_MAX):
        done = await step()
        if not done:
            return total
        total += done
    raise AssertionError(f"still not done after {STEPS_MAX} steps")


@asynccontextmanager
async def serving(
    servers: loop.Servers,
    *,
    conn: Connection,
    account: Principal,
    clock: Callable[[], datetime] = app.utc_now,
    settings: Settings | None = None,
) -> AsyncIterator[Server]:
    """The application on these servers, open for this account."""
    settings = settings or Settings()
    await accounts.create_key(conn, account.account, client_id=CLIENT_ID, secret=SECRET, now=clock())
    http = app.make_app(settings=settings, pool=servers.pool, redis=servers.redis, clock=clock)
    runner = Runner(http, auto_decompress=False, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    async with aiohttp.ClientSession() as session:
        aggregator, history = Aggregator(servers.pool, servers.redis, settings=settings), History(servers.pool)
        parts = aggregator, history, loop.make_invoicer(settings, servers)
        server = Server(f"http://127.0.0.1:{runner.addresses[0][1]}", clock, session=session, parts=parts)
        server.runner = runner
        async with aclosing(aggregator):
            yield server
    await runner.cleanup()
