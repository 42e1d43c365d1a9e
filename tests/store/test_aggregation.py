"""Every aggregation, over any range, in any zone, by group or not, says what a naive count of the events says."""

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis.asyncio import Redis

from meter.history import History
from store import usage
from store.account import Principal
from store.db import Connection, Pool
from store.error import QueryTooLarge
from store.metric import StoredMetric
from store.usage import Question, Segment
from tests.usage import accept, aggregator, at, called, definition, differences, drain, make_metric

# Many databases or processes: left out of the inner loop.
pytestmark = pytest.mark.slow

START = at("2025-03-08T22:00")
MINUTES = 4 * 24 * 60
AGGREGATIONS = {
    "COUNT": None,
    "SUM": "tokens",
    "UNIQUE": "user",
    "MAX": "tokens",
    "MIN": "tokens",
    "LATEST": "tokens",
    "AVERAGE": "tokens",
    "WEIGHTED": "tokens",
}
HOUR = 3_600_000_000


def scattered() -> list[dict[str, Any]]:
    """200 events over four days around a change of clocks, many of them on borders, some at the same instant."""
    events = []
    for number in range(200):
        when = START + timedelta(minutes=number * 1_009 % MINUTES // 15 * 5)
        when -= timedelta(microseconds=number % 3 == 0)
        events.append(
            called(
                f"e{number}",
                alias="acme" if number % 4 else "beta",
                when=when.isoformat(),
                tokens=f"{(number * 37) % 101 - 50}.{number % 10}",
                user=f"u{number % 17}",
                **({"model": ("small", "large", 7)[number % 3]} if number % 5 else {}),
                region="eu" if number % 2 else "us",
            )
        )
    return events


@pytest.fixture
async def metrics(pool: Pool, conn: Connection, redis: Redis, account: Principal) -> dict[str, StoredMetric]:
    """Half of them are older than the events, half are younger."""
    made = {}
    for place, (name, of) in enumerate(AGGREGATIONS.items()):
        if place == 4:
            await accept(redis, account, *scattered()[100:], now=at("2025-03-20"))
            await accept(redis, account, *scattered()[:100], now=at("2025-03-20"))
            await drain(aggregator(pool, redis))
        made[name] = await make_metric(conn, account, definition(name, of, group_by=("model", "region")), name=name)
    return made


def naive(aggregation: str, segment: Segment, by: Sequence[str]) -> dict[tuple[str | None, ...], tuple[Decimal, int]]:
    """Each group's value and events, counted event by event."""
    mine = [one for one in received() if one["customerAlias"] == segment.alias]
    inside = [one for one in mine if segment.start <= moment(one) < segment.end]
    if aggregation == "WEIGHTED":
        return weighted(mine, segment, by)
    groups: dict[tuple[str | None, ...], list[dict[str, Any]]] = {}
    for one in inside:
        groups.setdefault(group(one, by), []).append(one)
    values: dict[str, Callable[[list[dict[str, Any]]], Any]] = {
        "COUNT": len,
        "SUM": lambda some: sum(map(tokens, some)),
        "UNIQUE": lambda some: len({one["eventProperties"]["user"] for one in some}),
        "MAX": lambda some: max(map(tokens, some)),
        "MIN": lambda some: min(map(tokens, some)),
        "LATEST": lambda some: tokens(max(enumerate(some), key=lambda pair: (moment(pair[1]), pair[0]))[1]),
        "AVERAGE": lambda some: (sum(map(tokens, some)) / len(some)).quantize(Decimal("1e-24")),
    }
    return {key: (Decimal(values[aggregation](some)), len(some)) for key, some in groups.items()}


def weighted(
    mine: list[dict[str, Any]], segment: Segment, by: Sequence[str]
) -> dict[tuple[str | None, ...], tuple[Decimal, int]]:
    """Walks every alias and whole group from the beginning of time."""
    found: dict[tuple[str | None, ...], tuple[Decimal, int]] = {}
    for whole in {group(one, ("model", "region")) for one in mine}:
        some = [one for one in mine if group(one, ("model", "region")) == whole]
        steps = sorted(enumerate(some), key=lambda pair: (moment(pair[1]), pair[0]))
        area, events = Decimal(0), 0
        for place, (_, one) in enumerate(steps):
            until = moment(steps[place + 1][1]) if place + 1 < len(steps) else segment.end
            covered = min(until, segment.end) - max(moment(one), segment.start)
            area += tokens(one) * max(0, covered // timedelta(microseconds=1))
            events += segment.start <= moment(one) < segment.end
        key = tuple(dict(zip(("model", "region"), whole, strict=True))[name] for name in by)
        before = found.get(key, (Decimal(0), 0))
        found[key] = (before[0] + area, before[1] + events)
    return {key: ((area / HOUR).quantize(Decimal("1e-24")), events) for key, (area, events) in found.items()}


def received() -> list[dict[str, Any]]:
    """In the order in which they were received."""
    return scattered()[100:] + scattered()[:100]


def moment(one: dict[str, Any]) -> datetime:
    return datetime.fromisoformat(one["eventTimestamp"])


def tokens(one: dict[str, Any]) -> Decimal:
    return Decimal(one["eventProperties"]["tokens"])


def group(one: dict[str, Any], by: Sequence[str]) -> tuple[str | None, ...]:
    found = (one["eventProperties"].get(name) for name in by)
    return tuple(None if value is None else str(value) for value in found)


def moments() -> st.SearchStrategy[datetime]:
    """Instants of the four days: on borders of days, quarter hours, minutes, and just beside them."""
    return st.builds(
        lambda step, share, beside: START + timedelta(minutes=int(share * MINUTES) // step * step, microseconds=beside),
        st.sampled_from([1, 5, 15, 60]),
        st.floats(-0.1, 1.1),
        st.sampled_from([-1, 0, 0, 0, 1]),
    )


SEGMENTS = st.builds(
    lambda alias, one, other: Segment(alias, min(one, other), max(one, other)),
    st.sampled_from(["acme", "acme", "beta", "nobody"]),
    moments(),
    moments(),
)
ASKED = st.tuples(
    st.sampled_from(list(AGGREGATIONS)),
    SEGMENTS,
    st.sampled_from([(), ("model",), ("region", "model")]),
    st.booleans(),
)


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(asked=st.lists(ASKED, min_size=1, max_size=8))
@pytest.mark.parametrize("zone", ["UTC", "America/New_York", "Asia/Kathmandu"])
async def test_any_range_of_any_aggregation_is_exact(
    conn: Connection,
    pool: Pool,
    account: Principal,
    metrics: dict[str, StoredMetric],
    asked: list[tuple[str, Segment, tuple[str, ...], bool]],
    zone: str,
) -> None:
    if await conn.fetchval("select time_zone from account") != zone:
        await rezone(conn, pool, zone)
    questions = [
        Question(metrics[aggregation].terms, (segment,), by, is_raw) for aggregation, segment, by, is_raw in asked
    ]

    found = await usage.measure_groups(conn, account.account, questions)

    for (aggregation, segment, by, _), groups in zip(asked, found, strict=True):
        expected = {key: pair for key, pair in naive(aggregation, segment, by).items() if pair != (0, 0) or not by}
        got = {key: (one.value, one.event_count) for key, one in groups.items()}
        assert rounded(got) == rounded(expected or ({} if by else {(): (Decimal(0), 0)}))


def rounded(groups: dict[Any, tuple[Decimal, int]]) -> dict[Any, tuple[Decimal, int]]:
    """Naive sums of quotients may differ in the last of 24 decimals."""
    return {key: (value.quantize(Decimal("1e-20")), events) for key, (value, events) in groups.items()}


async def test_a_recount_in_sql_agrees(conn: Connection, metrics: dict[str, StoredMetric]) -> None:
    assert len(metrics) == len(AGGREGATIONS)
    assert await differences(conn) == []


async def test_a_level_carries_over_borders(conn: Connection, account: Principal, pool: Pool, redis: Redis) -> None:
    seats = await make_metric(conn, account, definition("WEIGHTED", "n"))
    await accept(redis, account, called("a", when="2025-01-31T12:00:00Z", n=3))
    await accept(redis, account, called("b", when="2025-02-02T00:00:00Z", n="0.5"))
    await drain(aggregator(pool, redis))
    february = (Segment("acme", at("2025-02-01"), at("2025-02-03")),)

    [found] = await usage.measure(conn, account.account, [Question(seats.terms, february)])

    assert (found.value, found.event_count) == (3 * 24 + 12, 1)


async def test_a_question_that_must_read_too_much_is_refused(
    conn: Connection, account: Principal, metrics: dict[str, StoredMetric], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("store.usage_piece.RAW_EVENTS_MAX", 20)
    asked = Question(metrics["SUM"].terms, (Segment("acme", START, START + timedelta(days=4)),), (), is_raw=True)

    with pytest.raises(QueryTooLarge):
        await usage.measure(conn, account.account, [asked])


async def rezone(conn: Connection, pool: Pool, zone: str) -> None:
    """Move the account to a zone and fold everything anew in small pieces, as nothing but a test may do."""
    await conn.execute("update account set time_zone = $1", zone)
    await conn.execute("truncate usage_slot, usage_day, usage_unique")
    await conn.execute(
        "update usage_metric_version set folded_to = 0, born_no = (select max(event_no) + 1 from usage_event)"
    )
    folding = History(pool, piece_events_max=37)
    while await folding.step():
        pass
