"""Billing schedules: which prices a customer pays from when to when, and which charges fall due on a date.

A charge is one price for one service period. Charged in advance it falls due on the first day of its period, in arrears
on the day after the last; everything of one schedule that falls due on the same date is one bill (spec sections 12 and
13, cases 25-31). Dates are half-open here; the API's inclusive end dates are converted at the edge.
"""

from collections.abc import Iterator
from datetime import date, timedelta

import msgspec

from rating.error import InvalidSchedule, MixedCurrencies, UnsupportedTerms
from rating.period import Frequency, Grid, Period, grid
from rating.price import BillingType, Price

EARLIEST = date(2000, 1, 1)
LATEST = date(2200, 1, 1)
ANCHOR_DAY_MAX = 31
PRICES_MAX = 1000
_DAY = timedelta(days=1)


class Phase(msgspec.Struct, frozen=True):
    """A stretch of a schedule with its prices; without an end it goes on."""

    start: date
    end: date | None
    prices: tuple[Price, ...]


class Schedule(msgspec.Struct, frozen=True):
    """What a customer agreed to pay. `anchor_day` is the billing day; 29-31 mean the last day of shorter months."""

    id: str
    start: date
    end: date | None
    anchor_day: int
    phases: tuple[Phase, ...]

    def __post_init__(self) -> None:
        try:
            _check_dates(self)
            _check_phases(self)
            _check_prices(self.phases[0].prices)
        except (InvalidSchedule, MixedCurrencies, UnsupportedTerms) as error:
            error.at(schedule_id=self.id)
            raise

    @property
    def currency(self) -> str:
        return self.phases[0].prices[0].currency


class Charge(msgspec.Struct, frozen=True):
    """One price for one service period, and the full period of its frequency that a partial one is measured against."""

    price: Price
    service: Period
    full: Period


def charges_due(schedule: Schedule, bill_date: date) -> tuple[Charge, ...]:
    """The charges that fall due on this date, in the order of the phase's prices; often none."""
    return tuple(
        charge
        for phase in schedule.phases
        for price in phase.prices
        for charge in _charge_due(schedule, phase, price=price, bill_date=bill_date)
    )


def next_bill_date(schedule: Schedule, after: date | None) -> date | None:
    """The first date after this one on which something falls due; after None, the very first. None: nothing is left."""
    return min(
        (
            due
            for phase in schedule.phases
            for price in phase.prices
            for due in _dates_due(schedule, phase, price=price, after=after)
        ),
        default=None,
    )


def _charge_due(schedule: Schedule, phase: Phase, *, price: Price, bill_date: date) -> Iterator[Charge]:
    in_advance = price.billing_type is BillingType.IN_ADVANCE
    day = bill_date if in_advance else bill_date - _DAY
    if day < phase.start or (phase.end is not None and day >= phase.end):
        return
    full = _grid(schedule, price.billing_frequency).around(day)
    service = full.cut(start=phase.start, end=phase.end)
    if bill_date == (service.start if in_advance else service.end):
        yield Charge(price, service, full)


def _dates_due(schedule: Schedule, phase: Phase, *, price: Price, after: date | None) -> Iterator[date]:
    """The next date of one price, if there is one."""
    in_advance = price.billing_type is BillingType.IN_ADVANCE
    if in_advance and (after is None or after < phase.start):
        yield phase.start
        return
    day = phase.start if after is None else max(after, phase.start)
    if phase.end is not None and day >= phase.end:
        return
    service_end = _grid(schedule, price.billing_frequency).around(day).cut(start=phase.start, end=phase.end).end
    # In advance the next period is due when this one ends, unless the phase ends with it.
    if not in_advance or service_end != phase.end:
        yield service_end


def _grid(schedule: Schedule, frequency: Frequency) -> Grid:
    return grid(schedule.start, frequency=frequency, anchor_day=schedule.anchor_day)


def _check_dates(schedule: Schedule) -> None:
    if not EARLIEST <= schedule.start < LATEST:
        raise InvalidSchedule(f"startDate must lie between {EARLIEST} and {LATEST}", key="startDate")
    if schedule.end is not None and not schedule.start < schedule.end <= LATEST:
        raise InvalidSchedule(f"endDate must not lie before startDate, nor after {LATEST}", key="endDate")
    if not 1 <= schedule.anchor_day <= ANCHOR_DAY_MAX:
        raise InvalidSchedule(f"the billing day must lie between 1 and {ANCHOR_DAY_MAX}", key="recurrenceDayOfMonth")


def _check_phases(schedule: Schedule) -> None:
    if len(schedule.phases) != 1:
        message = f"exactly one phase is billed yet, this schedule has {len(schedule.phases)}"
        raise UnsupportedTerms(message, key="phases")
    phase = schedule.phases[0]
    if (phase.start, phase.end) != (schedule.start, schedule.end):
        key = "phases[0].startDate" if phase.start != schedule.start else "phases[0].endDate"
        raise InvalidSchedule("the only phase must start and end with the schedule", key=key)


def _check_prices(prices: tuple[Price, ...]) -> None:
    if not 1 <= len(prices) <= PRICES_MAX:
        raise InvalidSchedule(f"give between 1 and {PRICES_MAX} prices, not {len(prices)}", key="phases[0].priceIds")
    if len({price.id for price in prices}) != len(prices):
        raise InvalidSchedule("a price can stand in a phase only once", key="phases[0].priceIds")
    currencies = sorted({price.currency for price in prices})
    if len(currencies) != 1:
        message = f"the prices of one schedule must share a currency, these have {', '.join(currencies)}"
        raise MixedCurrencies(message, key="phases[0].priceIds")
