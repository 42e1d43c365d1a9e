"""Exactly once: whatever is sent, however often, in whatever pieces, counters say the same as a naive count."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis.asyncio import Redis

from meter import count, entry
from meter.aggregate import Aggregator
from meter.error import UnreadableEntry
from store import stream_position
from store.account import Principal
from store.db import Connection, Pool
from store.usage import Usage
from tests.usage import (
    NOW,
    accept,
    aggregator,
    block_of,
    called,
    definition,
    differences,
    drain,
    make_metric,
    measured,
)

NAME = "events:{0}"


def usage(value: str, events: int) -> Usage:
    return Usage(Decimal(value), events)


@pytest.fixture
async def counting(pool: Pool, redis: Redis) -> Aggregator:
    return aggregator(pool, redis)


async def test_count_sum_and_unique_are_counted(
    counting: Aggregator, conn: Connection, redis: Redis, account: Principal
) -> None:
    calls = await make_metric(conn, account)
    tokens = await make_metric(conn, account, definition("SUM", "tokens"), name="tokens")
    users = await make_metric(conn, account, definition("UNIQUE", "user"), name="users")
    await accept(redis, account, called("a", tokens=5, user="x"), called("b", tokens="0.25", user="x"), called("c"))

    assert await drain(counting) == 3
    assert await measured(conn, account, calls) == usage("3", 3)
    assert await measured(conn, account, tokens) == usage("5.25", 2)
    assert await measured(conn, account, users) == usage("1", 2)
    assert await differences(conn) == []


async def test_the_same_event_again_changes_nothing(
    counting: Aggregator, conn: Connection, redis: Redis, account: Principal
) -> None:
    tokens = await make_metric(conn, account, definition("SUM", "tokens"))
    await accept(redis, account, called("a", tokens=5), called("a", tokens=5))
    await accept(redis, account, called("a", tokens=Decimal(5)))
    await drain(counting)

    await accept(redis, account, called("a", tokens=5), now=NOW + timedelta(days=400))
    await drain(counting)

    assert await measured(conn, account, tokens) == usage("5", 1)
    assert await conn.fetchval("select count(*) from usage_event") == 1
    assert await differences(conn) == []


async def test_a_retry_with_another_time_of_receipt_is_the_same_event(
    counting: Aggregator, conn: Connection, redis: Redis, account: Principal
) -> None:
    calls = await make_metric(conn, account)
    await accept(redis, account, called("a", when=""))
    await accept(redis, account, called("a", when=""), now=NOW + timedelta(minutes=30))

    await drain(counting)

    assert await measured(conn, account, calls) == usage("1", 1)


async def test_the_same_id_of_another_account_is_another_event(
    counting: Aggregator, conn: Connection, redis: Redis, account: Principal
) -> None:
    other = await another_account(conn)
    ours, theirs = await make_metric(conn, account), await make_metric(conn, other)
    await accept(redis, account, called("a"))
    await accept(redis, other, called("a"))

    await drain(counting)

    assert await measured(conn, account, ours) == await measured(conn, other, theirs) == usage("1", 1)


@pytest.mark.parametrize("in_one_batch", [True, False])
async def test_the_same_id_with_other_content_is_a_correction(
    counting: Aggregator, conn: Connection, redis: Redis, account: Principal, *, in_one_batch: bool
) -> None:
    tokens = await make_metric(conn, account, definition("SUM", "tokens"))
    users = await make_metric(conn, account, definition("UNIQUE", "user"), name="users")
    for version in (called("a", tokens=5, user="x"), called("a", tokens=7, user="y", when="2025-03-02T00:00:00Z")):
        await accept(redis, account, version, called("b", tokens=1, user="x"))
        if not in_one_batch:
            await drain(counting)
    await drain(counting)

    assert await measured(conn, account, tokens) == usage("8", 2)
    assert await measured(conn, account, tokens, end="2025-03-02") == usage("1", 1)
    assert await measured(conn, account, users) == usage("2", 2)
    assert await states(conn) == ["live", "live", "superseded"]
    assert await differences(conn) == []


async def test_a_correction_moves_usage_to_another_alias(
    counting: Aggregator, conn: Connection, redis: Redis, account: Principal
) -> None:
    calls = await make_metric(conn, account)
    await accept(redis, account, called("a"))
    await drain(counting)

    await accept(redis, account, called("a", alias="beta"))
    await drain(counting)

    assert await measured(conn, account, calls, "acme") == usage("0", 0)
    assert await measured(conn, account, calls, "beta") == usage("1", 1)
    assert await conn.fetchval("select count(*) from usage_slot") == 1


async def test_a_correction_without_a_timestamp_keeps_the_time(
    counting: Aggregator, conn: Connection, redis: Redis, account: Principal
) -> None:
    tokens = await make_metric(conn, account, definition("SUM", "tokens"))
    await accept(redis, account, called("a", tokens=5))
    await drain(counting)

    await accept(redis, account, called("a", tokens=7, when=""))
    await drain(counting)

    assert await measured(conn, account, tokens, end="2025-03-02") == usage("7", 1)


async def test_going_back_to_the_first_content_is_a_correction_too(
    counting: Aggregator, conn: Connection, redis: Redis, account: Principal
) -> None:
    tokens = await make_metric(conn, account, definition("SUM", "tokens"))
    for number in (5, 7, 5):
        await accept(redis, account, called("a", tokens=number))
        await drain(counting)

    assert await measured(conn, account, tokens) == usage("5", 1)
    assert await states(conn) == ["live", "superseded", "superseded"]


async def test_events_without_a_metric_are_stored(
    counting: Aggregator, conn: Connection, redis: Redis, account: Principal
) -> None:
    await accept(redis, account, called("a", tokens=5))

    await drain(counting)

    assert await conn.fetchval("select properties from usage_event") == '{"tokens":5}'
    assert await conn.fetchval("select count(*) from usage_slot") == 0


async def test_a_late_metric_counts_what_came_before_it_and_what_comes_after(
    counting: Aggregator, conn: Connection, redis: Redis, account: Principal
) -> None:
    await accept(redis, account, called("a", tokens=5), called("b", tokens=1))
    await accept(redis, account, called("a", tokens=7))
    await drain(counting)

    tokens = await make_metric(conn, account, definition("SUM", "tokens"))
    await accept(redis, account, called("b", tokens=2), called("c", tokens=10))
    await drain(counting)

    assert await measured(conn, account, tokens) == usage("19", 3)
    assert await differences(conn) == []


async def test_a_metric_born_while_events_are_counted_misses_and_doubles_nothing(
    pool: Pool, conn: Connection, redis: Redis, account: Principal
) -> None:
    small = aggregator(pool, redis, batch_events_max=1)
    for number in range(40):
        await accept(redis, account, called(f"e{number}"))

    _, *metrics = await asyncio.gather(drain(small), *(late_metric(pool, account, n) for n in range(3)))

    for one in metrics:
        assert await measured(conn, account, one) == usage("40", 40)


async def test_aggregators_at_once_count_each_event_once(
    pool: Pool, conn: Connection, redis: Redis, account: Principal
) -> None:
    calls = await make_metric(conn, account)
    for number in range(60):
        await accept(redis, account, called(f"e{number}"), called(f"e{number // 2}"))

    workers = [aggregator(pool, redis, batch_events_max=7) for _ in range(4)]
    async with asyncio.timeout(30):
        while (await measured(conn, account, calls)).event_count < 60:
            await asyncio.gather(*(worker.step(NOW) for worker in workers))

    assert await measured(conn, account, calls) == usage("60", 60)
    assert await differences(conn) == []


async def test_the_same_ids_in_two_streams_count_once_and_the_last_received_wins(
    pool: Pool, conn: Connection, redis: Redis, account: Principal
) -> None:
    tokens = await make_metric(conn, account, definition("SUM", "tokens"))
    for number, name in enumerate(["events:{0}", "events:{1}", "events:{0}", "events:{1}"]):
        await accept(redis, account, *(called(f"e{n}", tokens=n * (number % 3)) for n in range(50)), name=name)

    workers = [aggregator(pool, redis, streams=2, batch_events_max=50) for _ in range(3)]
    async with asyncio.timeout(30):
        while sum(await asyncio.gather(*(worker.step(NOW) for worker in workers))):
            pass
    await drain(workers[0])

    assert await measured(conn, account, tokens) == usage("0", 50)
    assert await differences(conn) == []


async def test_an_older_version_from_another_stream_is_kept_as_superseded(
    pool: Pool, conn: Connection, redis: Redis, account: Principal
) -> None:
    tokens = await make_metric(conn, account, definition("SUM", "tokens"))
    await accept(redis, account, called("a", tokens=1), name="events:{1}")
    await later_than(redis, "events:{1}", account, called("a", tokens=2))

    await drain(aggregator(pool, redis, streams=2))

    assert await measured(conn, account, tokens) == usage("2", 1)
    assert await states(conn) == ["live", "superseded"]


async def test_a_version_confirmed_in_one_stream_beats_an_earlier_one_of_another(
    pool: Pool, conn: Connection, redis: Redis, account: Principal
) -> None:
    tokens = await make_metric(conn, account, definition("SUM", "tokens"))
    await accept(redis, account, called("a", tokens=1))
    await later_than(redis, NAME, account, called("a", tokens=2), name="events:{1}")
    await later_than(redis, "events:{1}", account, called("a", tokens=1))

    await drain(aggregator(pool, redis, streams=2))

    assert await measured(conn, account, tokens) == usage("1", 1)


async def test_a_failure_anywhere_leaves_nothing_behind(
    counting: Aggregator, conn: Connection, redis: Redis, account: Principal, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = await make_metric(conn, account)
    await accept(redis, account, called("a"), called("b"))
    monkeypatch.setattr(stream_position, "move", lambda *_, **__: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        await counting.step(NOW)
    monkeypatch.undo()
    for table in ("usage_event", "event_key", "usage_alias", "usage_slot", "usage_day"):
        assert await conn.fetchval(f"select count(*) from {table}") == 0

    # The numbers of aliases that were rolled back are not remembered either.
    await drain(counting)

    assert await measured(conn, account, calls) == usage("2", 2)
    assert await differences(conn) == []


async def test_a_cancelled_step_leaves_nothing_behind(
    counting: Aggregator, conn: Connection, redis: Redis, account: Principal, monkeypatch: pytest.MonkeyPatch
) -> None:
    reached = asyncio.Event()
    original = count.count

    async def slow(*args: Any, **options: Any) -> count.Outcome:
        await original(*args, **options)
        reached.set()
        return await asyncio.Future()

    await accept(redis, account, called("a"))
    with monkeypatch.context() as paused:
        paused.setattr(count, "count", slow)
        step = asyncio.create_task(counting.step(NOW))
        await reached.wait()
        step.cancel()
        await asyncio.wait([step])

    assert await conn.fetchval("select count(*) from usage_event") == 0
    assert await drain(counting) == 1


async def test_an_entry_that_cannot_be_read_stops_counting(
    counting: Aggregator, conn: Connection, redis: Redis, account: Principal
) -> None:
    await accept(redis, account, called("a"))
    await redis.xadd(NAME, {"blocks.1": b"\xc1"})

    with pytest.raises(UnreadableEntry):
        await counting.step(NOW)

    assert await conn.fetchval("select count(*) from usage_event") == 0


async def test_counting_goes_on_behind_a_foreign_entry(counting: Aggregator, redis: Redis, account: Principal) -> None:
    await redis.xadd(NAME, {"hello": "world"})
    await accept(redis, account, called("a"))

    assert await drain(counting) == 1


async def test_a_reborn_stream_is_counted_from_its_beginning(
    pool: Pool, conn: Connection, redis: Redis, account: Principal
) -> None:
    calls = await make_metric(conn, account)
    await accept(redis, account, called("a"))
    await drain(aggregator(pool, redis))
    payload = (await redis.xrange(NAME))[0][1]
    await redis.delete(NAME)
    await redis.xadd(NAME, payload, id="5-0")
    await redis.xadd(NAME, {"blocks.1": entry.join([block_of(account, called("b"))])}, id="6-0")

    assert await drain(aggregator(pool, redis)) == 2
    assert await measured(conn, account, calls) == usage("2", 2)
    assert await conn.fetchval("select position from stream_position") == "6-0"


async def test_a_position_set_back_counts_nothing_twice(
    pool: Pool, conn: Connection, redis: Redis, account: Principal
) -> None:
    calls = await make_metric(conn, account)
    for number in range(5):
        await accept(redis, account, called(f"e{number}"), called("twice", n=number))
    await drain(aggregator(pool, redis))
    await conn.execute("update stream_position set position = '0-0'")

    assert await drain(aggregator(pool, redis)) == 10
    assert await measured(conn, account, calls) == usage("6", 6)


async def test_a_transaction_takes_no_more_than_it_may(pool: Pool, redis: Redis, account: Principal) -> None:
    for number in range(30):
        await accept(redis, account, called(f"e{number}"))
    small = aggregator(pool, redis, batch_events_max=12)

    assert [await small.step(NOW) for _ in range(4)] == [12, 12, 6, 0]


async def test_a_step_with_nothing_to_do_asks_postgres_nothing(
    counting: Aggregator, pool: Pool, redis: Redis, account: Principal
) -> None:
    await accept(redis, account, called("a"))
    await drain(counting)
    await pool.close()

    assert await counting.step(NOW) == 0


async def test_partitions_are_made_two_months_ahead(counting: Aggregator, conn: Connection) -> None:
    for now in (datetime(2025, 11, 30, tzinfo=UTC), datetime(2025, 12, 1, tzinfo=UTC)):
        await counting.step(now)

    assert await partitions(conn) == [
        *("usage_event_2025_11", "usage_event_2025_12", "usage_event_2026_01", "usage_event_2026_02"),
        "usage_event_default",
    ]


async def test_events_lie_in_the_partition_of_their_receipt(
    counting: Aggregator, conn: Connection, redis: Redis, account: Principal
) -> None:
    await accept(redis, account, called("a", when="2024-01-01T00:00:00Z"), now=NOW + timedelta(days=31))

    await drain(counting)

    assert await conn.fetchval("select tableoid::regclass::text from usage_event") == "usage_event_2025_04"


async def test_events_beyond_every_partition_are_kept_all_the_same(
    counting: Aggregator, conn: Connection, redis: Redis, account: Principal
) -> None:
    calls = await make_metric(conn, account)
    await accept(redis, account, called("a"), now=NOW + timedelta(days=400))

    await drain(counting)

    assert await measured(conn, account, calls) == usage("1", 1)


async def test_days_are_those_of_the_accounts_zone(
    counting: Aggregator, conn: Connection, redis: Redis, account: Principal
) -> None:
    await conn.execute("update account set time_zone = 'America/New_York'")
    await make_metric(conn, account)
    await accept(redis, account, called("a", when="2025-03-02T04:59:59Z"), called("b", when="2025-03-02T05:00:00Z"))

    await drain(counting)

    days = await conn.fetch("select day::text, events from usage_day order by day")
    assert [tuple(row) for row in days] == [("2025-03-01", 1), ("2025-03-02", 1)]
    assert await differences(conn) == []


async def test_values_too_long_for_an_index_are_still_told_apart(
    counting: Aggregator, conn: Connection, redis: Redis, account: Principal
) -> None:
    users = await make_metric(conn, account, definition("UNIQUE", "user"))
    long = "x" * 4_000
    await accept(redis, account, *(called(f"e{n}", user=long + str(n % 2)) for n in range(4)))

    await drain(counting)

    assert await measured(conn, account, users) == usage("2", 4)


async def test_sums_have_all_their_digits(
    counting: Aggregator, conn: Connection, redis: Redis, account: Principal
) -> None:
    tokens = await make_metric(conn, account, definition("SUM", "tokens"))
    large, small = "99999999999999999999.999999999999999999", "0.000000000000000001"
    await accept(redis, account, *(called(f"e{n}", tokens=large) for n in range(100)), called("s", tokens=small))
    await drain(counting)
    await accept(redis, account, called("e0", tokens="-" + large))

    await drain(counting)

    expected = Decimal("9799999999999999999999.999999999999999903")
    assert await measured(conn, account, tokens) == Usage(expected, 101)


SENT = st.lists(
    st.builds(
        called,
        st.sampled_from("abcde"),
        alias=st.sampled_from(["acme", "beta"]),
        when=st.sampled_from(["2025-03-01T10:14:59Z", "2025-03-01T10:15:00Z", "2025-03-02T00:00:00Z"]),
        tokens=st.sampled_from([1, 2, "0.5", "many", None]),
        user=st.sampled_from(["x", "y", 7, None]),
    ),
    min_size=1,
    max_size=12,
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(requests=st.lists(SENT, min_size=1, max_size=5), steps=st.lists(st.booleans(), min_size=5, max_size=5))
async def test_counters_equal_a_fresh_fold_of_all_accepted_events(
    pool: Pool,
    conn: Connection,
    redis: Redis,
    account: Principal,
    requests: list[list[dict[str, Any]]],
    steps: list[bool],
) -> None:
    await start_over(conn, redis)
    tokens = await make_metric(conn, account, definition("SUM", "tokens"), name="tokens")
    users = await make_metric(conn, account, definition("UNIQUE", "user"), name="users")
    counting = aggregator(pool, redis)
    for request, counts_at_once in zip(requests, steps, strict=False):
        await accept(redis, account, *request)
        if counts_at_once:
            await drain(counting)
    await drain(counting)

    last = {one["customerEventId"]: one for request in requests for one in request}
    for alias in ("acme", "beta"):
        mine = [one["eventProperties"] for one in last.values() if one["customerAlias"] == alias]
        assert await measured(conn, account, tokens, alias) == naive_sum([one["tokens"] for one in mine])
        assert await measured(conn, account, users, alias) == naive_unique([one["user"] for one in mine])
    assert await differences(conn) == []


def naive_sum(values: Sequence[Any]) -> Usage:
    numbers = [Decimal(value) for value in values if value not in ("many", None)]
    return Usage(sum(numbers, Decimal(0)), len(numbers))


def naive_unique(values: Sequence[Any]) -> Usage:
    texts = [str(value) for value in values if value is not None]
    return Usage(Decimal(len(set(texts))), len(texts))


async def start_over(conn: Connection, redis: Redis) -> None:
    await redis.flushall()
    await conn.execute(
        "truncate stream_position, event_key, usage_event, usage_alias, usage_slot, usage_day, usage_unique,"
        " usage_metric, usage_metric_version"
    )


async def another_account(conn: Connection) -> Principal:
    row = await conn.fetchrow(
        "insert into account (id, company_name, created_at, updated_at) values (gen_random_uuid(), 'Other', $1, $1)"
        " returning account, id",
        NOW,
    )
    assert row is not None
    return Principal(account=row["account"], account_id=row["id"], client_id="other", time_zone="UTC")


async def late_metric(pool: Pool, account: Principal, number: int) -> Any:
    async with pool.acquire() as conn:
        return await make_metric(conn, account, name=f"late {number}")


async def later_than(redis: Redis, stream: str, account: Principal, *events: dict[str, Any], name: str = NAME) -> None:
    """Accept these after the clock has left the millisecond of the other stream's last entry."""
    last = (await redis.xinfo_stream(stream))["last-generated-id"].decode()
    while (await redis.time())[1] // 1_000 == int(last.split("-")[0]) % 1_000:
        pass
    await accept(redis, account, *events, name=name)


async def states(conn: Connection) -> list[str]:
    return [row["state"] for row in await conn.fetch("select state from usage_event order by state")]


async def partitions(conn: Connection) -> list[str]:
    rows = await conn.fetch(
        "select inhrelid::regclass::text as name from pg_inherits where inhparent = 'usage_event'::regclass order by 1"
    )
    return [row["name"] for row in rows]
