"""Usage of any range, exactly: days, quarter hours and ragged edges put together.

    measure(conn, account, questions) -> [Usage, ...]                   in the order of the questions
    measure_groups(conn, account, questions) -> [{group: Usage}, ...]   apart for each group of a question's `by`

store/part.py cuts the ranges; here the pieces are read and put together. UNIQUE is the number of different values over
all segments of a question; WEIGHTED is summed over aliases and groups, each of which has a level of its own, in
level x hours; AVERAGE and WEIGHTED are divided last, to 24 decimals. The number of queries does not depend on the
number of questions.

Several statements answer together, so a caller who wants one instant's truth opens a REPEATABLE READ transaction.
"""

import functools
from collections import defaultdict
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any, TypeAlias, assert_never
from zoneinfo import ZoneInfo

import msgspec

from rating import metric, number, span
from rating.metric import Aggregation
from rating.span import Point, Span, Value
from store import bucket, counter, part, partition, stream_position, usage_edge, usage_group, usage_piece
from store.db import Connection
from store.part import Part, Parts, Question, Segment

__all__ = ["Question", "Segment", "Usage", "counted_past", "measure", "measure_groups"]

# Texts of properties; none where nothing is grouped.
Group: TypeAlias = tuple[str | None, ...]

# What every answer begins with: the account's zone, which raw events are kept, and the names that have a number; by the
# primary keys and the unique index (account, value). Together in one trip: see usage_piece.py.
_TERMS = """
select time_zone, (select dropped_before from usage_retention) as dropped_before, named.value, named.alias
from account left join usage_alias as named on named.account = account.account and named.value = any($2::text[])
where account.account = $1
"""


class Usage(msgspec.Struct, frozen=True):
    """The metric's value, and how many events it was counted from."""

    value: Decimal
    event_count: int


class _Sum:
    """An answer in the making."""

    def __init__(self) -> None:
        self.events = 0
        self.total: Value = 0
        self.most: Value | None = None
        self.least: Value | None = None
        self.latest: Span | None = None
        self.members: set[str] = set()
        self.distinct = 0


class _Level:
    """What is known of one alias and group over one segment, for LATEST and WEIGHTED."""

    def __init__(self) -> None:
        self.spans: list[Span] = []
        # The instant and the level that held at the beginning.
        self.carried: tuple[int, int, Value] = (0, 0, 0)


_Levels: TypeAlias = "defaultdict[tuple[int, int, Group], _Level]"
_Sums: TypeAlias = "list[defaultdict[Group, _Sum]]"


async def measure(conn: Connection, account: int, questions: Sequence[Question]) -> list[Usage]:
    """Answer the questions, in their order, all groups together."""
    plain = [msgspec.structs.replace(question, by=()) for question in questions]
    return [found[()] for found in await measure_groups(conn, account, plain)]


async def measure_groups(conn: Connection, account: int, questions: Sequence[Question]) -> list[dict[Group, Usage]]:
    """Answer the questions, in their order. Without `by` there is one group, (); else those that have anything."""
    names = sorted({segment.alias for question in questions for segment in question.segments})
    terms = await conn.fetch(_TERMS, account, names)
    aliases = {row["value"]: row["alias"] for row in terms if row["alias"] is not None}
    parts = part.cut(questions, aliases, ZoneInfo(terms[0]["time_zone"]))
    kept = partition.kept_after(terms[0]["dropped_before"])
    too_many = await usage_edge.settle(conn, account, parts, kept=kept)
    reading = await usage_piece.read(conn, account, parts)
    groups = await _groups(conn, account, reading)
    sums: _Sums = [defaultdict(_Sum) for _ in questions]
    levels: _Levels = defaultdict(_Level)
    _add_cells(questions, reading, groups=groups, sums=sums)
    _add_levels(reading, groups=groups, levels=levels)
    _add_edges(questions, reading, sums=sums, levels=levels)
    _take_away(questions, too_many, sums=sums)
    _add_answers(questions, levels, sums=sums)
    await _add_members(conn, account, questions, parts=parts, groups=groups, sums=sums)
    return [_usages(question, found) for question, found in zip(questions, sums, strict=True)]


async def counted_past(conn: Connection, ends: Mapping[str, str]) -> bool:
    """Whether everything up to these ends of streams is counted and committed."""
    positions = await stream_position.read(conn)
    return all(
        stream_position.order(positions.get(name, stream_position.START)) >= stream_position.order(end)
        for name, end in ends.items()
    )


async def _groups(conn: Connection, account: int, reading: usage_piece.Reading) -> dict[int, Group]:
    """The groups of all numbers that were read; number 0 is no group. Cells bring theirs along."""
    found = {row["group_no"]: row["group_value"] for _, row in reading.cells if row["group_no"] != usage_group.NONE}
    numbers = {row["group_no"] for some in (reading.spans, reading.carries) for _, row in some} - {usage_group.NONE}
    found |= await usage_group.values(conn, account, numbers=numbers - found.keys())
    return {usage_group.NONE: ()} | {group_no: metric.decode_group(text) for group_no, text in found.items()}


def _add_cells(
    questions: Sequence[Question], reading: usage_piece.Reading, *, groups: Mapping[int, Group], sums: _Sums
) -> None:
    for of, row in reading.cells:
        question, group = questions[of.question], groups[row["group_no"]]
        if not _wants(question, group):
            continue
        found = sums[of.question][_key(question, group)]
        found.events += row["events"]
        found.total = number.add(Decimal(found.total), row["total"] or number.ZERO)
        found.most, found.least = _most(found.most, row["most"]), _least(found.least, row["least"])


def _add_levels(reading: usage_piece.Reading, *, groups: Mapping[int, Group], levels: _Levels) -> None:
    for of, row in reading.spans:
        levels[of.question, of.segment, groups[row["group_no"]]].spans.append(usage_piece.span_of(row))
    for carry, row in reading.carries:
        found = levels[carry.question, carry.segment, groups[row["group_no"]]]
        found.carried = (row["last_at"], row["last_no"], row["level"])


def _add_edges(questions: Sequence[Question], reading: usage_piece.Reading, *, sums: _Sums, levels: _Levels) -> None:
    """Count raw events with each metric's own rule."""
    points: defaultdict[tuple[int, tuple[int, int, Group]], list[Point]] = defaultdict(list)
    for of, row in reading.carry_edges:
        if (seen := _seen(of, row)) is not None:
            group, value = seen
            found = levels[of.question, of.segment, group]
            found.carried = max(found.carried, _point(row, value), key=lambda one: one[:2])
    for place, of, row in reading.edges:
        if (seen := _seen(of, row)) is None:
            continue
        group, counted = seen
        if not _wants(questions[of.question], group):
            continue
        if of.metric.aggregation in {Aggregation.LATEST, Aggregation.WEIGHTED}:
            points[place, (of.question, of.segment, group)].append(_point(row, counted))
        else:
            _add_event(sums[of.question][_key(questions[of.question], group)], of.metric.aggregation, counted)
    for (_, where), some in points.items():
        levels[where].spans.append(span.span(questions[where[0]].metric.aggregation, some))


def _take_away(questions: Sequence[Question], rows: Sequence[tuple[Part, Any]], *, sums: _Sums) -> None:
    """Without what a counter of a whole quarter hour has beyond an edge."""
    for of, row in rows:
        if (seen := _seen(of, row)) is None or not _wants(questions[of.question], seen[0]):
            continue
        found = sums[of.question][_key(questions[of.question], seen[0])]
        found.events -= 1
        if of.metric.aggregation is not Aggregation.COUNT:
            found.total = number.subtract(Decimal(found.total), Decimal(seen[1]))


def _seen(of: Part, row: Any) -> tuple[Group, metric.Counted] | None:
    """The group of a raw event, and what it adds; None: the metric leaves it uncounted."""
    properties = metric.decode_properties(row["properties"])
    counted = metric.counted(of.metric, properties)
    if counted is None:
        return None
    return tuple(metric.text_of(properties.get(name)) for name in of.metric.group_by), counted


def _point(row: Any, counted: metric.Counted) -> Point:
    if isinstance(counted, str):
        raise TypeError(counted)
    return bucket.microseconds(row["event_timestamp"]), row["event_no"], counted


def _add_event(found: _Sum, aggregation: Aggregation, counted: metric.Counted) -> None:
    found.events += 1
    if isinstance(counted, str):
        found.members.add(counter.member_value(counted))
    elif aggregation is not Aggregation.COUNT:
        found.total = number.add(Decimal(found.total), Decimal(counted))
        found.most, found.least = _most(found.most, counted), _least(found.least, counted)


def _add_answers(questions: Sequence[Question], levels: _Levels, *, sums: _Sums) -> None:
    """What the segments of LATEST and WEIGHTED come to, each alias and group by itself."""
    for (index, place, group), level in levels.items():
        question = questions[index]
        if not _wants(question, group):
            continue
        found = sums[index][_key(question, group)]
        found.events += sum(one.events for one in level.spans)
        if question.metric.aggregation is Aggregation.WEIGHTED:
            segment = question.segments[place]
            covered = span.area(
                sorted(level.spans, key=lambda one: one.first_at or 0),
                start=bucket.microseconds(max(segment.start, part.FIRST)),
                end=bucket.microseconds(min(segment.end, part.LAST)),
                level=level.carried[2],
            )
            found.total = number.add(Decimal(found.total), Decimal(covered))
            continue
        for one in level.spans:
            found.latest = one if found.latest is None else span.join(Aggregation.LATEST, found.latest, one)


async def _add_members(
    conn: Connection,
    account: int,
    questions: Sequence[Question],
    *,
    parts: Parts,
    groups: Mapping[int, Group],
    sums: _Sums,
) -> None:
    """Count different values over counters and edges together."""
    unique = [index for index, of in enumerate(questions) if of.metric.aggregation is Aggregation.UNIQUE]
    # Groups of a question get numbers of their own: several numbers of the counters may be one of them.
    targets = {index: {key: target for target, key in enumerate(sums[index])} for index in unique}
    asked = [
        (index, group_no, targets[index][_key(questions[index], group)])
        for index in unique
        for group_no, group in groups.items()
        if _wants(questions[index], group) and _key(questions[index], group) in targets[index]
    ]
    edges = [
        (index, target, member)
        for index in unique
        for key, target in targets[index].items()
        for member in sums[index][key].members
    ]
    found = await usage_piece.read_members(conn, account, parts.members, targets=asked, edges=edges)
    for index in unique:
        for key, target in targets[index].items():
            sums[index][key].distinct = found.get((index, target), 0)


def _wants(question: Question, group: Group) -> bool:
    """Whether a group is one of the metric's, and one that was asked for."""
    names = question.metric.group_by
    if len(group) != len(names):
        return False
    if not question.only:
        return True
    texts = dict(zip(names, group, strict=True))
    return metric.accepts(question.only, texts, is_case_sensitive=question.metric.is_case_sensitive)


def _key(question: Question, group: Group) -> Group:
    """The part of a group that the question asks for."""
    if not question.by or question.by == question.metric.group_by:
        return group if question.by else ()
    return tuple(group[place] for place in _places(question.metric.group_by, question.by))


@functools.lru_cache(maxsize=1_024)
def _places(names: tuple[str, ...], by: tuple[str, ...]) -> tuple[int, ...]:
    return tuple(names.index(name) for name in by)


def _most(one: Value | None, other: Value | None) -> Value | None:
    return one if other is None else other if one is None else max(one, other)


def _least(one: Value | None, other: Value | None) -> Value | None:
    return one if other is None else other if one is None else min(one, other)


def _usages(question: Question, sums: Mapping[Group, _Sum]) -> dict[Group, Usage]:
    aggregation = question.metric.aggregation
    if not question.by:
        return {(): _usage(aggregation, sums.get((), _Sum()))}
    usages = {group: _usage(aggregation, found) for group, found in sums.items()}
    return {group: found for group, found in usages.items() if found.event_count or found.value}


def _usage(aggregation: Aggregation, found: _Sum) -> Usage:
    total = Decimal(found.total)
    match aggregation:
        case Aggregation.COUNT:
            value = Decimal(found.events)
        case Aggregation.SUM:
            value = total
        case Aggregation.UNIQUE:
            value = Decimal(found.distinct)
        case Aggregation.MAX:
            value = Decimal(found.most or 0)
        case Aggregation.MIN:
            value = Decimal(found.least or 0)
        case Aggregation.LATEST:
            value = Decimal(found.latest.total) if found.latest else number.ZERO
        case Aggregation.AVERAGE:
            value = number.share(total, part=1, whole=max(1, found.events))
        case Aggregation.WEIGHTED:
            value = number.share(total, part=1, whole=span.MICROSECONDS_PER_HOUR)
        case _:
            assert_never(aggregation)
    return Usage(value, found.events)
