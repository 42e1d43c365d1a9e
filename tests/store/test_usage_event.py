"""A page of events is read along ranges of indexes, whatever the planner thinks of averages."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime

import msgspec
import pytest
from redis.asyncio import Redis

from store import usage_event
from store.account import Principal
from store.db import Connection, Pool
from store.usage_event import FIRST, LAST, EventPage, Filter, Sort
from tests.usage import accept, aggregator, called, drain

FIVE = list(range(1, 6))
EVENTS = 300_000
EDGES = [FIRST.at, FIRST.number, LAST.at, LAST.number]
EVERYWHERE = [FIRST.at, [FIRST.number], LAST.at, [LAST.number]]
# With a stop in the second one.
STRETCHES = [FIRST.at, [150_000, 92_001], LAST.at, [162_000, 100_001]]
STATEMENTS = {
    "page": (usage_event._PAGE[True], EVERYWHERE, [None, None, False, 21, 0, 20_000, None, None]),
    "filtered page": (usage_event._PAGE[False], EVERYWHERE, [None, "rare", True, 21, 0, 20_000, None, None]),
    "stop": (usage_event._STOP[True], EVERYWHERE, [20_000]),
    "page of stretches": (usage_event._PAGE[True], STRETCHES, [None, "rare", True, 21, 0, 20_000, None, None]),
    "stop in stretches": (usage_event._STOP[True], STRETCHES, [15_000]),
    "alias page": (usage_event._ALIAS_PAGE[True], EDGES, [FIVE, None, False, 21, 0, 4_000, None, None]),
    "filtered alias page": (usage_event._ALIAS_PAGE[False], EDGES, [FIVE, "rare", True, 21, 0, 4_000, None, None]),
    "alias stop": (usage_event._ALIAS_STOP[True], EDGES, [4_000, FIVE]),
}
# Every third event is of the first alias: what is true of the average is not true of it.
MANY = f"""
    create table usage_event_2025_03 partition of usage_event for values from ('2025-03-01') to ('2025-04-01');
    create table usage_event_2025_04 partition of usage_event for values from ('2025-04-01') to ('2025-05-01');
    insert into usage_alias (account, value) select account, 'a' || n from account, generate_series(1, 1000) as n;
    insert into usage_event (account, alias, event_no, event_timestamp, received_at, entry_ms, entry_sequence,
        entry_index, key, event_type, properties)
    select account, case n % 3 when 0 then 1 else 1 + n % 1000 end, n, at, at, n, 0, 0, gen_random_uuid(),
        'call', '{{}}'
    from account, generate_series(1, {EVENTS}) as n,
        lateral (select timestamptz '2025-03-01 UTC' + n * interval '15 seconds') as t (at);
    analyze;
"""


@pytest.mark.slow
@pytest.mark.usefixtures("account")
async def test_a_page_reads_ranges_of_indexes_only(conn: Connection) -> None:
    await conn.execute(MANY)
    who = await conn.fetchval("select account from account")

    for mode in ("force_custom_plan", "force_generic_plan"):
        await conn.execute(f"set plan_cache_mode = {mode}")
        for name, (statement, edges, more) in STATEMENTS.items():
            async with conn.transaction():
                await conn.execute(usage_event._ALONG_INDEXES)
                rows = await conn.fetch(f"explain (analyze, costs off, timing off) {statement}", who, *edges, *more)
            plan = "\n".join([f"{name}, {mode}", *(row[0] for row in rows)])
            scans = [line for line in plan.splitlines() if " Scan " in line and "usage_event" in line]

            assert scans, plan
            assert all("Index" in line for line in scans), plan
            assert max(rows_of(line) for line in scans) <= 20_000, plan
            # Nothing is sorted but the rows of the page, and runs of equal instants.
            assert max([0, *(rows_of(line) for line in plan.splitlines() if "> Sort " in line)]) <= 5 * 21, plan


@pytest.mark.parametrize("is_descending", [False, True])
async def test_months_that_were_over_before_a_range_began_are_not_walked(
    pool: Pool,
    conn: Connection,
    redis: Redis,
    account: Principal,
    monkeypatch: pytest.MonkeyPatch,
    *,
    is_descending: bool,
) -> None:
    # The sender of the second one has a clock that is a little fast.
    for month, when in ((1, "2025-01-28T12:00:00Z"), (2, "2025-03-01T00:00:30Z"), (3, "2025-03-28T12:00:00Z")):
        late = [called(f"late{month}{n}", when="2025-01-10T12:00:00Z") for n in range(9)]
        now = datetime(2025, month, 28, 23, 56, tzinfo=UTC)
        await accept(redis, account, *late, called(f"e{month}", when=when), now=now)
        await drain(aggregator(pool, redis), now)
    monkeypatch.setattr(usage_event, "WALK_MAX", 5)
    since = Filter(start=datetime(2025, 3, 1, tzinfo=UTC))
    first = EventPage(limit=20, sort=Sort.RECEIPT, is_descending=is_descending)

    pages = [page async for page in paged(conn, account, where=since, page=first)]

    # February's event is among them; ten of each month, five to a page.
    assert sorted(name for page in pages for name in page) == ["e2", "e3"]
    assert len(pages) <= 5


async def paged(conn: Connection, account: Principal, *, where: Filter, page: EventPage) -> AsyncIterator[list[str]]:
    """The sender's ids on each page."""
    while True:
        async with conn.transaction():
            found = await usage_event.listing(conn, account.account, where=where, page=page)
        yield [one.customer_event_id for one in found.items]
        if found.after is None:
            return
        page = msgspec.structs.replace(page, after=found.after)


def rows_of(line: str) -> float:
    """In all rounds together."""
    rows, loops = (line.partition(f" {name}=")[2].partition(" ")[0].rstrip(")") for name in ("rows", "loops"))
    # A scan that was not needed has neither.
    return float(rows or 0) * float(loops or 0)
