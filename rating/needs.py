"""Needs: what must be known before a schedule can be billed on a date.

    Needs("USD", due=Due(...), usage=(UsageKey("calls", January),), seats=(), prices=("p1", "p2"), ...)

Whoever gathers facts asks this once for each schedule, answers everything in a few set-based queries, and hands the
answers to `bill` in a BillInput.
"""

from collections.abc import Iterable
from datetime import date
from typing import TypeVar

import msgspec

from rating.price import SeatBased, Volume
from rating.schedule import Charge, Due, Schedule, charges_due
from rating.seat import SeatKey, seat_key
from rating.tariff import usage_keys
from rating.usage import UsageKey

T = TypeVar("T")


class Needs(msgspec.Struct, frozen=True):
    """The questions of one bill; each once, however many prices ask it.

    `due`: the charges that ask, for `bill` to be handed with the answers instead of deriving them again.
    `usage`: quantities; of a schedule that rolls up, `usage.rolled_up` of all its customers. `by_group` and `by_event`
    name those of `usage` whose groups, or amounts of single events, must be given too. `seats`: of each metric the
    balances from the first day that any of its keys names to the last. `prices`: whose tax rates. `grant_metrics`: the
    metrics whose unit grants can be drawn, beside grants of money in `currency`. `since` is the earliest day on which a
    grant must be valid to pay anything.
    """

    currency: str
    due: Due | None = None
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
    asking = [(charge, key) for charge in charges for key in usage_keys(charge)]
    usage = _distinct([key for _, key in asking])
    return Needs(
        currency=schedule.currency,
        due=Due(schedule, bill_date, charges) if charges else None,
        usage=usage,
        by_group=_distinct([key for charge, key in asking if charge.price.prices_by_group is not None]),
        by_event=_distinct([key for charge, key in asking if _bounds_events(charge)]),
        seats=_distinct([key for charge in charges for key in _seat_keys(charge)]),
        prices=_distinct([charge.price.id for charge in charges]),
        grant_metrics=_distinct([key.metric_id for key in usage]),
        since=min([charge.pay_day for charge in charges], default=None),
    )


def _distinct(found: Iterable[T]) -> tuple[T, ...]:
    return tuple(dict.fromkeys(found))


def _bounds_events(charge: Charge) -> bool:
    structure = charge.price.structure
    return isinstance(structure, Volume) and structure.bounds_events()


def _seat_keys(charge: Charge) -> Iterable[SeatKey]:
    structure = charge.price.structure
    if isinstance(structure, SeatBased):
        yield seat_key(structure, charge)
