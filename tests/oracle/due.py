"""Due: which charges a contract makes and when, told day by day (spec sections 12.3, 13, 14 and 16; cases 25 to 34)."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date

from rating.period import Frequency
from rating.phase import Phase, RecurrencePreference
from rating.price import (
    BillingType,
    Graduated,
    OneTime,
    OveragesFrequency,
    Package,
    Price,
    SeatBased,
    UsageCalculationMode,
    Volume,
)
from rating.schedule import Schedule
from rating.terms import GrantTerms
from tests.oracle import day as days


@dataclass(frozen=True)
class Stretch:
    """A phase as it really runs: its days and where its periods are anchored. `last` None: it goes on."""

    number: int
    terms: Phase
    first: date
    last: date | None
    anchor: date
    anchor_day: int

    def full_period(self, day: date, frequency: Frequency, times: int = 1) -> tuple[date, date]:
        return days.full_period(day, frequency, times=times, anchor=self.anchor, anchor_day=self.anchor_day)

    def within(self, first: date, last: date) -> tuple[date, date]:
        return max(first, self.first), last if self.last is None else min(last, self.last)


@dataclass(frozen=True)
class Owed:
    """One price for the days from first to last. `base` are those of the price's own period, for overages of seats."""

    price: Price
    stretch: Stretch
    first: date
    last: date
    full_days: int
    due: date
    ladder: date
    base: tuple[date, date]
    full: tuple[date, date]
    is_overage: bool = False
    is_credit: bool = False

    @property
    def days(self) -> int:
        return days.count(self.first, self.last)

    @property
    def pay_day(self) -> date:
        return self.first if self.due == self.first else self.last


def stretches(schedule: Schedule) -> list[Stretch]:
    """The phases one after the other; a completed milestone moves those behind it, with the lengths they had."""
    found: list[Stretch] = []
    start, anchor, anchor_day = schedule.start, schedule.start, schedule.anchor_day
    for number, phase in enumerate(schedule.phases):
        if phase.recurrence is RecurrencePreference.RESET:
            anchor, anchor_day = start, start.day
        last = _last_day(phase, start)
        found.append(Stretch(number, phase, start, last, anchor, anchor_day))
        if last is None:
            break
        start = last + days.ONE
    return found


def _last_day(phase: Phase, start: date) -> date | None:
    if phase.milestone is not None:
        return phase.milestone.completed_on
    if phase.end is None:
        return None
    months = 0
    while _same_day_later(phase.start, months) < phase.end:
        months += 1
    if _same_day_later(phase.start, months) == phase.end:
        return _same_day_later(start, months) - days.ONE
    return start + (phase.end - phase.start) - days.ONE


def _same_day_later(day: date, months: int) -> date:
    found = day
    for _ in range(months):
        found = found.replace(day=1) + 31 * days.ONE
        while not days.is_billing_day(found, day.day):
            found += days.ONE if found.day < day.day else -days.ONE
    return found


def owed(schedule: Schedule, *, until: date) -> list[Owed]:
    """Every charge that falls due up to a day, in the order of the phases and their prices."""
    found: list[Owed] = []
    once: set[str] = set()
    for stretch in stretches(schedule):
        for price in stretch.terms.prices:
            if price.billing_frequency is not Frequency.ONE_TIME:
                found += _recurring(price, stretch, until=until)
            elif price.id not in once:
                once.add(price.id)
                found += _single(price, stretch)
        for terms in stretch.terms.grants:
            if terms.cost:
                found += _bought(terms, stretch, until=until)
    return [one for one in found if one.due <= until]


def _single(price: Price, stretch: Stretch) -> Iterator[Owed]:
    """Once in the schedule's life: with the phase, or after its first month, or with its milestone (section 9)."""
    first, last = stretch.within(stretch.first, stretch.full_period(stretch.first, Frequency.MONTHLY)[1])
    in_advance = price.billing_type is BillingType.IN_ADVANCE
    if stretch.terms.milestone is not None and not in_advance:
        if stretch.last is None:
            return
        last = stretch.last
    due = first if in_advance else last + days.ONE
    yield Owed(price, stretch, first, last, days.count(first, last), due, first, (first, last), (first, last))


def issue_days(terms: GrantTerms, stretch: Stretch, *, until: date) -> Iterator[date]:
    """A grant is issued on the first day of the phase, and on each first day of a period of the refresh."""
    for day in days.walk(stretch.first, until if stretch.last is None else min(until, stretch.last)):
        is_refreshed = terms.refresh is not None and days.starts_period(
            day, terms.refresh, times=1, anchor=stretch.anchor, anchor_day=stretch.anchor_day
        )
        if day == stretch.first or is_refreshed:
            yield day


def _bought(terms: GrantTerms, stretch: Stretch, *, until: date) -> Iterator[Owed]:
    """What the credit costs with each issue; one that is not issued again is for the first month (section 21)."""
    currency = stretch.terms.prices[0].currency
    price = Price(terms.id, "", terms.name, currency, OneTime(terms.cost), Frequency.ONE_TIME, BillingType.IN_ADVANCE)
    for day in issue_days(terms, stretch, until=until):
        period = stretch.within(*stretch.full_period(day, terms.refresh or Frequency.MONTHLY))
        length = days.count(*period)
        yield Owed(price, stretch, *period, length, day, day, base=period, full=period, is_credit=True)


def _recurring(price: Price, stretch: Stretch, *, until: date) -> Iterator[Owed]:
    in_advance = price.billing_type is BillingType.IN_ADVANCE
    yield from _series(price, stretch, price.billing_frequency, until=until, in_advance=in_advance, is_overage=False)
    if not isinstance(price.structure, SeatBased):
        return
    named = price.structure.overages_billing_frequency
    apart = price.billing_frequency if named in {None, OveragesFrequency.NONE} else Frequency(str(named))
    if in_advance or apart is not price.billing_frequency:
        yield from _series(price, stretch, apart, until=until, in_advance=False, is_overage=True)


def _series(
    price: Price, stretch: Stretch, frequency: Frequency, *, until: date, in_advance: bool, is_overage: bool
) -> Iterator[Owed]:
    """One charge for each period that has a day in the phase; a period that the phase cuts is charged for its days."""
    first = stretch.first
    while first <= until and (stretch.last is None or first <= stretch.last):
        whole = stretch.full_period(first, frequency)
        service = stretch.within(*whole)
        own = stretch.full_period(first, price.billing_frequency)
        yield Owed(
            price=price,
            stretch=stretch,
            first=service[0],
            last=service[1],
            full_days=days.count(*own),
            due=service[0] if in_advance else service[1] + days.ONE,
            ladder=_ladder(price, stretch, service[0]),
            base=stretch.within(*own),
            full=own,
            is_overage=is_overage,
        )
        first = service[1] + days.ONE


def _ladder(price: Price, stretch: Stretch, first: date) -> date:
    """The day on which the tiers of a price began at zero (spec sections 9 and 16)."""
    structure = price.structure
    on_demand = price.billing_frequency is Frequency.ON_DEMAND
    if isinstance(structure, Graduated) and structure.usage_calculation_mode is UsageCalculationMode.PERIODIC:
        window = price.usage_calculation_period
        assert window is not None
        return max(stretch.full_period(first, window.frequency, window.interval)[0], stretch.first)
    if isinstance(structure, Graduated) and structure.usage_calculation_mode is UsageCalculationMode.CUMULATIVE:
        return stretch.first
    return stretch.first if on_demand and isinstance(structure, Graduated | Package | Volume) else first
