"""The invoicer is cut off from Postgres and Redis while it bills; every charge is billed exactly once afterwards."""

import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import pytest

from runtime.server import Server
from store.db import Connection
from tests import company
from tests.fleet import ROOT, kill, some_time
from tests.proxy import Proxy

pytestmark = pytest.mark.slow

CUSTOMERS = 60
MONTHS = 12
CALLS = 3
# A deadline, not a promise: the machine may be busy with other things.
SECONDS_MAX = 600.0
# Redis' time-out is 5 s; that of a silent transaction is as short as the form of the test, and the same for both.
REDIS_SECONDS, IDLE_SECONDS, LONG_IDLE_SECONDS = 6, 2, 30

# A doubled or lost line shows in the sum: the prices have nothing in common.
FACTS = """
select count(distinct invoice.id) as invoices, count(line.id) as lines, sum(line.net_minor)::bigint as total
from invoice left join invoice_line line on line.account = invoice.account and line.invoice = invoice.id
"""
BILLED = "select count(*) from invoice"
# Whether somebody holds the lock that a claim takes.
CLAIMING = """
select exists (select from pg_locks where relation = 'billing_schedule'::regclass and mode = 'RowShareLock')
"""

Lines = tuple[Proxy, Proxy]


@pytest.fixture
async def lines(postgres_server: Server, valkey_server: Server) -> AsyncIterator[Lines]:
    """To Postgres and to Redis."""
    host = parse_qs(urlsplit(postgres_server.url).query)["host"][0]
    postgres = await Proxy.to_socket(f"{host}/.s.PGSQL.5432")
    valkey = await Proxy.to_socket(unquote(urlsplit(valkey_server.url).path))
    yield postgres, valkey
    await postgres.close()
    await valkey.close()


async def test_an_invoicer_that_is_cut_off_bills_everything_once(
    api: Any, conn: Connection, lines: Lines, database_url: str, *, is_long: bool
) -> None:
    await _company(api)
    postgres, valkey = lines
    idle_seconds = LONG_IDLE_SECONDS if is_long else IDLE_SECONDS
    url = f"postgresql://usance@127.0.0.1:{postgres.port}{urlsplit(database_url).path}"
    url += f"?idle_in_transaction_session_timeout={idle_seconds}s"

    async with _invoicing(url, f"redis://127.0.0.1:{valkey.port}"):
        # Each falls into the middle of a run, so there must be something left to bill.
        await _strike(conn, lambda: _pause(postgres, idle_seconds + 1))
        await _strike(conn, lambda: _cut(postgres))
        await _strike(conn, lambda: _pause(valkey, REDIS_SECONDS))
        await _strike(conn, lambda: _lose(valkey))
        await _strike(conn, lambda: _cut_and_look(valkey, conn))
        await _until_billed(conn)
        await some_time()

    facts = await conn.fetchrow(FACTS)
    assert facts is not None
    assert dict(facts) == {
        "invoices": CUSTOMERS * MONTHS,
        "lines": CUSTOMERS * MONTHS * 2,
        "total": CUSTOMERS * MONTHS * (107_00 + CALLS * 11),
    }


async def _company(api: Any) -> None:
    """A year of customers that ends, with usage in each month."""
    calls = await company.metric(api)
    prices = [await company.price(api, one) for one in (company.fixed("107"), company.linear("0.11", calls))]
    for n in range(CUSTOMERS):
        customer = await company.customer(api, f"customer-{n}")
        await company.schedule(api, customer, prices, start="2024-03-01", endDate="2025-02-28")
        months = [f"2024-{m:02}" for m in range(3, 13)] + ["2025-01", "2025-02"]
        events = [
            company.event(f"{n}-{month}-{call}", f"{month}-{10 + call}T12:00:00Z", alias=f"customer-{n}")
            for month in months
            for call in range(CALLS)
        ]
        assert (await api.post("/usage-events", events)).status == 202
    await api.aggregate()


@asynccontextmanager
async def _invoicing(postgres: str, valkey: str) -> AsyncIterator[None]:
    command = [sys.executable, "-m", "usance.cli", "invoice", "--database-url", postgres, "--redis-url", valkey]
    process = await asyncio.create_subprocess_exec(*command, cwd=ROOT, stdout=asyncio.subprocess.DEVNULL)
    try:
        yield
        assert process.returncode is None
    finally:
        await kill(process)


async def _strike(conn: Connection, fault: Callable[[], Awaitable[None]]) -> None:
    async with asyncio.timeout(SECONDS_MAX):
        while not await conn.fetchval(CLAIMING):  # noqa: ASYNC110 another process's lock
            await asyncio.sleep(0.002)
        assert await conn.fetchval(BILLED) < CUSTOMERS * MONTHS
        await fault()


async def _pause(proxy: Proxy, seconds: float) -> None:
    proxy.pause()
    await asyncio.sleep(seconds)
    proxy.flow()


async def _cut(proxy: Proxy) -> None:
    proxy.cut()
    await some_time()
    proxy.flow()


async def _lose(proxy: Proxy) -> None:
    proxy.lose()
    await some_time()


async def _cut_and_look(valkey: Proxy, conn: Connection) -> None:
    """Without a look at the ends of the streams nobody knows whether everything is counted: nothing is billed."""
    valkey.cut()
    # The run in which this fell may have looked before.
    while await conn.fetchval(CLAIMING):  # noqa: ASYNC110 another process's lock
        await asyncio.sleep(0.002)
    billed = await conn.fetchval(BILLED)
    await asyncio.sleep(1)
    assert await conn.fetchval(BILLED) == billed
    valkey.flow()


async def _until_billed(conn: Connection) -> None:
    async with asyncio.timeout(SECONDS_MAX):
        while await conn.fetchval(BILLED) < CUSTOMERS * MONTHS:  # noqa: ASYNC110 another process
            await asyncio.sleep(0.05)
