"""An old range of time in the order of receipt: found where its hours stand, and just what walking past all finds."""

from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

import msgspec
import numpy as np
import pytest
from redis.asyncio import Redis

from meter.aggregate import Aggregator
from store import db, event_hour, stream_position, usage_event
from store.account import Principal
from store.db import Connection, Pool
from store.event import NUMBERS_PER_BLOCK as BLOCK
from store.event_hour import EVERYWHERE
from store.usage_event import EventPage, Filter, Sort
from tests.backfill import Loading
from tests.server import Server
from tests.usage import NOW, accept, aggregator, another_account, at, called, differences, drain

HOUR = 1 << 32
MINUTE = timedelta(minutes=1)
FIRST_DAY = at("2025-03-01")
RANDOM_BATCHES = 90
SHARED = "select count(*) from usage_event_hour where last_no - first_no > 1048576"
# What a list shows, said without an index.
PLAIN = """
select coalesce(customer_event_id, key::text) as name from usage_event
where account = $1 and state in ('live', 'cancelled')
    and ($2::timestamptz is null or event_timestamp > $2) and ($3::timestamptz is null or event_timestamp < $3)
order by event_no
"""
# How many rows of raw events this transaction has read so far.
ROWS_READ = """
select coalesce(sum(idx_tup_fetch + seq_tup_read), 0)::bigint from pg_stat_xact_user_tables
where relname like 'usage_event_2%' or relname = 'usage_event_default'
"""


def test_events_stand_in_their_hours() -> None:
    timestamps = np.array([7 * HOUR, 8 * HOUR - 1, 3 * HOUR, 8 * HOUR, 3 * HOUR + 5])

    rows = event_hour.stretches(1, block=17 * BLOCK, timestamps=timestamps)

    assert sorted(rows) == [(1, hour, 16 * BLOCK, 32 * BLOCK - 1) for hour in (3, 7, 8)]


@pytest.mark.parametrize(
    ("events", "first", "last"),
    [(999, 16 * BLOCK, 32 * BLOCK - 1), (1000, 17 * BLOCK, 18 * BLOCK - 1)],
)
def test_few_events_share_their_stretch_with_the_next_blocks(events: int, first: int, last: int) -> None:
    rows = event_hour.stretches(1, block=17 * BLOCK, timestamps=np.full(events, HOUR))

    assert list(rows) == [(1, 1, first, last)]
    assert event_hour.stretch(1, event_no=17 * BLOCK + 5, timestamp=HOUR) == (1, 1, 17 * BLOCK, 18 * BLOCK - 1)


@pytest.mark.parametrize("is_down", [True, False])
async def test_places_are_read_piece_by_piece_and_none_is_missed(
    conn: Connection, account: Principal, *, is_down: bool
) -> None:
    random = Random(2)  # noqa: S311 - the same every time
    blocks = sorted(random.sample(range(400), 300))
    sizes = {block: random.choice([1] * 20 + [16]) for block in blocks}
    firsts = [(block - block % size, size) for block, size in sizes.items()]
    rows = [(account.account, random.choice([5, 6]), a * BLOCK, (a + n) * BLOCK - 1) for a, n in firsts]
    await event_hour.add(conn, [*rows, *rows, (account.account, 8, 0, BLOCK - 1)])

    found: list[int] = []
    low, high = -1, 1 << 60
    while True:
        hours, between = range(5, 8), (low, high)
        places = await event_hour.read(conn, account.account, hours=hours, between=between, is_down=is_down)
        for first, last in places.stretches:
            start, stop = max(first, low + 1), min(last, high - 1) + 1
            assert start % BLOCK == stop % BLOCK == 0
            within = range(start // BLOCK, stop // BLOCK)
            found += reversed(within) if is_down else within
        if places.onward is None:
            break
        assert low < places.onward < high
        low, high = (low, places.onward) if is_down else (places.onward, high)

    expected = sorted({one for a, n in firsts for one in range(a, a + n)}, reverse=is_down)
    assert found == expected


async def test_a_range_of_very_many_hours_is_walked_up_to(conn: Connection, account: Principal) -> None:
    hours = range(event_hour.HOURS_MAX + 1)

    found = await event_hour.read(conn, account.account, hours=hours, between=(-1, 9), is_down=True)

    assert found == EVERYWHERE


async def test_any_range_is_listed_like_by_a_plain_walk(
    pool: Pool, conn: Connection, redis: Redis, account: Principal, monkeypatch: pytest.MonkeyPatch
) -> None:
    random = Random(1)  # noqa: S311 - the same every time
    # Both lengths of stretches, pages that stop for each reason.
    monkeypatch.setattr(event_hour, "_LARGE_EVENTS", 6)
    monkeypatch.setattr(event_hour, "ROWS_MAX", 18)
    accounts = [account, await another_account(conn)]
    counting = aggregator(pool, redis)
    for batch in range(RANDOM_BATCHES):
        for who in accounts:
            await accept(redis, who, *some(random, batch), now=NOW + batch * MINUTE)
        await drain(counting, NOW + batch * MINUTE)

    shared = await conn.fetchval(SHARED)
    rows = await conn.fetchval("select count(*) from usage_event_hour")
    assert 0 < shared < rows
    assert await differences(conn) == []
    for who in accounts:
        for _ in range(15):
            start, end = bounds(random)
            plain = [row["name"] for row in await conn.fetch(PLAIN, who.account, start, end)]
            for is_descending in (True, False):
                monkeypatch.setattr(usage_event, "WALK_MAX", random.choice([40, 20_000]))
                first = EventPage(limit=random.choice([3, 500]), sort=Sort.RECEIPT, is_descending=is_descending)
                found = await walked(conn, who, Filter(start=start, end=end), first)
                assert found == (plain[::-1] if is_descending else plain), (start, end)


def some(random: Random, batch: int) -> list[dict[str, Any]]:
    """A few events or many: most of now, some of long ago, some over again, some without a time of their own."""
    found = []
    for number in range(random.choice([1, 2, 12])):
        when = NOW + batch * MINUTE
        if random.random() < 0.3:
            when = FIRST_DAY + random.randrange(200) * timedelta(hours=1)
        name = f"e{random.randrange(60)}" if random.random() < 0.3 else f"b{batch}-{number}"
        stamp = "" if random.random() < 0.2 else when.isoformat()
        found.append(called(name, alias=random.choice(["acme", "beta"]), when=stamp, n=random.randrange(5)))
    return found


def bounds(random: Random) -> tuple[datetime | None, datetime | None]:
    start = FIRST_DAY + random.randrange(230) * timedelta(hours=1)
    end = start + random.choice([1, 5, 90, 3000]) * timedelta(minutes=random.choice([1, 60]))
    return random.choice([(start, end), (start, end), (start, None), (None, end)])


async def walked(conn: Connection, who: Principal, where: Filter, page: EventPage) -> list[str]:
    """The list from its beginning to its end; each page is read backwards as well."""
    found: list[str] = []
    while True:
        async with conn.transaction():
            listed = await usage_event.listing(conn, who.account, where=where, page=page)
        if found and listed.items:
            await check_backwards(conn, who, where, page, (found, listed))
        found += [one.customer_event_id for one in listed.items]
        if listed.after is None:
            return found
        assert listed.after != page.after
        page = msgspec.structs.replace(page, after=listed.after)


async def check_backwards(
    conn: Connection, who: Principal, where: Filter, page: EventPage, at_: tuple[list[str], usage_event.EventListing]
) -> None:
    """What lies before a page is the end of what was found until then."""
    found, listed = at_
    back = msgspec.structs.replace(page, after=None, before=listed.before)
    async with conn.transaction():
        before = await usage_event.listing(conn, who.account, where=where, page=back)
    names = [one.customer_event_id for one in before.items]
    assert names == (found[-len(names) :] if names else [])
    assert names or before.before is not None


async def old_and_new(counting: Aggregator, redis: Redis, account: Principal) -> None:
    """Two events of an old hour, and many that came since; one of the two came late, among them."""
    await accept(redis, account, called("old"), now=at("2025-03-01T10:08"))
    await drain(counting)
    for batch in range(40):
        new = [called(f"e{batch}-{n}", when="2025-03-10T11:00:00Z") for n in range(50)]
        await accept(redis, account, *new, *([called("late")] if batch == 7 else []))
        await drain(counting)


@pytest.mark.parametrize("is_descending", [True, False])
async def test_a_page_of_an_old_range_does_not_walk_past_what_came_since(
    pool: Pool,
    conn: Connection,
    redis: Redis,
    account: Principal,
    monkeypatch: pytest.MonkeyPatch,
    *,
    is_descending: bool,
) -> None:
    monkeypatch.setattr(event_hour, "_LARGE_EVENTS", 1)
    await old_and_new(aggregator(pool, redis), redis, account)
    await conn.execute("analyze")
    page = EventPage(limit=20, sort=Sort.RECEIPT, is_descending=is_descending)
    where = Filter(start=at("2025-03-01T10:00"), end=at("2025-03-01T11:00"))

    async with conn.transaction():
        before = await conn.fetchval(ROWS_READ)
        found = await usage_event.listing(conn, account.account, where=where, page=page)
        read = await conn.fetchval(ROWS_READ) - before
        skipping = msgspec.structs.replace(page, offset=1)
        second = await usage_event.listing(conn, account.account, where=where, page=skipping)

    names = ["late", "old"] if is_descending else ["old", "late"]
    assert [one.customer_event_id for one in found.items] == names
    assert [one.customer_event_id for one in second.items] == names[1:]
    assert found.after is None
    # The walk to where it stops, and the page: of 2,002 events each looks at those that came with the two.
    assert 0 < read <= 2 * 52


async def test_an_event_that_got_another_time_is_listed_where_it_is_now(
    pool: Pool, conn: Connection, redis: Redis, account: Principal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_hour, "_LARGE_EVENTS", 1)
    counting = aggregator(pool, redis, streams=2)
    await counting.step(NOW)
    await accept(redis, account, called("a", n=1), name="events:{0}")
    await accept(redis, account, called("a", when="", n=2), name="events:{1}")
    # Somebody else has the first stream meanwhile.
    async with pool.acquire() as other, other.transaction():
        assert await stream_position.lock(other, "events:{0}") is not None
        await drain(counting)
    page = EventPage(limit=20, sort=Sort.RECEIPT)
    old = Filter(start=at("2025-03-01T10:00"), end=at("2025-03-01T11:00"))
    assert await walked(conn, account, old, page) == []

    await drain(counting)

    assert await walked(conn, account, old, page) == ["a"]
    assert await differences(conn) == []


async def test_events_of_a_backfill_are_listed_while_it_stands(
    api: Server, pool: Pool, conn: Connection, redis: Redis, account: Principal
) -> None:
    loading = Loading(api, pool, redis)
    backfill = await loading.open()
    await loading.load(backfill, *[called(f"e{n}", when=f"2025-03-0{n}T10:07:00Z") for n in range(1, 8)])
    page = EventPage(limit=2, sort=Sort.RECEIPT, is_descending=False)
    where = Filter(start=at("2025-03-02T10:07"), end=at("2025-03-06T10:07"))
    assert await walked(conn, account, where, page) == []

    await loading.close(backfill)
    assert await walked(conn, account, where, page) == ["e3", "e4", "e5"]
    await loading.live(called("e4", when="", n=2), called("e9", when="2025-03-04T00:00:00Z"))
    assert await walked(conn, account, where, page) == ["e3", "e5", "e4", "e9"]

    await loading.revert(backfill)

    # It has the time of its receipt now.
    assert await walked(conn, account, where, page) == ["e9"]
    assert await walked(conn, account, Filter(start=at("2025-03-10")), page) == ["e4"]
    assert await differences(conn) == []


async def test_an_event_that_its_hour_does_not_know_is_a_difference(
    pool: Pool, conn: Connection, redis: Redis, account: Principal
) -> None:
    await accept(redis, account, called("a"), called("b", when="2025-03-02T10:00:00Z"))
    await drain(aggregator(pool, redis))
    assert await differences(conn) == []

    await conn.execute("delete from usage_event_hour where hour = (select max(hour) from usage_event_hour)")

    [said] = await differences(conn)
    assert said.startswith("Each stored event stands where its hour says: ('1 events of the hour")


async def test_what_was_stored_before_there_were_hours_has_its_own(
    pool: Pool, conn: Connection, redis: Redis, account: Principal
) -> None:
    counting = aggregator(pool, redis)
    for batch in ([called(f"e{n}") for n in range(1_000)], [called("few", when="2000-01-01T00:00:00Z"), called("b")]):
        await accept(redis, account, *batch)
        await drain(counting)
    counted = await conn.fetch("table usage_event_hour order by 1, 2, 3, 4")
    await conn.execute("delete from usage_event_hour")

    migration = db.migrations_folder() / "versions/0015_event_hour.sql"
    async with conn.transaction():
        await conn.execute("lock table" + migration.read_text(encoding="utf-8").partition("lock table")[2])

    assert await conn.fetch("table usage_event_hour order by 1, 2, 3, 4") == counted
    assert len(counted) == 3


async def test_hours_of_dropped_events_are_forgotten(
    pool: Pool, conn: Connection, redis: Redis, account: Principal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_hour, "_LARGE_EVENTS", 1)
    for month, name in ((1, "a"), (2, "b"), (3, "c")):
        now = datetime(2025, month, 20, tzinfo=UTC)
        await accept(redis, account, called(name, when="2025-01-10T10:07:00Z"), now=now)
        await drain(aggregator(pool, redis), now)

    await drain(aggregator(pool, redis, raw_event_retention_months=1), datetime(2025, 3, 21, tzinfo=UTC))

    rows = await conn.fetch("select first_no from usage_event_hour order by 1")
    numbers = await conn.fetch("select event_no as first_no from usage_event order by 1")
    assert len(rows) == 2
    assert rows == numbers
    assert await differences(conn) == []
