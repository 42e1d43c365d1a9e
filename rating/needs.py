"""Needs: what must be known before a schedule can be billed on a date.

    Needs(usage=(UsageKey("calls", January),), by_group=(), by_event=(), seats=(), prices=("p1", "p2"))

Whoever gathers facts asks this once for each schedule, answers everything in a few set-based queries, and hands the
answers to `bill` in a BillInput.
"""

from collections.abc import Iterable
from datetime import date

import msgspec

from rating.price import SeatBased, Volume
from rating.schedule import Charge, Schedule, charges_due
from rating.seat import SeatKey
from rating.tariff import usage_keys
from rating.usage import UsageKey


class Needs(msgspec.Struct, frozen=True):
    """The questions of one bill; each once, however many prices ask it.

    `usage`: quantities; of a schedule that rolls up, `usage.rolled_up` of all its customers. `by_group` and `by_event`
    name those of `usage` whose groups, or amounts of single events, must be given too. `seats`: all changes before the
    period's end. `prices`: whose tax rates. `grant_metrics`: the metrics whose unit grants can be drawn, beside grants
    of money in `currency`. `since` is the earliest day on which a grant must be valid to pay anything.
    """

    currency: str
    usage: tuple[UsageKey, ...] = ()
    by_group: tuple[UsageKey, ...] = ()
    by_event: tuple[UsageKey, ...] = ()
    seats: tuple[SeatKey, ...] = ()
    prices: tuple[str, ...] = ()
    grant_metrics: tuple[str, ...] = ()
    since: date | None = None


def needs(schedule: Schedule, bill_date: date) -> Needs:
    """What `bill` will read for this date; nothing when nothing falls due."""
    charges = charges_due(schedule, bill_date)
    usage = _distinct(key for charge in charges for key in usage_keys(charge))
    return Needs(
        currency=schedule.currency,
        usage=usage,
        by_group=_distinct(key for one in charges if one.price.prices_by_group is not None for key in usage_keys(one)),
        by_event=_distinct(key for charge in charges if _bounds_events(charge) for key in usage_keys(charge)),
        seats=tuple(dict.fromkeys(key for charge in charges for key in _seat_keys(charge))),
        prices=tuple(dict.fromkeys(charge.price.id for charge in charges)),
        grant_metrics=tuple(dict.fromkeys(key.metric_id for key in usage)),
        since=min((charge.pay_day for charge in charges), default=None),
    )


def _distinct(keys: Iterable[UsageKey]) -> tuple[UsageKey, ...]:
    return tuple(dict.fromkeys(keys))


def _bounds_events(charge: Charge) -> bool:
    structure = charge.price.structure
    return isinstance(structure, Volume) and structure.bounds_events()


def _seat_keys(charge: Charge) -> Iterable[SeatKey]:
    structure = charge.price.structure
    if isinstance(structure, SeatBased):
        yield SeatKey(structure.seat_metric_id, charge.service)
