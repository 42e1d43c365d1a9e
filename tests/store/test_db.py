"""The schema: replayed from zero, migrated once by many, refused when it is not this code's."""

import asyncio
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, nullcontext
from urllib.parse import parse_qs, urlsplit

import asyncpg
import pytest

from runtime.server import Server
from store import db
from tests.pooler import Pooler

# What a server is told about its clients.
LET_GO = {
    "client_connection_check_interval": ("2000", "ms"),
    "idle_in_transaction_session_timeout": ("30000", "ms"),
    "tcp_keepalives_idle": ("10", "s"),
    "tcp_keepalives_interval": ("5", "s"),
    "tcp_keepalives_count": ("3", None),
}


async def test_migrations_replay_from_zero(empty_database_url: str) -> None:
    before = await db.migrate(empty_database_url)

    assert before == "none"
    assert await revision_of(empty_database_url) == db.head()


async def test_four_migrations_at_once_take_turns(empty_database_url: str) -> None:
    results = await asyncio.gather(*(db.migrate(empty_database_url) for _ in range(4)))

    assert sorted(results) == sorted(["none"] + [db.head()] * 3)


async def test_a_migrated_database_passes(conn: db.Connection) -> None:
    await db.check_schema(conn)


async def test_an_empty_database_is_refused_with_the_command_to_run(empty_database_url: str) -> None:
    conn = await asyncpg.connect(empty_database_url)

    with pytest.raises(db.SchemaMismatch, match="run `usance migrate`"):
        await db.check_schema(conn)
    await conn.close()


async def test_an_older_database_is_refused_with_the_command_to_run(conn: db.Connection) -> None:
    await conn.execute("update alembic_version set version_num = '0001'")

    with pytest.raises(db.SchemaMismatch, match=r"at revision 0001.*run `usance migrate`"):
        await db.check_schema(conn)


async def test_a_newer_database_is_refused_with_the_command_to_run(conn: db.Connection, database_url: str) -> None:
    await conn.execute("update alembic_version set version_num = '9999'")

    with pytest.raises(db.SchemaMismatch, match=r"newer than.*make install"):
        await db.check_schema(conn)
    with pytest.raises(db.SchemaMismatch):
        await db.migrate(database_url)


async def test_a_failing_migration_leaves_nothing(empty_database_url: str) -> None:
    conn = await asyncpg.connect(empty_database_url)
    await conn.execute("create table invoice (id integer)")  # in the way of a later revision

    with pytest.raises(asyncpg.DuplicateTableError):
        await db.migrate(empty_database_url)
    assert await conn.fetchval("select to_regclass('account')") is None
    await conn.close()


def test_every_sql_file_has_its_revision() -> None:
    versions = db.migrations_folder() / "versions"

    assert {path.stem for path in versions.glob("0*.sql")} == {path.stem for path in versions.glob("0*.py")}


async def test_a_migrated_database_needs_no_alembic(database_url: str) -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c"),
        "import asyncio, sys; from store import db; asyncio.run(db.migrate(sys.argv[1])); "
        "sys.exit('alembic' in sys.modules)",
        database_url,
    )

    assert await process.wait() == 0


async def test_connections_speak_utc(pool: db.Pool) -> None:
    assert await pool.fetchval("show timezone") == "UTC"


async def test_a_server_lets_go_of_who_is_gone_or_silent(pool: db.Pool) -> None:
    async with pool.acquire() as conn:
        # A socket of this machine has no keepalive to show: what was asked for stands as the session's default.
        rows = await conn.fetch("select name, reset_val, unit from pg_settings where name = any($1)", list(LET_GO))

    assert {row["name"]: (row["reset_val"], row["unit"]) for row in rows} == LET_GO


async def test_the_url_says_otherwise(database_url: str) -> None:
    pool = await db.connect_pool(f"{database_url}&idle_in_transaction_session_timeout=77s")

    assert await pool.fetchval("show idle_in_transaction_session_timeout") == "77s"
    assert await pool.fetchval("show client_connection_check_interval") == "2s"
    await pool.close()


async def test_a_silent_transaction_is_sent_away_and_its_locks_are_free(database_url: str, conn: db.Connection) -> None:
    pool = await db.connect_pool(f"{database_url}&idle_in_transaction_session_timeout=100ms", max_size=1)
    silent = await pool.acquire()
    await silent.execute("begin")
    await silent.execute("lock table account")

    # Waits for the lock, which nobody gives back.
    await conn.execute("lock table account; select", timeout=10)
    # There is nothing to take leave of.
    pool.terminate()


@pytest.fixture
async def pooler(postgres_server: Server) -> AsyncIterator[Pooler]:
    """Of the worker's Postgres."""
    host = parse_qs(urlsplit(postgres_server.url).query)["host"][0]
    one = await Pooler.to_socket(f"{host}/.s.PGSQL.5432")
    yield one
    await one.close()


async def test_connections_notice_a_server_that_is_gone(pooler: Pooler, database_url: str) -> None:
    pool = await db.connect_pool(pooler.url(database_url))
    async with pool.acquire() as conn:
        opened = conn._transport.get_extra_info("socket")

        assert opened.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
        assert opened.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 10
        assert opened.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL) == 5
        assert opened.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT) == 3
    await pool.close()


async def test_a_pooler_that_refuses_our_parameters_is_asked_without_them(pooler: Pooler, database_url: str) -> None:
    pooler.refused = b"client_connection_check_interval"
    pool = await db.connect_pool(pooler.url(database_url))

    assert pooler.refusals == 1
    assert await pool.fetchval("show timezone") == "UTC"
    assert await pool.fetchval("show idle_in_transaction_session_timeout") == "0"
    await pool.close()


async def revision_of(url: str) -> str | None:
    conn = await asyncpg.connect(url)
    try:
        return await db.revision(conn)
    finally:
        await conn.close()


async def test_a_server_that_is_still_on_its_way_is_waited_for(database_url: str) -> None:
    said = b"SFATAL\0VFATAL\0C57P03\0Mthe database system is in recovery mode\0\0"
    refused = 0
    host = parse_qs(urlsplit(database_url).query)["host"][0]

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal refused
        if refused < 2:
            refused += 1
            await reader.read(1 << 16)
            writer.write(b"E" + (len(said) + 4).to_bytes(4, "big") + said)
        else:
            behind, ahead = await asyncio.open_unix_connection(f"{host}/.s.PGSQL.5432")
            await asyncio.gather(_pass_on(reader, ahead), _pass_on(behind, writer))
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as listening:
        port = listening.sockets[0].getsockname()[1]
        pool = await db.connect_pool(
            f"postgresql://usance@127.0.0.1:{port}{urlsplit(database_url).path}?sslmode=disable"
        )
        assert await pool.fetchval("select 1") == 1
        await pool.close()

    assert refused == 2


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while piece := await reader.read(1 << 16):
        writer.write(piece)
        await writer.drain()
    writer.close()


INSERT = "insert into stream_position (stream) values ('{x}')"
HOW_MANY = "select count(*) from stream_position"


async def test_what_is_begun_is_rolled_back_unless_it_is_kept(pool: db.Pool, conn: db.Connection) -> None:
    for is_kept in (False, True):
        async with db.begin(pool) as transaction:
            await transaction.conn.execute(INSERT)
            if is_kept:
                transaction.keep()

        assert await conn.fetchval(HOW_MANY) == is_kept


async def test_what_goes_wrong_after_it_is_kept_rolls_it_back(pool: db.Pool, conn: db.Connection) -> None:
    async with AsyncExitStack() as scope:
        scope.enter_context(pytest.raises(ZeroDivisionError))
        transaction = await scope.enter_async_context(db.begin(pool))
        await transaction.conn.execute(INSERT)
        transaction.keep()
        raise ZeroDivisionError

    assert await conn.fetchval(HOW_MANY) == 0


async def test_a_lost_connection_has_rolled_back_what_nobody_kept(pool: db.Pool, conn: db.Connection) -> None:
    for is_kept in (False, True):
        with pytest.raises(asyncpg.InterfaceError) if is_kept else nullcontext():
            async with db.begin(pool) as transaction:
                await transaction.conn.execute(INSERT)
                pid = await transaction.conn.fetchval("select pg_backend_pid()")
                await conn.fetch("select pg_terminate_backend($1, 10000)", pid)
                await asyncio.sleep(0.1)
                if is_kept:
                    transaction.keep()

        assert await conn.fetchval(HOW_MANY) == 0
    assert await pool.fetchval("select 1") == 1
