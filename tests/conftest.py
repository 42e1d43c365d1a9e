"""Real servers for every test: one Postgres and one Valkey per worker process, an empty database per test.

database_url, pool, conn    a database like the migrated template, emptied after the test
redis_url, redis            the worker's Valkey, emptied before the test
account                     a Principal that exists in the database
"""

import asyncio
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from itertools import count
from typing import Any
from uuid import UUID

import asyncpg
import pytest
import uvloop
from redis.asyncio import Redis

from meter import stream
from runtime import embedded
from runtime.server import Server
from store import db
from store.account import Principal
from tests.database import Databases, url_of

_numbers = count(1)


# The product's loop, for every test. Not through pytest-asyncio's factory hook: that parametrizes the session's loop,
# so that an async fixture asked for by a plain test tears down the session fixtures of all the others.
asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--chaos", action="store_true", help="the long form of the tests of faults: many rounds of each")


@pytest.fixture(scope="session")
def postgres_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = embedded.start_postgres(tmp_path_factory.mktemp("postgres"), durable=False)
    yield server
    server.stop()


@pytest.fixture(scope="session")
def valkey_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = embedded.start_valkey(tmp_path_factory.mktemp("valkey"))
    yield server
    server.stop()


@pytest.fixture(scope="session")
async def admin(postgres_server: Server) -> AsyncIterator[db.Connection]:
    conn = await asyncpg.connect(url_of(postgres_server.url, "postgres"))
    yield conn
    await conn.close()


@pytest.fixture(scope="session")
async def template(postgres_server: Server, admin: db.Connection) -> str:
    await admin.execute("create database template_migrated")
    await db.migrate(url_of(postgres_server.url, "template_migrated"))
    return "template_migrated"


@pytest.fixture(scope="session")
async def databases(postgres_server: Server, admin: db.Connection, template: str) -> AsyncIterator[Databases]:
    databases = Databases(admin, url=postgres_server.url, template=template)
    yield databases
    await databases.close()


@pytest.fixture
async def database_url(postgres_server: Server, databases: Databases) -> AsyncIterator[str]:
    name = await databases.take()
    yield url_of(postgres_server.url, name)
    await databases.give_back(name)


@pytest.fixture
async def empty_database_url(postgres_server: Server, admin: db.Connection) -> AsyncIterator[str]:
    """A database without tables."""
    name = f"empty_{next(_numbers)}"
    await admin.execute(f"create database {name} strategy file_copy")
    yield url_of(postgres_server.url, name)
    await admin.execute(f"drop database {name} with (force)")


@pytest.fixture
async def pool(database_url: str) -> AsyncIterator[db.Pool]:
    pool = await db.connect_pool(database_url)
    yield pool
    await pool.close()


@pytest.fixture
async def conn(database_url: str) -> AsyncIterator[db.Connection]:
    conn = await asyncpg.connect(database_url, server_settings={"timezone": "UTC"})
    yield conn
    await conn.close()


@pytest.fixture
def redis_url(valkey_server: Server) -> str:
    return valkey_server.url


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[Redis]:
    redis = stream.connect(redis_url)
    await redis.flushall()
    yield redis
    await redis.aclose()


@pytest.fixture
async def account(conn: db.Connection) -> Principal:
    account_id = UUID("0193f000-0000-7000-8000-000000000001")
    number = await conn.fetchval(
        "insert into account (id, company_name, created_at, updated_at) values ($1, 'Test', $2, $2) returning account",
        account_id,
        datetime(2025, 1, 1, tzinfo=UTC),
    )
    return Principal(account=number, account_id=account_id, client_id="test", time_zone="UTC")


@pytest.fixture
def clock() -> Any:
    from tests.server import Clock  # noqa: PLC0415 - the tests of pure rules need not load a web server

    return Clock()


@pytest.fixture
async def api(pool: db.Pool, redis: Redis, conn: db.Connection, account: Principal, clock: Any) -> AsyncIterator[Any]:
    """The application, at an instant that stands still."""
    from tests.server import serving  # noqa: PLC0415 - as above
    from usance.loop import Servers  # noqa: PLC0415 - as above

    async with serving(Servers(pool, redis), conn=conn, account=account, clock=clock) as server:
        yield server


@pytest.fixture
async def server(pool: db.Pool, redis: Redis, conn: db.Connection, account: Principal) -> AsyncIterator[Any]:
    """The application, now."""
    from tests.server import serving  # noqa: PLC0415 - as above
    from usance.loop import Servers  # noqa: PLC0415 - as above

    async with serving(Servers(pool, redis), conn=conn, account=account) as server:
        yield server
