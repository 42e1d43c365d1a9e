"""Keys: how they are sent, what they open, and that they outlive the database."""

import base64
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from uuid_utils.compat import uuid7

from api import error, status
from api.auth import FRESH_SECONDS, Keys, credentials
from runtime import embedded
from store import account as accounts
from store import db
from store.account import Principal
from store.db import Connection, Pool
from tests.server import CLIENT_ID, SECRET, Clock, Server


def basic(pair: str) -> str:
    return "Basic " + base64.b64encode(pair.encode()).decode()


@pytest.mark.parametrize("header", [basic("id:se:cret"), "Bearer id:se:cret", "bearer  id:se:cret"])
def test_a_key_comes_as_basic_or_bearer(header: str) -> None:
    assert credentials(header) == ("id", "se:cret")


@pytest.mark.parametrize(
    "header",
    [
        *("", "Basic", "Basic !!", "Basic /w==", "Digest id:secret", "Bearer id", f"Bearer {'a' * 600}:{'b' * 600}"),
        *(basic("id"), basic(":secret"), basic("id:"), basic("id\0:secret")),
    ],
)
def test_anything_else_is_no_key(header: str) -> None:
    with pytest.raises(error.Unauthenticated):
        credentials(header)


@pytest.mark.parametrize("header", ["", f"Bearer {CLIENT_ID}:wrong", f"Bearer unknown:{SECRET}"])
@pytest.mark.parametrize("path", ["/products", "/nowhere"])
async def test_without_a_good_key_everything_below_api_is_closed(api: Server, header: str, path: str) -> None:
    reply = await api.get(path, headers={"Authorization": header})

    assert (reply.status, reply.codes) == (401, ["UNAUTHENTICATED"])
    assert reply.headers["WWW-Authenticate"].startswith("Basic")


async def test_bearer_opens_what_basic_opens(api: Server) -> None:
    reply = await api.get("/products", headers={"Authorization": f"Bearer {CLIENT_ID}:{SECRET}"})

    assert reply.status == 200


@pytest.mark.parametrize("path", ["//health", "//ready", "//metrics"])
async def test_what_machines_ask_needs_no_key(api: Server, path: str) -> None:
    assert (await api.get(path, headers={"Authorization": ""})).status == 200


async def test_a_key_of_another_account_opens_only_that_one(api: Server, conn: Connection, clock: Clock) -> None:
    await api.made("/products", {"name": "Mine"})
    other = await conn.fetchval(
        "insert into account (id, company_name, created_at, updated_at) values (gen_random_uuid(), 'B', now(), now()) "
        "returning account"
    )
    await accounts.create_key(conn, other, client_id="other", secret="other-secret", now=clock())

    reply = await api.get("/products", headers={"Authorization": "Bearer other:other-secret"})

    assert reply.body["items"] == []


class Monotonic:
    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
async def outage(tmp_path: Path) -> AsyncIterator[tuple[Pool, Callable[[], None]]]:
    """A pool on a database of its own, and the means to take it away."""
    server = embedded.start_postgres(tmp_path, durable=False)
    await db.migrate(server.url)
    pool = await db.connect_pool(server.url, min_size=1, max_size=2)
    yield pool, server.stop
    pool.terminate()
    server.stop()


async def made_key(pool: Pool, clock: Clock) -> None:
    async with pool.acquire() as conn, conn.transaction():
        owner = await accounts.ensure_first(conn, account_id=uuid7(), company_name="A", time_zone="UTC", now=clock())
        await accounts.create_key(conn, owner, client_id=CLIENT_ID, secret=SECRET, now=clock())


async def test_a_known_key_outlives_the_database_and_an_unknown_one_is_not_refused(
    outage: tuple[Pool, Callable[[], None]], clock: Clock
) -> None:
    pool, stop = outage
    await made_key(pool, clock)
    seconds = Monotonic()
    keys = Keys(pool, monotonic=seconds)
    known = await keys.principal(client_id=CLIENT_ID, secret=SECRET)

    stop()
    seconds.seconds += 10 * FRESH_SECONDS

    assert await keys.principal(client_id=CLIENT_ID, secret=SECRET) == known
    with pytest.raises(error.Unauthenticated):
        await keys.principal(client_id=CLIENT_ID, secret="wrong")
    with pytest.raises(Exception) as caught:  # noqa: PT011 which one depends on how the server went
        await keys.principal(client_id="never-seen", secret=SECRET)
    assert status.is_database_away(caught.value)


async def test_a_revoked_key_stops_working_when_it_is_looked_up_again(
    pool: Pool, conn: Connection, account: Principal, clock: Clock
) -> None:
    await accounts.create_key(conn, account.account, client_id=CLIENT_ID, secret=SECRET, now=clock())
    seconds = Monotonic()
    keys = Keys(pool, monotonic=seconds)
    await keys.principal(client_id=CLIENT_ID, secret=SECRET)

    await conn.execute("update api_key set revoked_at = now()")
    await keys.principal(client_id=CLIENT_ID, secret=SECRET)
    seconds.seconds += FRESH_SECONDS

    with pytest.raises(error.Unauthenticated):
        await keys.principal(client_id=CLIENT_ID, secret=SECRET)


async def test_a_header_that_opened_is_known_for_as_long_as_its_key(
    pool: Pool, conn: Connection, account: Principal, clock: Clock
) -> None:
    await accounts.create_key(conn, account.account, client_id=CLIENT_ID, secret=SECRET, now=clock())
    header, seconds = basic(f"{CLIENT_ID}:{SECRET}"), Monotonic()
    keys = Keys(pool, monotonic=seconds)
    assert keys.sender(header) is None

    async def open_() -> None:
        keys.remember(header, await keys.principal(client_id=CLIENT_ID, secret=SECRET))

    await open_()
    assert keys.sender(header) == await keys.principal(client_id=CLIENT_ID, secret=SECRET)
    assert keys.sender(basic(f"{CLIENT_ID}:another")) is None
    seconds.seconds += FRESH_SECONDS
    assert keys.sender(header) is None
    await open_()
    assert keys.sender(header) is not None


async def test_a_header_is_forgotten_with_its_key(
    pool: Pool, conn: Connection, account: Principal, clock: Clock
) -> None:
    await accounts.create_key(conn, account.account, client_id=CLIENT_ID, secret=SECRET, now=clock())
    header, seconds = basic(f"{CLIENT_ID}:{SECRET}"), Monotonic()
    keys = Keys(pool, monotonic=seconds)
    keys.remember(header, await keys.principal(client_id=CLIENT_ID, secret=SECRET))

    await conn.execute("update api_key set revoked_at = now()")
    seconds.seconds += FRESH_SECONDS
    with pytest.raises(error.Unauthenticated):
        await keys.principal(client_id=CLIENT_ID, secret="wrong")

    assert keys.sender(header) is None


async def test_a_header_is_not_remembered_for_a_key_that_was_read_anew(
    pool: Pool, conn: Connection, account: Principal, clock: Clock
) -> None:
    await accounts.create_key(conn, account.account, client_id=CLIENT_ID, secret=SECRET, now=clock())
    header, seconds = basic(f"{CLIENT_ID}:{SECRET}"), Monotonic()
    keys = Keys(pool, monotonic=seconds)
    before = await keys.principal(client_id=CLIENT_ID, secret=SECRET)
    seconds.seconds += FRESH_SECONDS
    await keys.principal(client_id=CLIENT_ID, secret=SECRET)

    keys.remember(header, before)

    assert keys.sender(header) is None
