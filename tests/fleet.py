"""A whole installation of real processes, whose every part can be killed, cut off and started again.

    client -> proxy -> 3 HTTP workers -> proxies -> Valkey, Postgres <- proxies <- 3 aggregators

`Load` sends events all the while and keeps what became of each id by the replies alone; `counted_exactly` compares that
with what the database holds.
"""

import asyncio
import contextlib
import io
import os
import random
import resource
import shutil
import signal
import socket
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit
from uuid import UUID

import aiohttp
import asyncpg
import msgspec
from aiohttp import encode_basic_auth
from redis.asyncio import Redis

from meter import stream
from runtime import embedded, server
from runtime.server import Server
from store import account as accounts
from store import db, usage
from store.account import Principal
from store.db import Connection
from store.metric import StoredMetric
from store.usage import Question, Segment
from tests.proxy import Proxy
from tests.usage import definition, differences, make_metric

ROOT = Path(__file__).parents[1]
CLIENT_ID, SECRET = "fleet", "a-secret-of-the-fleet"
WORKERS = AGGREGATORS = STREAMS = 3
ALIASES = 5
SECONDS_MAX = 60.0
REQUEST_SECONDS_MAX = 8.0
SETTINGS = {
    "USANCE_STREAMS": str(STREAMS),
    # Small batches: more transactions for a fault to fall into.
    "USANCE_BATCH_EVENTS_MAX": "2000",
    "USANCE_STREAM_ENTRIES_MAX": "1000",
    "USANCE_LOG_LEVEL": "error",
}


class Fleet:
    """The processes; `start` and `stop` are the fixture's."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.workers: list[asyncio.subprocess.Process] = []
        self.aggregators: list[asyncio.subprocess.Process] = []
        self.proxies: dict[str, Proxy] = {}
        self.ports = [_free_port() for _ in range(WORKERS)]
        self.doors: list[Proxy] = []
        self.loads: list[Load] = []

    async def start(self) -> None:
        self.start_postgres()
        self.start_valkey()
        await db.migrate(self.postgres.url)
        async with self.connected() as conn:
            self.account = await _account(conn)
            self.tokens = await make_metric(conn, self.account, definition("SUM", "tokens"), name="tokens")
            self.users = await make_metric(conn, self.account, definition("UNIQUE", "user"), name="users")
        host = parse_qs(urlsplit(self.postgres.url).query)["host"][0]
        for who in ("worker", "aggregator"):
            self.proxies[f"{who}-postgres"] = await Proxy.to_socket(f"{host}/.s.PGSQL.5432")
            self.proxies[f"{who}-valkey"] = await Proxy.to_socket(unquote(urlsplit(self.valkey.url).path))
        self.doors = [await Proxy.to_port(port) for port in self.ports]
        self.workers = [await self.worker(number) for number in range(WORKERS)]
        self.aggregators = [await self.aggregator() for _ in range(AGGREGATORS)]
        for number in range(WORKERS):
            await self.answers(number)

    async def stop(self) -> None:
        for process in (*self.workers, *self.aggregators):
            await kill(process)
        for proxy in (*self.proxies.values(), *self.doors):
            await proxy.close()
        self.valkey.stop()
        self.postgres.stop()

    def start_postgres(self) -> None:
        self.postgres: Server = server.start(embedded.plan_postgres(self.folder / "postgres"))

    def start_valkey(self) -> None:
        self.valkey: Server = server.start(embedded.plan_valkey(self.folder / "valkey"))

    async def worker(self, number: int) -> asyncio.subprocess.Process:
        return await self._python("serve", "worker", "--port", str(self.ports[number]), USANCE_HTTP_WORKER=str(number))

    async def aggregator(self) -> asyncio.subprocess.Process:
        return await self._python("aggregate", "aggregator")

    async def _python(self, command: str, who: str, *options: str, **settings: str) -> asyncio.subprocess.Process:
        urls = (
            *("--database-url", f"postgresql://usance@127.0.0.1:{self.proxies[f'{who}-postgres'].port}/usance"),
            *("--redis-url", f"redis://127.0.0.1:{self.proxies[f'{who}-valkey'].port}"),
        )
        with (self.folder / f"{who}.log").open("ab") as log:
            return await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "usance.cli", command, *options, *urls),
                env=os.environ | SETTINGS | settings,
                cwd=ROOT,
                stdout=log,
                stderr=log,
            )

    async def answers(self, number: int) -> None:
        """Wait until a worker does."""
        async with aiohttp.ClientSession() as session, asyncio.timeout(SECONDS_MAX):
            while True:
                with contextlib.suppress(aiohttp.ClientError):
                    async with session.get(f"http://127.0.0.1:{self.ports[number]}/health") as reply:
                        if reply.status == 200:
                            return
                await asyncio.sleep(0.05)

    @asynccontextmanager
    async def connected(self) -> AsyncIterator[Connection]:
        """Postgres, past all proxies; it may be starting at this moment."""
        async with asyncio.timeout(SECONDS_MAX):
            while True:
                try:
                    conn = await asyncpg.connect(self.postgres.url, server_settings={"timezone": "UTC"})
                    break
                except (OSError, asyncpg.PostgresError):
                    await asyncio.sleep(0.05)
        try:
            yield conn
        finally:
            # Killing any backend ends them all, ours too: a polite goodbye might find nobody.
            conn.terminate()

    async def is_counted(self) -> bool:
        """Whether everything in the streams is counted."""
        redis: Redis = stream.connect(self.valkey.url)
        try:
            ends = await stream.ends(redis, stream.names(STREAMS))
        finally:
            await redis.aclose()
        async with self.connected() as conn:
            return await usage.counted_past(conn, ends)

    async def count(self) -> None:
        """Wait until everything is counted."""
        async with asyncio.timeout(SECONDS_MAX):
            while not await self.is_counted():  # noqa: ASYNC110 other processes
                await asyncio.sleep(0.05)

    def limit_files(self, size: int | None) -> None:
        """Let no file of Postgres grow beyond a size: a disk that is full, for whoever writes there."""
        soft = resource.RLIM_INFINITY if size is None else size
        for pid in (self.postgres.pid, *_children(self.postgres.pid)):
            with contextlib.suppress(ProcessLookupError):
                resource.prlimit(pid, resource.RLIMIT_FSIZE, (soft, resource.RLIM_INFINITY))

    def copy_database(self, name: str) -> None:
        shutil.copytree(self.folder / "postgres/data", self.folder / name)

    def restore_database(self, name: str) -> None:
        data = self.folder / "postgres/data"
        shutil.rmtree(data)
        (self.folder / name).rename(data)


class Load:
    """Events that are sent until `stop`, and what their replies promised."""

    def __init__(self, fleet: Fleet, *, seed: int, padding: int = 0) -> None:
        self._fleet = fleet
        fleet.loads.append(self)
        self._dice = random.Random(seed)  # noqa: S311 a fixed seed, so that a failure can be looked at again
        self._padding = "x" * padding
        self._name = f"{seed}-{os.urandom(4).hex()}"
        self._next = 0
        self._names: list[str] = []
        self.accepted: dict[str, int] = {}
        self.unknown: dict[str, int] = {}
        self.statuses: dict[int, int] = {}

    async def run(self, stop: asyncio.Event) -> None:
        """Send to all workers at once, until told to stop."""
        timeout = aiohttp.ClientTimeout(total=REQUEST_SECONDS_MAX)
        headers = {"Authorization": encode_basic_auth(CLIENT_ID, SECRET)}
        async with aiohttp.ClientSession(timeout=timeout, headers=headers) as session:
            await asyncio.gather(*(self._send_to(session, door, stop) for door in self._fleet.doors))

    async def batch(self, size: int, door: int = 0) -> None:
        """Send one batch."""
        headers = {"Authorization": encode_basic_auth(CLIENT_ID, SECRET)}
        async with aiohttp.ClientSession(headers=headers) as session:
            await self._send(session, self._fleet.doors[door], size)

    async def _send_to(self, session: aiohttp.ClientSession, door: Proxy, stop: asyncio.Event) -> None:
        while not stop.is_set():
            await self._send(session, door, self._dice.randrange(1, 200))
            # A steady trickle: faults are what is tried here, not speed.
            await asyncio.sleep(0.02)

    async def _send(self, session: aiohttp.ClientSession, door: Proxy, size: int) -> bool:
        fresh = {f"{self._name}-{n}": n % 1_000 for n in range(self._next, self._next + size)}
        self._next += size
        known = self._dice.choices(self._names, k=size // 10) if self._names else []
        sent = fresh | {name: self.accepted[name] for name in known}
        try:
            url = f"http://127.0.0.1:{door.port}/api/usage-events"
            body = io.BytesIO(msgspec.json.encode([self._event(name, n) for name, n in sent.items()]))
            async with session.post(url, data=body, headers={"Content-Type": "application/json"}) as reply:
                is_accepted = reply.status == 202
                self.statuses[reply.status] = self.statuses.get(reply.status, 0) + 1
                await reply.read()
        except (aiohttp.ClientError, TimeoutError):
            is_accepted = False
        (self.accepted if is_accepted else self.unknown).update(fresh)
        self._names += fresh if is_accepted else []
        return is_accepted

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


async def counted_exactly(fleet: Fleet) -> None:
    """Everything that was promised is counted once, what nobody knows of at most once, and the counters agree."""
    await fleet.count()
    accepted = {name: n for load in fleet.loads for name, n in load.accepted.items()}
    unknown = {name: n for load in fleet.loads for name, n in load.unknown.items()}
    async with fleet.connected() as conn:
        rows = await conn.fetch("select customer_event_id as name, count(*) as times from usage_event group by 1")
        counted = {row["name"]: row["times"] for row in rows}

        assert set(accepted) - counted.keys() == set()
        assert counted.keys() - accepted.keys() - unknown.keys() == set()
        assert set(counted.values()) <= {1}
        sent = accepted | unknown
        numbers = [sent[name] for name in counted]
        assert await _measured(conn, fleet, fleet.tokens) == (sum(numbers), len(numbers))
        assert await _measured(conn, fleet, fleet.users) == (len({n % 97 for n in numbers}), len(numbers))
        assert await conn.fetchval("select count(*) from dead_letter") == 0
        assert await differences(conn) == []


async def _measured(conn: Connection, fleet: Fleet, of: StoredMetric) -> tuple[Decimal, int]:
    start, end = datetime(2025, 3, 1, tzinfo=UTC), datetime(2025, 4, 1, tzinfo=UTC)
    segments = tuple(Segment(f"customer-{n}", start, end) for n in range(ALIASES))
    [found] = await usage.measure(conn, fleet.account.account, [Question(of.terms, segments)])
    return found.value, found.event_count


async def _account(conn: Connection) -> Principal:
    now = datetime(2025, 1, 1, tzinfo=UTC)
    id_ = UUID("0193f000-0000-7000-8000-000000000002")
    number = await accounts.ensure_first(conn, account_id=id_, company_name="Fleet", time_zone="UTC", now=now)
    await accounts.create_key(conn, number, client_id=CLIENT_ID, secret=SECRET, now=now)
    found = await accounts.find_key(conn, CLIENT_ID)
    assert found is not None
    return found.principal


async def kill(process: asyncio.subprocess.Process) -> None:
    with contextlib.suppress(ProcessLookupError):
        process.send_signal(signal.SIGKILL)
    await process.wait()


def _children(pid: int) -> Iterator[int]:
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            if int(path.read_text().rpartition(")")[2].split()[1]) == pid:
                yield int(path.parent.name)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
        return port
