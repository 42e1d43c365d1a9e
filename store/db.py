"""Connections, and whether the database has the shape this code expects.

    connect_pool(url, min_size=, max_size=) -> asyncpg.Pool
    check_schema(conn)      raises SchemaMismatch, with the command to run
    begin(pool)             a transaction that may outlive the function that began it, and is rolled back unless told
    migrate(url)            brings the database to this code's revision

The revision a database has stands in `alembic_version`; the one this code expects is the last file in
migrations/versions. Comparing the two costs a query; alembic costs a second of imports, so it is loaded only when there
is something to do.

Errors:
    SchemaMismatch     older or newer than this code
"""

import asyncio
import importlib.util
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final, TypeAlias
from urllib.parse import parse_qs, urlsplit

import asyncpg
from asyncpg.pool import PoolConnectionProxy

from store import codec

Connection: TypeAlias = "asyncpg.Connection[Any] | PoolConnectionProxy[Any]"
Pool: TypeAlias = "asyncpg.Pool[Any]"

_CONNECT_SECONDS_MAX = 10
# A server that is on its way gets so long: recovery from a crash reads its log.
_STARTING_SECONDS_MAX, _STARTING_PAUSE_SECONDS = 60.0, 0.1
_QUERY_SECONDS_MAX = 300
# What a process holds when it dies, hangs or is cut off (an aggregator its stream, an invoicer its schedules) is
# somebody else's soon: a client that is gone is noticed in the middle of a statement, one that is silent in the middle
# of a transaction is sent away. A dead one whose machine lives frees everything at once without any of this.
# The same names behind the question mark of the URL win.
_LET_GO = {
    "client_connection_check_interval": "2s",
    "idle_in_transaction_session_timeout": "30s",
    "tcp_keepalives_idle": "10",
    "tcp_keepalives_interval": "5",
    "tcp_keepalives_count": "3",
}
# The same from our side: who waits for the answer of a server that is gone waits as long, not for the query's time-out.
_KEEPALIVE = {"TCP_KEEPIDLE": 10, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 3}
# Two who migrate at once wait for each other here. Any number does, as long as it stays the same.
_MIGRATION_LOCK: Final = 7_238_466_201
# Waiting for the lock, and building an index on a large table, may take long.
_MIGRATION_SECONDS_MAX = 3_600

# Whether anything was ever migrated here; to_regclass answers null where the table is not there.
_HAS_REVISION = "select to_regclass('alembic_version') is not null"
# One row, or none before the first migration.
_REVISION = "select version_num from alembic_version"
_LOCK = "select pg_advisory_lock($1)"


class SchemaMismatch(Exception):
    """The database does not have the shape this code expects."""

    code = "SCHEMA_MISMATCH"


async def connect_pool(url: str, *, min_size: int = 1, max_size: int = 8) -> Pool:
    """A pool of connections in UTC; it connects `min_size` times before it returns."""
    given = parse_qs(urlsplit(url).query)
    let_go = {name: value for name, value in _LET_GO.items() if name not in given}
    deadline = asyncio.get_running_loop().time() + _STARTING_SECONDS_MAX
    while True:
        try:
            return await _connect_pool(url, let_go, min_size=min_size, max_size=max_size)
        except asyncpg.ProtocolViolationError:
            # PgBouncer takes none of these. It notices a client that is gone by itself, and has a time-out of its own
            # for one that is silent.
            let_go = {}
        except asyncpg.CannotConnectNowError:
            # It starts, or recovers from a crash.
            if asyncio.get_running_loop().time() >= deadline:
                raise
            await asyncio.sleep(_STARTING_PAUSE_SECONDS)


async def _connect_pool(url: str, let_go: Mapping[str, str], *, min_size: int, max_size: int) -> Pool:
    return await asyncpg.create_pool(
        url,
        min_size=min_size,
        max_size=max_size,
        timeout=_CONNECT_SECONDS_MAX,
        command_timeout=_QUERY_SECONDS_MAX,
        server_settings={"timezone": "UTC", "application_name": "usance", **let_go},
        init=_prepare,
        reset=_keep,
    )


class Transaction:
    """What `begin` began."""

    def __init__(self, conn: Connection) -> None:
        self.conn = conn
        self.is_kept = False

    @property
    def is_lost(self) -> bool:
        """Whether the connection is gone, and all of it rolled back."""
        try:
            return self.conn.is_closed()
        except asyncpg.InterfaceError:
            # The pool has taken it back already.
            return True

    def keep(self) -> None:
        """Let the end of the scope commit; an error there says that nothing became true, or that nobody knows."""
        self.is_kept = True


class _Unwanted(Exception):
    pass


@asynccontextmanager
async def begin(pool: Pool) -> AsyncIterator[Transaction]:
    """A transaction on a connection of the pool. Leaving the scope rolls it back, unless `keep` was called."""
    async with pool.acquire() as conn:
        begun, is_unwanted = Transaction(conn), False
        try:
            async with conn.transaction():
                yield begun
                is_unwanted = not begun.is_kept
                if is_unwanted:
                    raise _Unwanted  # noqa: TRY301 rolls back
        except Exception:
            # A connection that is gone has rolled back as well.
            if not is_unwanted:
                raise


async def _prepare(conn: Connection) -> None:
    """What every new connection is given; it costs no trip."""
    codec.declare(conn)
    _keep_alive(conn)


def _keep_alive(conn: Connection) -> None:
    # asyncpg has no option for it.
    opened: socket.socket = conn._transport.get_extra_info("socket")  # type: ignore[union-attr]  # noqa: SLF001
    if opened.family == socket.AF_UNIX:
        return
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in _KEEPALIVE.items():
        # Some systems call one of them otherwise; theirs then are minutes.
        if hasattr(socket, name):
            opened.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


async def _keep(_: Connection) -> None:
    """Give a connection back as it is: an open transaction has been rolled back, and nobody changes a session but for a
    temporary table that every transaction finds empty. Resetting what nobody sets would cost every request a trip.
    """


async def check_schema(conn: Connection) -> None:
    """Refuse to work on a database that is older or newer than this code."""
    found, expected = await revision(conn), head()
    if found == expected:
        return
    if found is None or found < expected:
        raise SchemaMismatch(
            f"the database is at revision {found or 'none'}, this version of Usance needs {expected}: "
            "run `usance migrate`, then start again"
        )
    raise SchemaMismatch(
        f"the database is at revision {found}, newer than the {expected} of this version of Usance: "
        "update this installation with `git pull && make install`, then start again"
    )


async def revision(conn: Connection) -> str | None:
    """The revision the database has; None before the first migration."""
    if not await conn.fetchval(_HAS_REVISION):
        return None
    found: str | None = await conn.fetchval(_REVISION)
    return found


def head() -> str:
    """The revision this code expects: the last file's number."""
    return max(path.stem[:4] for path in (migrations_folder() / "versions").glob("[0-9]*.sql"))


def migrations_folder() -> Path:
    """Where the migrations are installed; they are files, not modules."""
    found = importlib.util.find_spec("migrations")
    if found is None or not found.submodule_search_locations:
        raise SchemaMismatch("the migrations are not installed beside the code: install Usance again")
    return Path(next(iter(found.submodule_search_locations)))


async def migrate(url: str) -> str:
    """Bring the database to this code's revision, one at a time; answers the revision it had, or `none`."""
    conn = await asyncpg.connect(url, timeout=_CONNECT_SECONDS_MAX, command_timeout=_MIGRATION_SECONDS_MAX)
    try:
        # Held until the connection closes; whoever waited finds the work done.
        await conn.execute(_LOCK, _MIGRATION_LOCK)
        found = await revision(conn)
        if found == head():
            return found
        if found is not None and found > head():
            await check_schema(conn)
        await _upgrade(conn)
        return found or "none"
    finally:
        await conn.close()


async def _upgrade(conn: Connection) -> None:
    from alembic import command  # noqa: PLC0415 - a second of imports that most starts need not pay
    from alembic.config import Config  # noqa: PLC0415
    from sqlalchemy.ext.asyncio import create_async_engine  # noqa: PLC0415
    from sqlalchemy.pool import StaticPool  # noqa: PLC0415

    async def opened() -> Connection:
        return conn

    # Our own connection, so that every way of writing a Postgres URL works, and the lock is held by who does the work.
    engine = create_async_engine("postgresql+asyncpg://", async_creator=opened, poolclass=StaticPool)
    config = Config()
    config.set_main_option("script_location", str(migrations_folder()))
    config.set_main_option("path_separator", "os")

    def upgrade(connection: Any) -> None:
        config.attributes["connection"] = connection
        command.upgrade(config, "head")

    async with engine.connect() as connection:
        await connection.run_sync(upgrade)
