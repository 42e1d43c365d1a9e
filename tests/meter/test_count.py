"""Whatever is sent, however often, in whatever pieces, counters say the same as a naive count."""

from collections.abc import Sequence
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis.asyncio import Redis

from meter.aggregate import Aggregator
from store.account import Principal
from store.db import Connection, Pool
from store.usage import Usage
from tests.usage import (
    NOW,
    accept,
    aggregator,
    another_account,
    called,
    definition,
    differences,
    drain,
    make_metric,
    measured,
    states,
    used,
)


async def test_count_sum_and_unique_are_counted(
    counting: Aggregator, conn: Connection, redis: Redis, account: Principal
) -> None:
    calls = await make_metric(conn, account)
    tokens = await make_metric(conn, account, definition("SUM", "tokens"), name="tokens")
    users = await make_metric(conn, account, definition("UNIQUE", "user"), name="users")
    await accept(redis, account, called("a", tokens=5, user="x"), called("b", tokens="0.25", user="x"), called("c"))

    assert await drain(counting) == 3
    assert await measured(conn, account, calls) == used("3", 3)
    assert await measured(conn, account, tokens) == used("5.25", 2)
    assert await measured(conn, account, users) == used("1", 2)
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

    assert await measured(conn, account, tokens) == used("5", 1)
    assert await conn.fetchval("select count(*) from usage_event") == 1
    assert await differences(conn) == []


async def test_a_retry_with_another_time_of_receipt_is_the_same_event(
    counting: Aggregator, conn: Connection, redis: Redis, account: Principal
) -> None:
    calls = await make_metric(conn, account)
    await accept(redis, account, called("a", when=""))
    await accept(redis, account, called("a", when=""), now=NOW + timedelta(minutes=30))

    await drain(counting)

    assert await measured(conn, account, calls) == used("1", 1)


async def test_the_same_id_of_another_account_is_another_event(
    counting: Aggregator, conn: Connection, redis: Redis, account: Principal
) -> None:
    other = await another_account(conn)
    ours, theirs = await make_metric(conn, account), await make_metric(conn, other)
    await accept(redis, account, called("a"))
    await accept(redis, other, called("a"))

    await drain(counting)

    assert await measured(conn, account, ours) == await measured(conn, other, theirs) == used("1", 1)


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

    assert await measured(conn, account, tokens) == used("8", 2)
    assert await measured(conn, account, tokens, end="2025-03-02") == used("1", 1)
    assert await measured(conn, account, users) == used("2", 2)
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

    assert await measured(conn, account, calls, "acme") == used("0", 0)
    assert await measured(conn, account, calls, "beta") == used("1", 1)
    assert await conn.fetchval("select count(*) from usage_slot") == 1


async def test_a_correction_without_a_timestamp_keeps_the_time(
    counting: Aggregator, conn: Connection, redis: Redis, account: Principal
) -> None:
    tokens = await make_metric(conn, account, definition("SUM", "tokens"))
    await accept(redis, account, called("a", tokens=5))
    await drain(counting)

    await accept(redis, account, called("a", tokens=7, when=""))
    await drain(counting)

    assert await measured(conn, account, tokens, end="2025-03-02") == used("7", 1)


async def test_going_back_to_the_first_content_is_a_correction_too(
    counting: Aggregator, conn: Connection, redis: Redis, account: Principal
) -> None:
    tokens = await make_metric(conn, account, definition("SUM", "tokens"))
    for number in (5, 7, 5):
        await accept(redis, account, called("a", tokens=number))
        await drain(counting)

    assert await measured(conn, account, tokens) == used("5", 1)
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

    assert await measured(conn, account, tokens) == used("19", 3)
    assert await differences(conn) == []


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

    assert await measured(conn, account, users) == used("2", 4)


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
        "truncate stream_position, event_key, event_version, usage_event, usage_alias, usage_slot, usage_day,"
        " usage_unique, usage_metric, usage_metric_version cascade"
    )
