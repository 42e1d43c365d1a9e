"""Usage of any range is exact, in any zone, however many questions are asked at once."""

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis.asyncio import Redis

from store import extent, usage, usage_edge, usage_piece
from store.account import Principal
from store.db import Connection, Pool
from store.metric import StoredMetric
from store.usage import Question, Segment, Usage
from tests.usage import accept, aggregator, at, called, definition, drain, make_metric, measured

# Many databases or processes: left out of the inner loop.
pytestmark = pytest.mark.slow

START = at("2025-03-08T22:00")
MINUTES = 4 * 24 * 60


def scattered() -> list[dict[str, Any]]:
    """300 events over four days around a change of clocks, many of them on borders."""
    events = []
    for number in range(300):
        when = START + timedelta(minutes=number * 1_009 % MINUTES // 5 * 5)
        when -= timedelta(microseconds=number % 3 == 0)
        events.append(
            called(
                f"e{number}",
                alias="acme" if number % 4 else "beta",
                when=when.isoformat(),
                tokens=number,
                user=f"u{number % 17}",
            )
        )
    return events


@pytest.fixture
async def metrics(pool: Pool, conn: Connection, redis: Redis, account: Principal) -> dict[str, StoredMetric]:
    await accept(redis, account, *scattered(), now=at("2025-03-20"))
    await drain(aggregator(pool, redis))
    return {
        "COUNT": await make_metric(conn, account),
        "SUM": await make_metric(conn, account, definition("SUM", "tokens"), name="tokens"),
        "UNIQUE": await make_metric(conn, account, definition("UNIQUE", "user"), name="users"),
    }


def naive(aggregation: str, segments: tuple[Segment, ...]) -> Usage:
    found = [
        one["eventProperties"]
        for one in scattered()
        for segment in segments
        if one["customerAlias"] == segment.alias
        and segment.start <= datetime.fromisoformat(one["eventTimestamp"]) < segment.end
    ]
    value: dict[str, Callable[[], int]] = {
        "COUNT": lambda: len(found),
        "SUM": lambda: sum(one["tokens"] for one in found),
        "UNIQUE": lambda: len({one["user"] for one in found}),
    }
    return Usage(Decimal(value[aggregation]()), len(found))


def moments() -> st.SearchStrategy[datetime]:
    """Instants of the four days: on borders of days, quarter hours, minutes, and just beside them."""
    steps = st.sampled_from([1, 5, 15, 60])
    return st.builds(
        lambda step, share, beside: START + timedelta(minutes=int(share * MINUTES) // step * step, microseconds=beside),
        steps,
        st.floats(-0.1, 1.1),
        st.sampled_from([-1, 0, 0, 0, 1]),
    )


SEGMENTS = st.builds(
    lambda alias, one, other: Segment(alias, min(one, other), max(one, other)),
    st.sampled_from(["acme", "acme", "beta", "nobody"]),
    moments(),
    moments(),
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(asked=st.lists(st.tuples(st.sampled_from(["COUNT", "SUM", "UNIQUE"]), SEGMENTS), min_size=1, max_size=8))
@pytest.mark.parametrize("zone", ["UTC", "America/New_York", "Asia/Kathmandu"])
async def test_any_range_is_exact(
    conn: Connection,
    account: Principal,
    metrics: dict[str, StoredMetric],
    asked: list[tuple[str, Segment]],
    zone: str,
) -> None:
    await rezone(conn, zone)
    questions = [Question(metrics[aggregation].terms, (segment,)) for aggregation, segment in asked]

    found = await usage.measure(conn, account.account, questions)

    assert found == [naive(aggregation, (segment,)) for aggregation, segment in asked]


async def test_unique_is_the_union_over_all_segments(
    conn: Connection, account: Principal, metrics: dict[str, StoredMetric]
) -> None:
    odd = START + timedelta(hours=30, seconds=1)
    segments = (
        Segment("acme", START, odd),
        Segment("beta", odd, START + timedelta(days=3)),
        Segment("acme", odd + timedelta(minutes=1), START + timedelta(days=4)),
    )

    found = await usage.measure(conn, account.account, [Question(metrics["UNIQUE"].terms, segments)])

    assert found == [naive("UNIQUE", segments)]


async def test_nothing_asked_is_nothing_answered(conn: Connection, account: Principal) -> None:
    assert await usage.measure(conn, account.account, []) == []


async def test_a_question_without_segments_is_zero(
    conn: Connection, account: Principal, metrics: dict[str, StoredMetric]
) -> None:
    assert await usage.measure(conn, account.account, [Question(metrics["SUM"].terms, ())]) == [Usage(Decimal(0), 0)]


async def test_a_range_may_reach_beyond_all_time(
    conn: Connection, account: Principal, metrics: dict[str, StoredMetric]
) -> None:
    forever = (Segment("acme", datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)),)

    assert await usage.measure(conn, account.account, [Question(metrics["SUM"].terms, forever)]) == [
        naive("SUM", forever)
    ]


async def test_the_number_of_queries_does_not_grow_with_the_questions(
    conn: Connection, account: Principal, metrics: dict[str, StoredMetric]
) -> None:
    segment = Segment("acme", START + timedelta(seconds=1), START + timedelta(days=3, seconds=1))
    # The first time asyncpg asks for types as well.
    await queries(conn, account, [Question(one.terms, (segment,)) for one in metrics.values()])

    few, many = [
        await queries(conn, account, [Question(one.terms, (segment,)) for one in metrics.values()] * times)
        for times in (1, 20)
    ]

    assert few == many <= 8


async def test_superseded_versions_do_not_count_at_ragged_edges(
    pool: Pool, conn: Connection, redis: Redis, account: Principal
) -> None:
    tokens = await make_metric(conn, account, definition("SUM", "tokens"))
    await accept(redis, account, called("a", tokens=5), called("a", tokens=7))
    await drain(aggregator(pool, redis))

    found = await measured(conn, account, tokens, start="2025-03-01T10:06:59", end="2025-03-01T10:07:01")

    assert found == Usage(Decimal(7), 1)


async def test_the_extent_is_the_first_and_the_last_event_in_a_range(
    conn: Connection, account: Principal, metrics: dict[str, StoredMetric]
) -> None:
    segments = (
        Segment("acme", START + timedelta(minutes=7), START + timedelta(hours=31, minutes=8)),
        Segment("beta", START + timedelta(minutes=7), START + timedelta(hours=31, minutes=8)),
    )
    inside = [
        (one["eventTimestamp"], one["customerEventId"])
        for one in scattered()
        if segments[0].start <= datetime.fromisoformat(one["eventTimestamp"]) < segments[0].end
    ]

    found = await extent.extent(conn, account.account, Question(metrics["COUNT"].terms, segments))

    assert await ids(conn, *found) == [min(inside, key=instant)[1], max(inside, key=instant)[1]]


async def test_an_empty_range_has_no_extent(
    conn: Connection, account: Principal, metrics: dict[str, StoredMetric]
) -> None:
    nothing = (Segment("acme", at("2024-01-01"), at("2024-02-01")), Segment("nobody", START, at("2025-04-01")))

    assert await extent.extent(conn, account.account, Question(metrics["COUNT"].terms, nothing)) == (None, None)


async def test_counted_past_compares_entry_ids_as_numbers(conn: Connection) -> None:
    await conn.execute("insert into stream_position (stream, position) values ('events:{0}', '1000-10')")

    assert await usage.counted_past(conn, {"events:{0}": "1000-9"})
    assert await usage.counted_past(conn, {"events:{0}": "1000-10"})
    assert not await usage.counted_past(conn, {"events:{0}": "1000-11"})
    assert not await usage.counted_past(conn, {"events:{0}": "10000-0"})


async def test_a_stream_that_nobody_counts_is_passed_only_while_it_is_empty(conn: Connection) -> None:
    assert await usage.counted_past(conn, {"events:{0}": "0-0"})
    assert not await usage.counted_past(conn, {"events:{0}": "1-0"})


DAY, SLOT = date(2025, 3, 1), 1_000_000
PIECES = [1, [0], [1], [1], [DAY], [DAY], [1], [1], [1], [SLOT], [SLOT]]
HOT = {
    "days": (usage_piece._CELLS, PIECES, "usage_day_pkey"),
    "slots": (usage_piece._CELLS, PIECES, "usage_slot_pkey"),
    "day spans": (usage_piece._SPANS, PIECES, "usage_day_pkey"),
    "slot spans": (usage_piece._SPANS, PIECES, "usage_slot_pkey"),
    "carries": (usage_piece._CARRIES, [1, [0], [1], [1], [DAY], [SLOT], [SLOT]], "usage_day_pkey"),
    "members": (
        usage_piece._MEMBERS,
        [1, [0], [1], [1], [SLOT], [SLOT], [0], [0], [0], [0], [0], ["x"]],
        "usage_unique_pkey",
    ),
    "edges": (
        usage_piece._EDGES,
        [1, [0], ["call"], [1], [START], [START], None],
        "alias_event_timestamp_idx",
    ),
    "rests": (usage_edge._RESTS, [1, [0], [1], [START], [START], 1_001], "alias_event_timestamp_idx"),
    "outermost slots": (extent._SLOTS, [1, 1, [0], ["a"], [SLOT], [SLOT], 3], "usage_slot_pkey"),
    "outermost events": (
        extent._NEXT,
        [1, "call", [0], [1], [START], [START], [1], [1], [START], [START], 20],
        "alias_event_timestamp_idx",
    ),
}


# Five thousand rows of each, of five hundred aliases.
FILLED = [
    """
    insert into usage_event (account, alias, event_no, event_timestamp, received_at, entry_ms, entry_sequence,
        entry_index, key, event_type, properties)
    select 1, n % 500, n, timestamptz '2025-03-01Z' + n * interval '1 s', timestamptz '2025-03-01Z', n, 0, 0,
        gen_random_uuid(), 'call', '{}'
    from generate_series(1, 5000) as n
    """,
    "insert into usage_slot select 1, n % 2, n % 500, 1000000 + n, 0, 1, 1 from generate_series(1, 5000) as n",
    "insert into usage_day select 1, n % 2, n % 500, date '2020-01-01' + n, 0, 1, 1 from generate_series(1, 5000) as n",
    "insert into usage_unique select 1, n % 2, n % 500, 1000000 + n, 0, n, 1 from generate_series(1, 5000) as n",
    "analyze usage_event, usage_slot, usage_day, usage_unique",
]


@pytest.mark.parametrize("name", HOT)
async def test_hot_statements_walk_an_index(conn: Connection, name: str) -> None:
    statement, arguments, index = HOT[name]
    # Empty tables are as cheap to read whole, by whatever way; what matters is what large ones would use.
    for filled in FILLED:
        await conn.execute(filled)
    await conn.execute("set enable_seqscan = off; set enable_bitmapscan = off")

    plan = "\n".join(row[0] for row in await conn.fetch(f"explain {statement}", *arguments))

    assert index in plan
    assert "Index Cond: ((alias = " in plan


def instant(one: tuple[str, str]) -> datetime:
    return datetime.fromisoformat(one[0])


async def ids(conn: Connection, *keys: Any) -> list[str]:
    return [await conn.fetchval("select customer_event_id from usage_event where key = $1", key) for key in keys]


async def queries(conn: Connection, account: Principal, questions: list[Question]) -> int:
    seen: list[str] = []

    def note(record: Any) -> None:
        seen.append(record.query)

    conn.add_query_logger(note)
    await usage.measure(conn, account.account, questions)
    conn.remove_query_logger(note)
    return len(seen)


async def rezone(conn: Connection, zone: str) -> None:
    """Move the account to a zone and its days with it, as nothing but a test may do."""
    await conn.execute("update account set time_zone = $1", zone)
    await conn.execute("truncate usage_day")
    await conn.execute(
        "insert into usage_day (account, metric, alias, day, group_no, events, total)"
        " select account, metric, alias, (to_timestamp(slot::bigint * 900) at time zone $1)::date, group_no,"
        " sum(events), sum(total) from usage_slot group by 1, 2, 3, 4, 5",
        zone,
    )
