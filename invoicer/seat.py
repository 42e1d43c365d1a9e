"""Seats that a run bills: the balances of every schedule, read in one query.

    Batch  ->  {schedule id: {seat metric id: (SeatChange, ...)}}

A schedule that rolls up bills the seats of its customer and of everyone below together.
"""

from collections.abc import Mapping, Sequence
from uuid import UUID

from invoicer.batch import Batch
from rating import period
from rating import seat as rating
from rating.period import Period
from rating.seat import SeatChange, SeatKey
from store import seat, seat_metric
from store.db import Connection
from store.seat import Question


async def balances(conn: Connection, batch: Batch) -> dict[UUID, dict[str, tuple[SeatChange, ...]]]:
    """By schedule and seat metric; a metric that does not exist is left out, and rating names it."""
    asked = [
        (s.id, metric, days) for s in batch.schedules for metric, days in _periods(batch.needs[s.id].seats).items()
    ]
    found: dict[UUID, dict[str, tuple[SeatChange, ...]]] = {s.id: {} for s in batch.schedules}
    if not asked:
        return found
    types = await seat_metric.types(conn, batch.account, metrics=list({UUID(metric) for _, metric, _ in asked}))
    known = [one for one in asked if UUID(one[1]) in types]
    questions = [
        Question(batch.members[schedule], types[UUID(metric)], *period.instants(days, batch.zone))
        for schedule, metric, days in known
    ]
    answers = await seat.changes(conn, batch.account, questions)
    for (schedule, metric, _), changes in zip(known, answers, strict=True):
        found[schedule][metric] = rating.changes(changes, batch.zone)
    return found


def _periods(keys: Sequence[SeatKey]) -> Mapping[str, Period]:
    """Of each metric the days from the first to the last that its keys name."""
    spans: dict[str, Period] = {}
    for key in keys:
        span = spans.setdefault(key.metric_id, key.period)
        spans[key.metric_id] = Period(min(span.start, key.period.start), max(span.end, key.period.end))
    return spans
