"""A whole installation of real processes, whose every part can be killed, cut off and started again.

    client -> proxy -> 3 HTTP workers -> proxies -> Valkey, Postgres <- proxies <- 3 aggregators

A `Load` (load.py) sends events all the while and keeps what became of each id by the replies alone; `counted_once` and
`counted_exactly` compare that with what the database holds.
"""

import asyncio
import contextlib
import os
import random
import resource
import shutil
import signal
import socket
import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit
from uuid import UUID

import aiohttp
import asyncpg
import msgspec
from redis.asyncio import Redis

from meter import stream
from runtime import embedded, server
from runtime.server import Server
from store import account as accounts
from store import db, usage, verify
from store.account import Principal
from store.db import Connection
from store.metric import StoredMetric
from store.usage import Question, Segment
from tests.load import ALIASES, CLIENT_ID, SECRET, Load
from tests.proxy import Proxy
from tests.usage import definition, differences, make_metric
from usance.app import CONNECTIONS_READY

ROOT = Path(__file__).parents[1]
WORKERS = AGGREGATORS = STREAMS = 3
# A deadline, not a promise: the machine may be busy with other things.
SECONDS_MAX = 180.0
# What has not answered by then is asked again.
ANSWER_TIMEOUT = aiohttp.ClientTimeout(total=5)
# The name under which tests record what `make chaos` prints at its end.
FIGURES = "figures"
# Before, during and after a fault.
SECONDS = 0.4
SETTINGS = {
    # Small batches: more transactions for a fault to fall into.
    "USANCE_BATCH_EVENTS_MAX": "2000",
    # Whatever comes is begun ahead, where there is one stream.
    "USANCE_AHEAD_EVENTS_MIN": "1",
    "USANCE_STREAM_ENTRIES_MAX": "1000",
    "USANCE_LOG_LEVEL": "error",
}


# Each process keeps one connection at least, and has used it when it has looked at the schema.
CONNECTED_SINCE = """
select exists (select from pg_stat_activity where application_name = 'usance' and backend_start > $1)
"""
CONNECTED = """
select count(*) from pg_stat_activity where application_name = 'usance' and state = 'idle'
"""


class Shape(msgspec.Struct, frozen=True, kw_only=True):
    """How many there are of what, and how they are set."""

    workers: int = WORKERS
    aggregators: int = AGGREGATORS
    streams: int = STREAMS
    settings: Mapping[str, str] = msgspec.field(default_factory=lambda: SETTINGS)
    # What stands behind the question mark of the URL of Postgres.
    postgres_options: str = ""
    # Without proxies: for what is to be fast.
    is_direct: bool = False


class Fleet:
    """The processes; `start` and `stop` are the fixture's."""

    def __init__(self, folder: Path, shape: Shape | None = None) -> None:
        self.folder = folder
        self.shape = shape or Shape()
        self.workers: list[asyncio.subprocess.Process] = []
        self.aggregators: list[asyncio.subprocess.Process] = []
        self.proxies: dict[str, Proxy] = {}
        self.ports = [_free_port() for _ in range(self.shape.workers)]
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
        self.workers = [await self.worker(number) for number in range(self.shape.workers)]
        self.aggregators = [await self.aggregator() for _ in range(self.shape.aggregators)]
        for number in range(self.shape.workers):
            await self.answers(number)
        await self._until_connected()

    async def stop(self) -> None:
        for process in (*self.workers, *self.aggregators):
            await kill(process)
        for proxy in (*self.proxies.values(), *self.doors):
            await proxy.close()
        self.valkey.stop()
        self.postgres.stop()

    def load(self, *, seed: int, padding: int = 0) -> Load:
        """A load whose promises `counted_exactly` will ask for."""
        self.loads.append(Load(self.doors, seed=seed, padding=padding))
        return self.loads[-1]

    def start_postgres(self) -> None:
        self.postgres: Server = server.start(embedded.plan_postgres(self.folder / "postgres"))

    def start_valkey(self) -> None:
        self.valkey: Server = server.start(embedded.plan_valkey(self.folder / "valkey"))

    async def worker(self, number: int) -> asyncio.subprocess.Process:
        return await self._python("serve", "worker", "--port", str(self.ports[number]), USANCE_HTTP_WORKER=str(number))

    async def aggregator(self) -> asyncio.subprocess.Process:
        return await self._python("aggregate", "aggregator")

    async def _python(self, command: str, who: str, *options: str, **settings: str) -> asyncio.subprocess.Process:
        postgres, valkey = self._urls(who)
        urls = ("--database-url", postgres, "--redis-url", valkey)
        environment = os.environ | self.shape.settings | {"USANCE_STREAMS": str(self.shape.streams)} | settings
        with (self.folder / f"{who}.log").open("ab") as log:
            return await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "usance.cli", command, *options, *urls),
                env=environment,
                cwd=ROOT,
                stdout=log,
                stderr=log,
            )

    def _urls(self, who: str) -> tuple[str, str]:
        if self.shape.is_direct:
            return self.postgres.url, self.valkey.url
        postgres, valkey = self.proxies[f"{who}-postgres"], self.proxies[f"{who}-valkey"]
        options = self.shape.postgres_options
        return f"postgresql://usance@127.0.0.1:{postgres.port}/usance{options}", f"redis://127.0.0.1:{valkey.port}"

    async def answers(self, number: int) -> None:
        """Wait until a worker does."""
        async with aiohttp.ClientSession(timeout=ANSWER_TIMEOUT) as session, asyncio.timeout(SECONDS_MAX):
            while True:
                with contextlib.suppress(aiohttp.ClientError, TimeoutError):
                    async with session.get(f"http://127.0.0.1:{self.ports[number]}/health") as reply:
                        if reply.status == 200:
                            return
                await asyncio.sleep(0.05)

    async def connected_aggregator(self) -> asyncio.subprocess.Process:
        """One that is past its start: without Postgres or Redis it would end, and nobody starts it again here."""
        async with self.connected() as conn, asyncio.timeout(SECONDS_MAX):
            before = await conn.fetchval("select clock_timestamp()")
            process = await self.aggregator()
            while not await conn.fetchval(CONNECTED_SINCE, before):  # noqa: ASYNC110 another process
                await asyncio.sleep(0.05)
        return process

    async def _until_connected(self) -> None:
        """Wait until all have found Postgres: aggregators do not answer."""
        # Workers open several connections, aggregators one.
        processes = len(self.workers) * CONNECTIONS_READY + len(self.aggregators)
        async with self.connected() as conn, asyncio.timeout(SECONDS_MAX):
            while await conn.fetchval(CONNECTED) < processes:  # noqa: ASYNC110 other processes
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
            ends = await stream.ends(redis, stream.names(self.shape.streams))
        finally:
            await redis.aclose()
        async with self.connected() as conn:
            return await usage.counted_past(conn, ends)

    async def count(self, seconds: float = SECONDS_MAX) -> None:
        """Wait until everything is counted."""
        async with asyncio.timeout(seconds):
            while not await self.is_counted():  # noqa: ASYNC110 other processes
                await asyncio.sleep(0.05)

    def limit_files(self, size: int | None) -> None:
        """Let no file of Postgres grow beyond a size: a disk that is full, for whoever writes there."""
        soft = resource.RLIM_INFINITY if size is None else size
        for pid in (self.postgres.pid, *children(self.postgres.pid)):
            with contextlib.suppress(ProcessLookupError):
                resource.prlimit(pid, resource.RLIMIT_FSIZE, (soft, resource.RLIM_INFINITY))

    def copy_database(self, name: str) -> None:
        shutil.copytree(self.folder / "postgres/data", self.folder / name)

    def restore_database(self, name: str) -> None:
        data = self.folder / "postgres/data"
        shutil.rmtree(data)
        (self.folder / name).rename(data)


async def counted_exactly(fleet: Fleet, seconds: float = SECONDS_MAX) -> None:
    """As `counted_once`, and each counter is what a recount of all events makes it."""
    await counted_once(fleet, seconds)
    async with fleet.connected() as conn:
        await verify.prepare(conn)
        assert await differences(conn) == []


async def counted_once(fleet: Fleet, seconds: float = SECONDS_MAX) -> None:
    """Everything that was promised is counted once, what nobody knows of at most once, and the totals agree.

    For each of many rounds: a counter that is spoiled stays so, and one recount after the last round finds it.
    """
    await fleet.count(seconds)
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


async def some_time() -> None:
    """The random moment that tests of faults are about."""
    await asyncio.sleep(random.uniform(SECONDS / 2, SECONDS))  # noqa: S311


async def kill(process: asyncio.subprocess.Process) -> None:
    with contextlib.suppress(ProcessLookupError):
        process.send_signal(signal.SIGKILL)
    await process.wait()


def children(pid: int) -> Iterator[int]:
    """The processes that a process has started and that live."""
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            if int(path.read_text().rpartition(")")[2].split()[1]) == pid:
                yield int(path.parent.name)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
        return port
