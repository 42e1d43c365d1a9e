"""Billing schedules: which prices a customer pays from when to when, and which charges fall due on a date.

A charge is one price for one service period. Charged in advance it falls due on the first day of its period, in arrears
on the day after the last; everything of one schedule that falls due on the same date is one bill (spec sections 12 and
13, cases 25-34). Dates are half-open here; the API's inclusive end dates are converted at the edge.

Each price of a phase makes one series of charges, or two: seats that were billed in advance, or whose overages have a
frequency of their own, are followed by a series of overages (case 22). A one-time price makes a single charge. What
the credit grants of a phase cost falls due with each issue, as a charge of a price made for it (spec section 21).
"""

from collections.abc import Iterator
from datetime import date, timedelta
from enum import StrEnum
from functools import lru_cache

import msgspec

from rating.error import InvalidSchedule, RatingError
from rating.period import Frequency, Grid, Period, grid
from rating.phase import Phase, RecurrencePreference, check_phases, running
from rating.price import BillingType, Graduated, OneTime, Package, Price, SeatBased, UsageCalculationMode, Volume
from rating.terms import GrantTerms

__all__ = ["Charge", "ChargeReason", "Due", "Phase", "Schedule", "charges_due", "next_bill_date"]

EARLIEST = date(2000, 1, 1)
LATEST = date(2200, 1, 1)
ANCHOR_DAY_MAX = 31
# Most schedules are billed on the same few days; this many answers are remembered.
PERIODS_KEPT = 2**14
_DAY = timedelta(days=1)
# Members that are compared in every bill, looked up once: an enum's attribute costs as much as a multiplication.
_ONE_TIME, _ON_DEMAND, _IN_ADVANCE = Frequency.ONE_TIME, Frequency.ON_DEMAND, BillingType.IN_ADVANCE


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
            check_phases(self.phases, start=self.start, end=self.end)
            running(self.phases)
        except RatingError as error:
            error.at(schedule_id=self.id)
            raise

    @property
    def currency(self) -> str:
        return self.phases[0].prices[0].currency


class ChargeReason(StrEnum):
    """Why there is a charge: the price's own period, seats above those of it, or a credit grant that is issued."""

    SCHEDULE = "SCHEDULE"
    OVERAGE = "OVERAGE"
    CREDIT_GRANT = "CREDIT_GRANT"


_SCHEDULE, _OVERAGE = ChargeReason.SCHEDULE, ChargeReason.OVERAGE


class Charge(msgspec.Struct, frozen=True, gc=False):
    """One price for one service period, and the full period of its frequency that a partial one is measured against.

    `phase` counts from 0. `ladder_start` is the day on which the tiers began at zero; None: with the service period.
    `base` is the price's own period around the service period, which is shorter only for overages of seats.
    """

    price: Price
    service: Period
    full: Period
    reason: ChargeReason = ChargeReason.SCHEDULE
    phase: int = 0
    ladder_start: date | None = None
    base: Period | None = None

    @property
    def pay_day(self) -> date:
        """The day on which a credit grant must be valid to pay it: its last day, or in advance its first."""
        if self.price.billing_type is _IN_ADVANCE and self.reason is _SCHEDULE:
            return self.service.start
        return self.service.end - _DAY

    def is_payable(self, *, start: date, end: date) -> bool:
        """Whether a credit grant that is valid in [start, end) can pay it, without asking for the day itself."""
        if self.price.billing_type is _IN_ADVANCE and self.reason is _SCHEDULE:
            return start <= self.service.start < end
        return start < self.service.end <= end


class Due(msgspec.Struct, frozen=True, gc=False):
    """The charges of a schedule on a date as they were found, for whoever asks about these two again."""

    schedule: Schedule
    bill_date: date
    charges: tuple[Charge, ...]

    def of(self, schedule: Schedule, bill_date: date) -> tuple[Charge, ...]:
        """The charges; those of another schedule or date are derived anew."""
        if schedule is self.schedule and bill_date == self.bill_date:
            return self.charges
        return charges_due(schedule, bill_date)


class _Series(msgspec.Struct, frozen=True, gc=False):
    """The charges of one price in one phase: cut from its grid, in advance or in arrears."""

    price: Price
    phase: int
    start: date
    end: date | None
    frequency: Frequency
    anchor: date
    anchor_day: int
    in_advance: bool
    reason: ChargeReason = ChargeReason.SCHEDULE

    def grid(self) -> Grid:
        return grid(self.anchor, frequency=self.frequency, anchor_day=self.anchor_day)


def charges_due(schedule: Schedule, bill_date: date) -> tuple[Charge, ...]:
    """The charges that fall due on this date, in the order of the phases' prices; often none."""
    found: list[Charge] = []
    for series in _all_series(schedule, bill_date):
        charge = _charge_due(series, bill_date)
        if charge is not None:
            found.append(charge)
    return tuple(found)


def next_bill_date(schedule: Schedule, after: date | None) -> date | None:
    """The first date after this one on which something falls due; after None, the very first. None: nothing is left."""
    dates = (_next_due(series, after) for series in _all_series(schedule, None))
    return min((due for due in dates if due is not None), default=None)


def anchored(schedule: Schedule) -> Iterator[tuple[int, Phase, date, int]]:
    """The phases with their numbers and where their periods are anchored: with the schedule, or with the last RESET."""
    anchor, anchor_day = schedule.start, schedule.anchor_day
    for index, phase in enumerate(running(schedule.phases)):
        if phase.recurrence is RecurrencePreference.RESET:
            anchor, anchor_day = phase.start, phase.start.day
        yield index, phase, anchor, anchor_day


def _all_series(schedule: Schedule, bill_date: date | None) -> Iterator[_Series]:
    """The series of all phases, or of those that can owe something on the date."""
    for index, phase, anchor, anchor_day in anchored(schedule):
        if bill_date is not None and (bill_date < phase.start or (phase.end is not None and bill_date > phase.end)):
            continue
        for price in phase.prices:
            if price.billing_frequency is _ONE_TIME:
                if _is_first(schedule, price, before=index):
                    yield _once(price, phase, index=index, anchor=anchor, anchor_day=anchor_day)
                continue
            in_advance = price.billing_type is _IN_ADVANCE
            frequency = price.billing_frequency
            own = _Series(price, index, phase.start, phase.end, frequency, anchor, anchor_day, in_advance)
            yield own
            if isinstance(price.structure, SeatBased):
                yield from _overages(own, price.structure)
        for terms in phase.grants:
            if terms.cost:
                price = _cost(terms, schedule.currency)
                once = _once(price, phase, index=index, anchor=anchor, anchor_day=anchor_day)
                yield _issues(once, terms, phase)


def _is_first(schedule: Schedule, price: Price, *, before: int) -> bool:
    """Whether no earlier phase has the price: one-time means once in the life of a schedule."""
    return all(price.id != other.id for phase in schedule.phases[:before] for other in phase.prices)


def _once(price: Price, phase: Phase, *, index: int, anchor: date, anchor_day: int) -> _Series:
    """A one-time price: a series of one charge, for the first month of the first phase that has it (spec section 9).

    In arrears it falls due when that month is over; in a phase with a milestone, when the milestone is completed.
    """
    in_advance = price.billing_type is BillingType.IN_ADVANCE
    month = grid(anchor, frequency=Frequency.MONTHLY, anchor_day=anchor_day).around(phase.start)
    end: date | None = month.cut(start=phase.start, end=phase.end).end
    if phase.milestone is not None and not in_advance:
        end = phase.end
    return _Series(price, index, phase.start, end, Frequency.ONE_TIME, anchor, anchor_day, in_advance)


def _issues(once: _Series, terms: GrantTerms, phase: Phase) -> _Series:
    """What a grant costs is due on the days on which rating.credit issues it: the phase's first, and each refresh."""
    if terms.refresh is None:
        return msgspec.structs.replace(once, reason=ChargeReason.CREDIT_GRANT)
    return msgspec.structs.replace(once, end=phase.end, frequency=terms.refresh, reason=ChargeReason.CREDIT_GRANT)


def _cost(terms: GrantTerms, currency: str) -> Price:
    """What a credit grant costs, as a price: due with every issue in full, however short its period is."""
    return Price(
        id=terms.id,
        product_id="",
        name=terms.name,
        currency=currency,
        structure=OneTime(terms.cost),
        billing_frequency=_ONE_TIME,
        billing_type=_IN_ADVANCE,
    )


def _overages(own: _Series, seats: SeatBased) -> Iterator[_Series]:
    """Seats above those billed in advance, or above the minimum, when they have a frequency of their own (case 22)."""
    named = seats.overages()
    if own.in_advance or (named is not None and named is not own.frequency):
        yield msgspec.structs.replace(
            own, frequency=named or own.frequency, in_advance=False, reason=ChargeReason.OVERAGE
        )


def _charge_due(series: _Series, bill_date: date) -> Charge | None:
    day = bill_date if series.in_advance else bill_date - _DAY
    if day < series.start or (series.end is not None and day >= series.end):
        return None
    if series.frequency is _ONE_TIME:
        return _single_charge(series, bill_date)
    full, service = _periods(series.frequency, series.anchor, series.anchor_day, series.start, series.end, day)
    if bill_date != (service.start if series.in_advance else service.end):
        return None
    if series.reason is _OVERAGE:
        frequency = series.price.billing_frequency
        own, base = _periods(frequency, series.anchor, series.anchor_day, series.start, series.end, day)
        return Charge(series.price, service, own, series.reason, series.phase, None, base)
    ladder_start = _ladder_start(series, service)
    return Charge(series.price, service, full, series.reason, series.phase, ladder_start, service)


@lru_cache(maxsize=PERIODS_KEPT)
def _periods(
    frequency: Frequency, anchor: date, anchor_day: int, start: date, end: date | None, day: date
) -> tuple[Period, Period]:
    """The full period around a day, and what the phase leaves of it: the same for many prices and schedules."""
    full = grid(anchor, frequency=frequency, anchor_day=anchor_day).around(day)
    return full, full.cut(start=start, end=end)


def _single_charge(series: _Series, bill_date: date) -> Charge | None:
    if series.in_advance:
        service = Period(series.start, series.end or series.start + _DAY)
        due = series.start
    elif series.end is None:
        return None
    else:
        service = Period(series.start, series.end)
        due = series.end
    return Charge(series.price, service, service, series.reason, series.phase) if bill_date == due else None


def _next_due(series: _Series, after: date | None) -> date | None:
    """The next date of one series, if there is one."""
    if series.in_advance and (after is None or after < series.start):
        return series.start
    day = series.start if after is None else max(after, series.start)
    if series.end is not None and day >= series.end:
        return None
    if series.frequency is Frequency.ONE_TIME:
        return None if series.in_advance else series.end
    service_end = series.grid().around(day).cut(start=series.start, end=series.end).end
    # In advance the next period is due when this one ends, unless the phase ends with it.
    return service_end if not series.in_advance or service_end != series.end else None


def _ladder_start(series: _Series, service: Period) -> date | None:
    """Where the tiers began at zero: with the phase, with the window, or (None) with the service period itself.

    On demand every day continues on the ladder of the phase (spec sections 9 and 16, cases 14 and 34).
    """
    structure = series.price.structure
    on_demand = series.frequency is _ON_DEMAND
    if isinstance(structure, Graduated):
        match structure.usage_calculation_mode:
            case UsageCalculationMode.PERIODIC:
                return _window_start(series, service)
            case UsageCalculationMode.CUMULATIVE:
                return series.start
            case UsageCalculationMode.BILLING_PERIOD:
                return series.start if on_demand else None
    return series.start if on_demand and isinstance(structure, Package | Volume) else None


def _window_start(series: _Series, service: Period) -> date:
    window = series.price.usage_calculation_period
    assert window is not None, "Price checks that a PERIODIC ladder has its window"  # noqa: S101 our own bug
    windows = grid(series.anchor, frequency=window.frequency, anchor_day=series.anchor_day, interval=window.interval)
    return max(windows.around(service.start).start, series.start)


def _check_dates(schedule: Schedule) -> None:
    if not EARLIEST <= schedule.start < LATEST:
        raise InvalidSchedule(f"startDate must lie between {EARLIEST} and {LATEST}", key="startDate")
    if schedule.end is not None and not schedule.start < schedule.end <= LATEST:
        raise InvalidSchedule(f"endDate must not lie before startDate, nor after {LATEST}", key="endDate")
    if not 1 <= schedule.anchor_day <= ANCHOR_DAY_MAX:
        raise InvalidSchedule(f"the billing day must lie between 1 and {ANCHOR_DAY_MAX}", key="recurrenceDayOfMonth")
