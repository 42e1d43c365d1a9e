"""`usance up`: everything on one machine, started in order, watched, stopped in order.

    hold the data folder and the port        fail early, before anything runs
    Postgres, Valkey                         embedded, unless the URL of a real one is given
    the schema, the first key                the key is shown once
    serve, aggregate, invoice                each a process of its own, started again when it ends
    say where                                once requests are answered

The sockets of the port are made here and inherited, one by each HTTP process (runtime/port.py). Stopping goes the other
way round: first no more requests, then the loops finish their batch, then Valkey, last Postgres.

A supervisor that is killed takes everything with it: the kernel sends each child its stop signal.
"""

import asyncio
import contextlib
import os
import shutil
import signal
import socket
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import msgspec
import structlog

from runtime import child, embedded, folder, port, process, server
from runtime.child import EXIT_CANNOT_START, Child
from runtime.errors import StartError
from runtime.folder import Endpoints
from runtime.server import Plan, Server
from runtime.settings import Settings
from store import db
from usance import key

log = structlog.get_logger(__name__)

Say = Callable[[str], None]

# Every part of a stop is bounded. Together, with stop_seconds = 2: 3 for HTTP, 3 for the loops, 1 + 3 for the servers.
STOP_SECONDS_MAX = 12.0
_KILL_SECONDS = 1.0
_VALKEY_SECONDS = 1.0
_POSTGRES_SECONDS = 1.5
_DATABASE_SECONDS_MAX = 30.0
_READY_SECONDS_MAX = 30.0
_ANSWER_SECONDS_MAX = 10.0
_POLL_SECONDS = 0.02
_TEND_SECONDS = 0.1


class _StopAsked(Exception):
    """Somebody wants it all to end before it has begun."""


async def up(settings: Settings, stop: asyncio.Event, *, say: Say) -> None:
    """Start everything, watch it until `stop`, stop everything."""
    data_dir = folder.prepare(settings.data_dir)
    with folder.hold(data_dir), port.listening(settings) as listening, contextlib.suppress(_StopAsked):
        settings = msgspec.structs.replace(
            settings, data_dir=data_dir, http_workers=len(listening), metrics_dir=_emptied(data_dir / "run/metrics")
        )
        servers: list[Server] = []
        try:
            settings = await _with_servers(settings, servers=servers, stop=stop)
            await _prepare_database(settings, stop, say=say)
            await _run(settings, stop, listening=listening, servers=servers, say=say)
        finally:
            _stop_servers(servers)
            log.info("stopped", action="stop")


async def _run(
    settings: Settings, stop: asyncio.Event, *, listening: Sequence[socket.socket], servers: Sequence[Server], say: Say
) -> None:
    http, loops = _children(settings, listening)
    watched = [*(Child(one.plan.name, one.launch, running=one.process) for one in servers), *http, *loops]
    url = port.url(listening[0])
    try:
        for one in (*http, *loops):
            one.start()
        await _until_ready(url, watched, stop)
        folder.publish(settings.data_dir, _endpoints(settings, url))
        say(f"Usance is running. Ctrl-C stops it.\n  API     {url}/api\n  data    {settings.data_dir}")
        while not stop.is_set():
            _tend(watched)
            await process.wait_for_any(stop, seconds=_TEND_SECONDS)
    finally:
        for door in listening:
            door.close()
        for group in (http, loops):
            await _stop_children(group, seconds=settings.stop_seconds + _KILL_SECONDS)


def _emptied(path: Path) -> Path:
    shutil.rmtree(path, ignore_errors=True)
    path.mkdir(mode=0o700)
    return path


async def _with_servers(settings: Settings, *, servers: list[Server], stop: asyncio.Event) -> Settings:
    """Start what no URL was given for."""
    database_url, redis_url = settings.database_url, settings.redis_url
    if database_url is None:
        plan = embedded.plan_postgres(settings.data_dir / "postgres")
        database_url = await _start(plan, servers=servers, stop=stop)
    if redis_url is None:
        plan = embedded.plan_valkey(settings.data_dir / "valkey")
        redis_url = await _start(plan, servers=servers, stop=stop)
    return msgspec.structs.replace(settings, database_url=database_url, redis_url=redis_url)


async def _start(plan: Plan, *, servers: list[Server], stop: asyncio.Event) -> str:
    one = Server(plan)
    # Before it runs, so that it is stopped whatever happens on the way.
    servers.append(one)
    for _ in server.starting(one):
        await _pause(stop, seconds=server.POLL_SECONDS)
    log.info("started", action="start", child=plan.name, pid=one.pid)
    return plan.url


async def _prepare_database(settings: Settings, stop: asyncio.Event, *, say: Say) -> None:
    conn = await _connect(str(settings.database_url), stop)
    try:
        found = await db.revision(conn)
        if found is None or found < db.head():
            await _migrate(settings, stop)
        await db.check_schema(conn)
        await key.ensure_first(conn, settings, now=datetime.now(UTC), say=say)
    finally:
        await conn.close()


async def _connect(url: str, stop: asyncio.Event) -> db.Connection:
    deadline = time.monotonic() + _DATABASE_SECONDS_MAX
    while True:
        try:
            return await asyncpg.connect(url)
        except (OSError, asyncpg.CannotConnectNowError) as exc:
            # One given by URL may be starting at this moment, too.
            if time.monotonic() > deadline:
                raise StartError(f"the database does not answer: {exc}; look at --database-url") from exc
        except (asyncpg.PostgresError, asyncpg.InterfaceError, ValueError) as exc:
            raise StartError(f"the database refuses us: {exc}; look at --database-url") from exc
        await _pause(stop, seconds=_POLL_SECONDS)


async def _migrate(settings: Settings, stop: asyncio.Event) -> None:
    # In a process of its own: what alembic brings along would stay in ours for as long as it runs.
    migrating = child.launch_python(["migrate"], environment=settings.environment())()
    try:
        while migrating.poll() is None:
            await _pause(stop, seconds=_POLL_SECONDS)
    finally:
        migrating.terminate()
        migrating.wait()
    if migrating.returncode != 0:
        raise StartError("the database could not be migrated; the reason stands above")


def _children(settings: Settings, listening: Sequence[socket.socket]) -> tuple[list[Child], list[Child]]:
    """The HTTP processes and the loops."""

    def python(name: str, command: str, *, keep: Sequence[int] = (), **own: int) -> Child:
        environment = msgspec.structs.replace(settings, **own).environment(process=name)
        launch = child.launch_python([command], environment=environment, keep=keep)
        return Child(name, launch, final_exit_code=EXIT_CANNOT_START)

    http = [
        python(f"serve-{number}", "serve", keep=[fd], http_worker=number, listen_fd=fd)
        for number, fd in enumerate(one.fileno() for one in listening)
    ]
    return http, [python("aggregate", "aggregate"), python("invoice", "invoice")]


async def _until_ready(url: str, watched: Sequence[Child], stop: asyncio.Event) -> None:
    deadline = time.monotonic() + _READY_SECONDS_MAX
    while True:
        # The question waits in the socket until the HTTP process is there: its answer marks the moment.
        asking = asyncio.create_task(_ask_ready(url))
        try:
            while not asking.done():
                _tend(watched)
                await _pause(stop, seconds=_POLL_SECONDS)
        finally:
            asking.cancel()
        if asking.result() == "200":
            return
        if time.monotonic() > deadline:
            raise StartError(f"not ready after {_READY_SECONDS_MAX:.0f} s: {asking.result()}; see the log above")


async def _ask_ready(url: str) -> str:
    """The answer's status if it is 200, its text otherwise."""
    address = urlsplit(url)
    try:
        async with asyncio.timeout(_ANSWER_SECONDS_MAX):
            reader, writer = await asyncio.open_connection(address.hostname, address.port)
            with contextlib.closing(writer):
                writer.write(b"GET /ready HTTP/1.0\r\nHost: usance\r\n\r\n")
                said = (await reader.read()).decode(errors="replace")
    except (OSError, TimeoutError) as exc:
        return repr(exc)
    status = said.partition(" ")[2][:3]
    return status if status == "200" else said.rpartition("\r\n")[2]


def _endpoints(settings: Settings, url: str) -> Endpoints:
    return Endpoints(
        database_url=str(settings.database_url),
        redis_url=str(settings.redis_url),
        http_url=url,
        pid=os.getpid(),
    )


def _tend(watched: Sequence[Child]) -> None:
    for one in watched:
        one.tend()


async def _stop_children(children: Sequence[Child], *, seconds: float) -> None:
    """Ask all of them, wait for all of them, insist."""
    for one in children:
        one.send(signal.SIGTERM)
    deadline = time.monotonic() + seconds
    # Polled: a process's end is no event of the loop's.
    while any(one.is_alive() for one in children) and time.monotonic() < deadline:  # noqa: ASYNC110
        await asyncio.sleep(_POLL_SECONDS)
    for one in children:
        one.kill()


def _stop_servers(servers: Sequence[Server]) -> None:
    for one in reversed(servers):
        one.stop(_POSTGRES_SECONDS if one.plan.name == "Postgres" else _VALKEY_SECONDS)


async def _pause(stop: asyncio.Event, *, seconds: float) -> None:
    await process.wait_for_any(stop, seconds=seconds)
    if stop.is_set():
        raise _StopAsked
