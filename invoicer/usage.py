"""Usage that a run bills: the answers to all questions of its schedules, in a few set-based queries.

    Batch, metrics  ->  {schedule id: {UsageKey: Usage}}

One question for each key and each customer whose usage a schedule bills, cut to the times in which an alias was the
customer's. Prices by group have the groups apart as well, prices that bound the fee of an event the amounts of single
events. What UNIQUE counts of a family is asked once more over all of them, because a value that two of them used is
one value.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from functools import reduce
from typing import TypeAlias
from uuid import UUID

import msgspec

from invoicer.batch import Batch
from rating import metric, number, period
from rating import usage as rating
from rating.metric import Aggregation, Metric
from rating.needs import Needs
from rating.usage import Usage, UsageKey
from store import amount, customer, usage
from store.customer import AliasSpan
from store.db import Connection
from store.due import StoredSchedule
from store.usage import Question

_Aliases: TypeAlias = Mapping[UUID, Sequence[AliasSpan]]


class _Asked(msgspec.Struct, frozen=True):
    """One question to the meter, for one customer of a schedule; None: for all of them together."""

    schedule: UUID
    key: UsageKey
    customer: UUID | None
    question: Question
    by_group: bool = False
    by_event: bool = False


async def measured(
    conn: Connection, batch: Batch, *, metrics: Mapping[UUID, Metric]
) -> dict[UUID, dict[UsageKey, Usage]]:
    """The answers to every usage key of every schedule."""
    everyone = list({one for members in batch.members.values() for one in members})
    aliases = await customer.aliases_of(conn, account=batch.account, customers=everyone)
    asked = [one for of in batch.schedules for one in _asked(batch, of, metrics=metrics, aliases=aliases)]
    found: defaultdict[tuple[UUID, UsageKey], dict[UUID | None, Usage]] = defaultdict(dict)
    for one, answer in zip(asked, await _answers(conn, batch.account, asked), strict=True):
        found[one.schedule, one.key][one.customer] = answer
    return {
        s.id: {key: _together(found[s.id, key], is_rolled_up=s.is_rolled_up) for key in batch.needs[s.id].usage}
        for s in batch.schedules
    }


def _asked(batch: Batch, of: StoredSchedule, *, metrics: Mapping[UUID, Metric], aliases: _Aliases) -> Iterator[_Asked]:
    needs: Needs = batch.needs[of.id]
    for key in needs.usage:
        counted = metrics[UUID(key.metric_id)]
        segments = {one: _segments(aliases[one], batch, key) for one in batch.members[of.id]}
        for one, some in segments.items():
            question = Question(metric=counted, segments=some)
            yield _Asked(of.id, key, one, question, key in needs.by_group, key in needs.by_event)
        if of.is_rolled_up and counted.aggregation is Aggregation.UNIQUE:
            yield _Asked(of.id, key, None, Question(metric=counted, segments=sum(segments.values(), ())))


def _segments(aliases: Sequence[AliasSpan], batch: Batch, key: UsageKey) -> tuple[usage.Segment, ...]:
    start, end = period.instants(key.service, batch.zone)
    cut = (_segment(alias, start=start, end=end) for alias in aliases)
    return tuple(segment for segment in cut if segment.start < segment.end)


def _segment(alias: AliasSpan, *, start: datetime, end: datetime) -> usage.Segment:
    """Cut the range to the time in which the alias belonged to the customer."""
    return usage.Segment(
        alias=alias.value,
        start=max(start, alias.valid_from) if alias.valid_from else start,
        end=min(end, alias.valid_to) if alias.valid_to else end,
    )


async def _answers(conn: Connection, account: int, asked: Sequence[_Asked]) -> list[Usage]:
    questions = [one.question for one in asked]
    grouped = [msgspec.structs.replace(one.question, by=one.question.metric.group_by) for one in asked if one.by_group]
    counted = await usage.measure(conn, account, questions)
    groups = iter(await usage.measure_groups(conn, account, grouped) if grouped else ())
    events = iter(await amount.amounts(conn, account, [one.question for one in asked if one.by_event]))
    return [
        _answer(
            one.question.metric,
            answer,
            groups=next(groups) if one.by_group else None,
            amounts=next(events) if one.by_event else None,
        )
        for one, answer in zip(asked, counted, strict=True)
    ]


def _answer(
    of: Metric,
    counted: usage.Usage,
    *,
    groups: Mapping[usage.Group, usage.Usage] | None,
    amounts: Mapping[Decimal, int] | None,
) -> Usage:
    """What rating reads. A metric that does not count apart any more has no groups, and rating refuses that."""
    plain = Usage(counted.value, counted.event_count, of.version, amounts=amounts)
    if groups is None or not of.group_by:
        return plain
    quantities: dict[str, Decimal] = {}
    events: dict[str, int] = {}
    for texts, found in groups.items():
        name = metric.group_name(texts)
        quantities[name] = number.add(quantities.get(name, number.ZERO), found.value)
        events[name] = events.get(name, 0) + found.event_count
    quantity = counted.value
    if of.aggregation is Aggregation.WEIGHTED:
        # Each level is divided by itself, so that the groups add up in their last digit too.
        quantity = reduce(number.add, quantities.values(), number.ZERO)
    return msgspec.structs.replace(plain, quantity=quantity, groups=quantities, group_events=events)


def _together(answers: Mapping[UUID | None, Usage], *, is_rolled_up: bool) -> Usage:
    by_customer = {str(one): answer for one, answer in answers.items() if one is not None}
    if is_rolled_up:
        return rating.rolled_up(by_customer, as_one=answers.get(None))
    (only,) = by_customer.values()
    return only
