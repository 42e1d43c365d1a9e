"""Everything that many bills need, read in a few set-based queries from one snapshot.

    [StoredSchedule, ...]  ->  {schedule id: BillInput}

The number of queries depends on the number of accounts in the batch (one, today), never on the number of schedules.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import datetime
from uuid import UUID
from zoneinfo import ZoneInfo

import msgspec

from rating import bill, period
from rating.metric import Metric
from rating.usage import Usage, UsageKey
from store import account, customer, metric, usage
from store.customer import AliasSpan
from store.db import Connection
from store.due import StoredSchedule


class Counting(msgspec.Struct, frozen=True):
    """A metric of the schedule still counts its history."""


async def inputs(conn: Connection, schedules: Sequence[StoredSchedule]) -> dict[UUID, bill.BillInput | Counting]:
    """Answer what `rating.bill` must know for each schedule's bill date, or that it cannot be known yet.

    A schedule with a price whose usage metric does not exist has no answer. `conn` must hold one REPEATABLE READ
    snapshot: days, quarter hours and raw edges of one range are read by different statements.
    """
    by_account: defaultdict[int, list[StoredSchedule]] = defaultdict(list)
    for schedule in schedules:
        by_account[schedule.account].append(schedule)
    answers: dict[UUID, bill.BillInput | Counting] = {}
    for number, members in by_account.items():
        answers |= await _inputs_of_account(conn, number, members)
    return answers


async def _inputs_of_account(
    conn: Connection, number: int, schedules: Sequence[StoredSchedule]
) -> dict[UUID, bill.BillInput | Counting]:
    needs = {s.id: bill.usage_needed(s.terms, s.bill_date) for s in schedules}
    metrics = await metric.load(conn, number, _metric_ids(needs.values()))
    aliases = await customer.aliases_of(conn, account=number, customers=list({s.customer for s in schedules}))
    zone = ZoneInfo((await account.get(conn, number)).time_zone)
    known = [s for s in schedules if all(UUID(key.metric_id) in metrics for key in needs[s.id])]
    billable = [s for s in known if all(metrics[UUID(key.metric_id)].is_complete for key in needs[s.id])]
    questions = [
        _question(metrics[UUID(key.metric_id)], key=key, aliases=aliases[s.customer], zone=zone)
        for s in billable
        for key in needs[s.id]
    ]
    measured = iter(await usage.measure(conn, number, questions))
    counting: dict[UUID, bill.BillInput | Counting] = {s.id: Counting() for s in known}
    return counting | {
        s.id: bill.BillInput(
            schedule=s.terms,
            bill_date=s.bill_date,
            usage={key: _usage(metrics[UUID(key.metric_id)], next(measured)) for key in needs[s.id]},
        )
        for s in billable
    }


def _metric_ids(needs: Iterable[Sequence[UsageKey]]) -> list[UUID]:
    return list({UUID(key.metric_id) for keys in needs for key in keys})


def _question(of: Metric, *, key: UsageKey, aliases: Sequence[AliasSpan], zone: ZoneInfo) -> usage.Question:
    start, end = period.instants(key.service, zone)
    segments = (_segment(alias, start=start, end=end) for alias in aliases)
    return usage.Question(metric=of, segments=tuple(s for s in segments if s.start < s.end))


def _segment(alias: AliasSpan, *, start: datetime, end: datetime) -> usage.Segment:
    """Cut the range to the time in which the alias belonged to the customer."""
    return usage.Segment(
        alias=alias.value,
        start=max(start, alias.valid_from) if alias.valid_from else start,
        end=min(end, alias.valid_to) if alias.valid_to else end,
    )


def _usage(of: Metric, measured: usage.Usage) -> Usage:
    return Usage(quantity=measured.value, event_count=measured.event_count, metric_version=of.version)
