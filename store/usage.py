"""Usage of any range, exactly: days, quarter hours and ragged edges put together.

    measure(conn, account, questions) -> [Usage, ...]     in the order of the questions

A range falls apart into whole days of the account's zone (usage_day), whole quarter hours before and after them
(usage_slot), and what does not fill a quarter hour, which is counted from raw events with the metric's own rule.
UNIQUE is the number of different values over all segments of a question. The number of queries does not depend on the
number of questions.

Several statements answer together, so a caller who wants one instant's truth opens a REPEATABLE READ transaction.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, assert_never
from zoneinfo import ZoneInfo

import msgspec

from rating import metric, number
from rating.metric import Aggregation, Metric
from store import bucket, counter, stream_position, usage_alias
from store.db import Connection


class Segment(msgspec.Struct, frozen=True):
    """An alias over a half-open range of instants."""

    alias: str
    start: datetime
    end: datetime


class Question(msgspec.Struct, frozen=True):
    """A metric over segments that do not overlap: one quantity is wanted for all of them together."""

    metric: Metric
    segments: tuple[Segment, ...]


class Usage(msgspec.Struct, frozen=True):
    """The metric's value, and how many events it was counted from."""

    value: Decimal
    event_count: int


class _Part(msgspec.Struct, frozen=True):
    """A piece of a segment, answered from one table; `start` and `end` are days, slots or instants."""

    question: int
    metric: int
    alias: int
    start: Any
    end: Any


class _Parts:
    """The pieces of all questions, by the table that answers them."""

    def __init__(self) -> None:
        self.days: list[_Part] = []
        self.slots: list[_Part] = []
        self.members: list[_Part] = []
        self.edges: list[_Part] = []


class _Sum:
    """A question's answer in the making."""

    def __init__(self) -> None:
        self.events = 0
        self.total: counter.Sum = 0
        self.members: set[str] = set()
        self.distinct = 0


# Events have timestamps from 2000 to 2100; whatever a range has beyond is empty.
_FIRST = datetime(2000, 1, 1, tzinfo=UTC)
_LAST = datetime(2101, 1, 2, tzinfo=UTC)

_ZONE = "select time_zone from account where account = $1"

# Days of many parts; lateral keeps it one walk of the primary key per part, whatever the planner thinks of arrays.
_DAYS = """
select part.question, found.events::bigint, found.total
from unnest($2::integer[], $3::integer[], $4::integer[], $5::date[], $6::date[])
    as part (question, metric, alias, start, stop),
lateral (
    select sum(events) as events, sum(total) as total from usage_day
    where account = $1 and metric = part.metric and alias = part.alias and day >= part.start and day < part.stop
) as found
where found.events is not null
"""

# The same for quarter hours.
_SLOTS = """
select part.question, found.events::bigint, found.total
from unnest($2::integer[], $3::integer[], $4::integer[], $5::integer[], $6::integer[])
    as part (question, metric, alias, start, stop),
lateral (
    select sum(events) as events, sum(total) as total from usage_slot
    where account = $1 and metric = part.metric and alias = part.alias and slot >= part.start and slot < part.stop
) as found
where found.events is not null
"""

# Distinct values of many parts together with those that raw edges added; by the primary key of usage_unique.
_MEMBERS = """
select question, count(distinct value) as members from (
    select part.question, found.value
    from unnest($2::integer[], $3::integer[], $4::integer[], $5::integer[], $6::integer[])
        as part (question, metric, alias, start, stop),
    lateral (
        select value from usage_unique
        where account = $1 and metric = part.metric and alias = part.alias and slot >= part.start and slot < part.stop
    ) as found
    union all
    select * from unnest($7::integer[], $8::text[])
) as every (question, value)
group by question
"""

# Raw events of ragged edges, by usage_event_alias_time; each edge is shorter than a quarter hour.
_EDGES = """
select part.question, found.properties
from unnest($2::integer[], $3::text[], $4::integer[], $5::timestamptz[], $6::timestamptz[])
    as part (question, event_type, alias, start, stop),
lateral (
    select properties from usage_event
    where account = $1 and alias = part.alias and event_timestamp >= part.start and event_timestamp < part.stop
        and event_type = part.event_type and state = 'live'
) as found
"""


async def measure(conn: Connection, account: int, questions: Sequence[Question]) -> list[Usage]:
    """Answer the questions, in their order."""
    zone = ZoneInfo(await conn.fetchval(_ZONE, account))
    names = sorted({segment.alias for question in questions for segment in question.segments})
    aliases = await usage_alias.numbers(conn, account, aliases=names)
    parts = _parts(questions, aliases, zone)
    sums = [_Sum() for _ in questions]
    for statement, some in ((_DAYS, parts.days), (_SLOTS, parts.slots)):
        for row in await _fetch(conn, statement, account, some):
            sums[row["question"]].events += row["events"]
            sums[row["question"]].total = number.add(sums[row["question"]].total, row["total"] or 0)
    await _add_edges(conn, account, questions, parts=parts.edges, sums=sums)
    await _add_members(conn, account, parts=parts.members, sums=sums)
    return [_usage(question.metric.aggregation, found) for question, found in zip(questions, sums, strict=True)]


async def counted_past(conn: Connection, ends: Mapping[str, str]) -> bool:
    """Whether everything up to these ends of streams is counted and committed."""
    positions = await stream_position.read(conn)
    return all(
        stream_position.order(positions.get(name, stream_position.START)) >= stream_position.order(end)
        for name, end in ends.items()
    )


def _parts(questions: Sequence[Question], aliases: Mapping[str, int], zone: ZoneInfo) -> _Parts:
    parts = _Parts()
    for index, question in enumerate(questions):
        for segment in question.segments:
            start, end = max(segment.start, _FIRST), min(segment.end, _LAST)
            if segment.alias in aliases and start < end:
                _cut(parts, index, question.metric, aliases[segment.alias], start=start, end=end, zone=zone)
    return parts


def _cut(
    parts: _Parts, question: int, of: Metric, alias: int, *, start: datetime, end: datetime, zone: ZoneInfo
) -> None:
    """Cut one segment at the borders of quarter hours and days."""

    def part(first: Any, last: Any) -> list[_Part]:
        return [_Part(question, of.number, alias, first, last)] if first < last else []

    first_slot, last_slot = bucket.slot_from(start), bucket.slot_until(end)
    if first_slot > last_slot:
        # Both ends in one quarter hour.
        parts.edges += part(start, end)
        return
    parts.edges += part(start, bucket.slot_start(first_slot)) + part(bucket.slot_start(last_slot), end)
    if of.aggregation is Aggregation.UNIQUE:
        parts.members += part(first_slot, last_slot)
    first_day, last_day = bucket.day_from(first_slot, zone), bucket.day_of(last_slot, zone)
    if first_day < last_day:
        parts.days += part(first_day, last_day)
        parts.slots += part(first_slot, bucket.day_slot(first_day, zone)) + part(
            bucket.day_slot(last_day, zone), last_slot
        )
    else:
        parts.slots += part(first_slot, last_slot)


async def _fetch(conn: Connection, statement: str, account: int, parts: Sequence[_Part]) -> list[Any]:
    if not parts:
        return []
    return list(await conn.fetch(statement, account, *_columns(parts)))


def _columns(parts: Sequence[_Part]) -> tuple[list[Any], ...]:
    return (
        [part.question for part in parts],
        [part.metric for part in parts],
        [part.alias for part in parts],
        [part.start for part in parts],
        [part.end for part in parts],
    )


async def _add_edges(
    conn: Connection, account: int, questions: Sequence[Question], *, parts: Sequence[_Part], sums: Sequence[_Sum]
) -> None:
    """Count raw events with each metric's own rule."""
    if not parts:
        return
    types = [questions[part.question].metric.event_type for part in parts]
    asked, _, aliases, starts, ends = _columns(parts)
    for row in await conn.fetch(_EDGES, account, asked, types, aliases, starts, ends):
        of, found = questions[row["question"]].metric, sums[row["question"]]
        counted = metric.counted(of, metric.decode_properties(row["properties"]))
        if counted is None:
            continue
        found.events += 1
        if isinstance(counted, str):
            found.members.add(counter.member_value(counted))
        elif of.aggregation is Aggregation.SUM:
            found.total = number.add(found.total, counted)


async def _add_members(conn: Connection, account: int, *, parts: Sequence[_Part], sums: Sequence[_Sum]) -> None:
    """Count different values over counters and edges together."""
    edges = [(index, member) for index, found in enumerate(sums) for member in found.members]
    if not parts and not edges:
        return
    asked, members = [index for index, _ in edges], [member for _, member in edges]
    for row in await conn.fetch(_MEMBERS, account, *_columns(parts), asked, members):
        sums[row["question"]].distinct = row["members"]


def _usage(aggregation: Aggregation, found: _Sum) -> Usage:
    match aggregation:
        case Aggregation.COUNT:
            return Usage(Decimal(found.events), found.events)
        case Aggregation.SUM:
            return Usage(Decimal(found.total), found.events)
        case Aggregation.UNIQUE:
            return Usage(Decimal(found.distinct), found.events)
        case _:
            assert_never(aggregation)
