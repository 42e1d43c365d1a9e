"""Usage as people ask for it: several metrics, several aliases or a customer, windows, groups, filters.

    answer(conn, account, query) -> Answer      call it in a REPEATABLE READ transaction

A query becomes questions (store/usage.py), one for each metric and window; all names of a family are one question, so
UNIQUE is the union over parent and children. Groups and filters by properties that the
metric keeps apart are answered from counters; others from raw events, as far as QueryTooLarge allows.
"""

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from typing import TypeAlias
from uuid import UUID
from zoneinfo import ZoneInfo

import msgspec

from rating import metric as metrics_
from rating import period, window
from rating.metric import Aggregation, Metric
from rating.period import MONTHS, Frequency, Grid
from rating.window import Window
from store import customer, family, metric, stream_position, usage
from store.customer import AliasSpan
from store.db import Connection
from store.error import MetricCounting, NoBillingPeriod, NotFound, QueryTooLarge
from store.metric import StoredMetric
from store.part import Question, Segment

# How many pieces, of all metrics, windows and aliases, one query may ask for.
PIECES_MAX = 20_000

Filters: TypeAlias = dict[str, list[str]]


class Query(msgspec.Struct, frozen=True, kw_only=True):
    """What is asked. Either aliases or a customer, who may include children and grandchildren; `start` and `end` are a
    half-open range.
    """

    metrics: tuple[UUID, ...]
    start: datetime
    end: datetime
    aliases: tuple[str, ...] = ()
    customer: UUID | None = None
    includes_children: bool = False
    window: Window | None = None
    zone: ZoneInfo
    by: tuple[str, ...] = ()
    filters: Filters = {}


class Item(msgspec.Struct, frozen=True, kw_only=True):
    """One metric over one window, for one group."""

    metric: UUID
    start: datetime
    end: datetime
    group: dict[str, str | None]
    value: Decimal
    event_count: int


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """The items, and the positions up to which they have everything, "stream number/entry id" each."""

    items: tuple[Item, ...]
    counted_up_to: tuple[str, ...]


async def answer(conn: Connection, account: int, query: Query) -> Answer:
    """Answer a query from what is counted now."""
    asked = await _metrics(conn, account, query.metrics)
    spans = await _spans(conn, account, query)
    ranges = await _ranges(conn, account, query)
    if len(asked) * len(ranges) * max(1, len(spans)) > PIECES_MAX:
        raise QueryTooLarge("Too many windows are asked for at once. Ask for a shorter range or longer windows.")
    questions = [_question(of.terms, spans, query, start=start, end=end) for of in asked for start, end in ranges]
    found = await usage.measure_groups(conn, account, questions)
    wanted = [(of.id, start, end) for of in asked for start, end in ranges]
    return Answer(
        items=tuple(
            Item(
                metric=id_,
                start=start,
                end=end,
                group=dict(zip(query.by, group, strict=True)),
                value=one.value,
                event_count=one.event_count,
            )
            for (id_, start, end), groups in zip(wanted, found, strict=True)
            for group, one in sorted(groups.items(), key=lambda pair: [(text is None, text or "") for text in pair[0]])
        ),
        counted_up_to=await counted_up_to(conn),
    )


async def counted_up_to(conn: Connection) -> tuple[str, ...]:
    """The positions that are counted, as callers know them, in the order of the streams."""
    positions = await stream_position.read(conn)
    numbered = sorted((int(name[name.index("{") + 1 : -1]), position) for name, position in positions.items())
    return tuple(f"{number}/{position}" for number, position in numbered)


async def _metrics(conn: Connection, account: int, wanted: Sequence[UUID]) -> list[StoredMetric]:
    found = await metric.find(conn, account, wanted)
    for one in wanted:
        if one not in found:
            raise NotFound(f"There is no usage metric {one}.")
        if not found[one].history.is_complete:
            raise MetricCounting(key="metrics")
    return [found[one] for one in wanted]


async def _spans(conn: Connection, account: int, query: Query) -> Sequence[AliasSpan]:
    """Under which names, and when, usage is asked for. No two customers have one name at one time."""
    if query.customer is None:
        return [AliasSpan(alias, None, None) for alias in dict.fromkeys(query.aliases)]
    members = [query.customer]
    if query.includes_children:
        members += (await family.descendants(conn, account, customers=members))[query.customer]
    found = await customer.aliases_of(conn, account=account, customers=members)
    if not found[query.customer]:
        raise NotFound(f"There is no customer {query.customer}.", key="customerId")
    return [span for member in members for span in found[member]]


async def _ranges(conn: Connection, account: int, query: Query) -> list[window.Range]:
    if query.window is None:
        return [(query.start, query.end)]
    periods = None
    if query.window is Window.BILLING_PERIOD:
        periods = await billing_periods(conn, account, customer=query.customer)
    found: list[window.Range] = []
    for one in window.windows(query.window, start=query.start, end=query.end, zone=query.zone, periods=periods):
        found.append(one)
        if len(found) > PIECES_MAX:
            raise QueryTooLarge("Too many windows are asked for at once. Ask for a shorter range or longer windows.")
    return found


def _question(of: Metric, spans: Sequence[AliasSpan], query: Query, *, start: datetime, end: datetime) -> Question:
    segments = (
        Segment(
            span.value,
            max(start, span.valid_from) if span.valid_from else start,
            min(end, span.valid_to) if span.valid_to else end,
        )
        for span in spans
    )
    only = metrics_.filters(query.filters, negated=(), is_case_sensitive=of.is_case_sensitive)
    is_raw = not {*query.by, *query.filters} <= set(of.group_by)
    if is_raw:
        # By what the metric keeps apart as well, which WEIGHTED needs: each group has a level of its own.
        names = of.group_by if of.aggregation is Aggregation.WEIGHTED else ()
        by = tuple(dict.fromkeys((*names, *query.by)))
        of, only = msgspec.structs.replace(of, filters=(*of.filters, *only), group_by=by), ()
    return Question(of, tuple(one for one in segments if one.start < one.end), query.by, is_raw, only)


# The contract that runs, or ran last, of one customer, by billing_schedule_customer, with its prices' frequencies.
_SCHEDULE = """
select start_date, recurrence_day, array(
    select distinct price.billing_frequency
    from billing_phase as phase cross join unnest(phase.price_ids) as wanted (price)
    join price on price.account = phase.account and price.id = wanted.price
    where phase.account = schedule.account and phase.schedule = schedule.id
) as frequencies
from billing_schedule as schedule
where account = $1 and customer = $2 and not is_draft and archived_at is null
order by start_date desc limit 1
"""


async def billing_periods(conn: Connection, account: int, *, customer: UUID | None) -> Grid:
    """The billing periods of a customer: those of its latest schedule, the shortest that its prices have."""
    row = await conn.fetchrow(_SCHEDULE, account, customer)
    if row is None:
        raise NoBillingPeriod(key="window")
    frequencies = [Frequency(one) for one in row["frequencies"]]
    shortest = min((one for one in frequencies if one in MONTHS), key=lambda one: MONTHS[one], default=None)
    return period.grid(
        row["start_date"],
        frequency=shortest or Frequency.MONTHLY,
        anchor_day=row["recurrence_day"] or row["start_date"].day,
    )
