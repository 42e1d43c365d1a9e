"""Seats: from balances to what they cost (spec section 7, cases 18 to 23).

A balance is the total from a day on; the day of the change counts. Over a period balances become levels, each with its
days, and levels become slices: the seats between two levels and the days on which they were there. With 100 seats, 27
more from 18 April and a price of 15 for a month:

    level 100 for 17 days, 127 for 13 days   ->   seats 1-100 for 30 days, seats 101-127 for 13 of 30 days

Each slice is walked over the tiers, so graduated seats are charged as if every day were priced alone.

    USE_MAXIMUM           one level, the highest balance, for all days
    PRORATE_INCREMENTS    the highest balance so far: added seats from their day on, removed seats stay
    PRORATE_ALL_CHANGES   the balance of each day

In advance the balance of the first day is charged, at least the contracted minimum. Seats above it are overages: the
same slices, above what was billed in advance, cut by the frequency of overages.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import date, datetime, timedelta
from decimal import Decimal
from itertools import accumulate, pairwise
from zoneinfo import ZoneInfo

import msgspec

from rating.error import MissingSeats
from rating.explanation import SeatFee, Seats
from rating.number import ONE, ZERO, exact_share, multiply, rate, share
from rating.part import Part, SeatScope
from rating.period import Period, day_start
from rating.price import BillingType, SeatBased, SeatProrationStrategy
from rating.schedule import Charge, ChargeReason
from rating.tier import Step, climb, walk

_DAY = timedelta(days=1)


class SeatChange(msgspec.Struct, frozen=True, order=True):
    """From this day on there are so many seats."""

    on: date
    total: int


class SeatKey(msgspec.Struct, frozen=True):
    """A question about seats: the balance of this metric when the period begins, and all changes before it ends."""

    metric_id: str
    period: Period


class _Level(msgspec.Struct, frozen=True):
    seats: int
    days: int


class _Slice(msgspec.Struct, frozen=True):
    """The seats above `over`, up to `up_to`, and the days on which they were there."""

    over: int
    up_to: int
    days: int
    scope: SeatScope


def changes(events: Sequence[tuple[datetime, int]], zone: ZoneInfo) -> tuple[SeatChange, ...]:
    """Seat events, given as instants with totals in the order of time, as changes on the account's dates.

    A day on which the first change comes after midnight begins with the balance of the day before: for a part of the
    day there were so many, which is what `USE_MAXIMUM` asks for.
    """
    found: list[SeatChange] = []
    for at, total in events:
        day = at.astimezone(zone).date()
        if found and found[-1].on < day and day_start(day, zone) < at:
            found.append(SeatChange(day, found[-1].total))
        found.append(SeatChange(day, total))
    return tuple(found)


def seat_key(price: SeatBased, charge: Charge) -> SeatKey:
    """The days whose balances the charge reads: those since its base began, and of a base alone the first day."""
    start = (charge.base or charge.service).start
    end = start + _DAY if _is_base_alone(price, charge) else charge.service.end
    return SeatKey(price.seat_metric_id, Period(start, end))


def seat_parts(price: SeatBased, charge: Charge, seats: Mapping[str, Sequence[SeatChange]]) -> Iterator[Part]:
    """The slices of the period, tier by tier, then the flat fees of the tiers that were entered."""
    history = seats.get(price.seat_metric_id)
    if history is None:
        raise MissingSeats(f"no balances of seat metric {price.seat_metric_id} were given")
    floor = _floor(price, charge, history)
    levels = [_Level(max(level.seats, floor), level.days) for level in _levels(price, charge, history)]
    bottom = floor if charge.reason is ChargeReason.OVERAGE else 0
    for found in _slices(levels, bottom=bottom, minimum=price.contracted_minimum_seats):
        yield from _slice_parts(price, charge, found)
    if charge.reason is ChargeReason.SCHEDULE and all(level.seats == 0 for level in levels):
        yield from _slice_parts(price, charge, _Slice(0, 0, charge.service.days, SeatScope.INCLUDED))
    yield from _fee_parts(
        price, charge, peak=max(level.seats for level in levels), before=_entered(price, charge, history)
    )


def _levels(price: SeatBased, charge: Charge, history: Sequence[SeatChange]) -> list[_Level]:
    """What is charged on which days, before the contracted minimum."""
    service = charge.service
    if _is_base_alone(price, charge):
        return [_Level(_opening(price, charge, history), service.days)]
    match price.proration_strategy:
        case SeatProrationStrategy.USE_MAXIMUM:
            return [_Level(_highest(history, service), service.days)]
        case SeatProrationStrategy.PRORATE_ALL_CHANGES:
            return _by_day(history, service)
        case SeatProrationStrategy.PRORATE_INCREMENTS:
            found = _by_day(history, service)
            peaks = accumulate((level.seats for level in found), max, initial=_peak_before(charge, history))
            return [_Level(peak, level.days) for peak, level in zip(list(peaks)[1:], found, strict=True)]


def _is_base_alone(price: SeatBased, charge: Charge) -> bool:
    """Whether this charge leaves the seats above its base to charges of their own."""
    if charge.reason is ChargeReason.OVERAGE:
        return False
    named = price.overages()
    is_apart = named is not None and named is not charge.price.billing_frequency
    return charge.price.billing_type is BillingType.IN_ADVANCE or is_apart


def _opening(price: SeatBased, charge: Charge, history: Sequence[SeatChange]) -> int:
    """The seats of the base: in advance those of the first day, in arrears the contracted minimum."""
    if charge.price.billing_type is BillingType.IN_ADVANCE:
        return _balance(history, (charge.base or charge.service).start)
    return price.contracted_minimum_seats


def _floor(price: SeatBased, charge: Charge, history: Sequence[SeatChange]) -> int:
    """The seats that are charged however few there are; for overages those that the base has charged already."""
    minimum = price.contracted_minimum_seats
    return minimum if charge.reason is ChargeReason.SCHEDULE else max(minimum, _opening(price, charge, history))


def _entered(price: SeatBased, charge: Charge, history: Sequence[SeatChange]) -> int | None:
    """For overages the seats whose tiers' flat fees were charged before, by the base or by an earlier overage."""
    if charge.reason is ChargeReason.SCHEDULE:
        return None
    base = charge.base or charge.service
    floor = _floor(price, charge, history)
    if base.start == charge.service.start:
        return floor
    earlier = msgspec.structs.replace(charge, service=Period(base.start, charge.service.start))
    return max(floor, *(level.seats for level in _levels(price, earlier, history)))


def _slices(levels: Sequence[_Level], *, bottom: int, minimum: int) -> Iterator[_Slice]:
    tops = {level.seats for level in levels if level.seats > bottom}
    if tops and bottom < minimum < max(tops):
        tops.add(minimum)
    for over, up_to in pairwise([bottom, *sorted(tops)]):
        days = sum(level.days for level in levels if level.seats >= up_to)
        yield _Slice(over, up_to, days, SeatScope.INCLUDED if up_to <= minimum else SeatScope.OVERAGE)


def _slice_parts(price: SeatBased, charge: Charge, found: _Slice) -> Iterator[Part]:
    """Seats x price x days / full days, in each tier (cases 18 and 19)."""
    full_days = charge.full.days
    before = Decimal(found.over) if found.over else None
    for step in climb(price.ladder(), before=before, now=Decimal(found.up_to)):
        whole = multiply(step.units, step.tier.price)
        amount = share(whole, part=found.days, whole=full_days)
        why = Seats(
            metric_id=price.seat_metric_id,
            over=found.over,
            up_to=found.up_to,
            tier=step.number,
            units=step.units,
            price=step.tier.price,
            days=found.days,
            full_days=full_days,
            amount=amount,
        )
        each = rate(share(step.tier.price, part=found.days, whole=full_days))
        description = _description(charge, found)
        exact = exact_share(whole, part=found.days, whole=full_days)
        yield Part(step.units, each, amount, why, description, seat_scope=found.scope, exact=exact)


def _description(charge: Charge, found: _Slice) -> str | None:
    words = ["additional seats"] if charge.reason is ChargeReason.OVERAGE else []
    if found.days != charge.full.days:
        words.append(f"{found.days} of {charge.full.days} days")
    return ", ".join(words) or None


def _fee_parts(price: SeatBased, charge: Charge, *, peak: int, before: int | None) -> Iterator[Part]:
    """The flat fee of each tier entered, once in a billing period; by days in a partial one if the price says so."""
    base = charge.base or charge.service
    days = base.days if price.prorate_flat_fees else charge.full.days
    already = 0 if before is None else len(list(walk(price.ladder(), Decimal(before))))
    for step in walk(price.ladder(), Decimal(peak)):
        if step.number > already and step.tier.fee:
            yield _fee(price, charge, step, days=days)


def _fee(price: SeatBased, charge: Charge, step: Step, *, days: int) -> Part:
    fee, full_days = step.tier.fee or ZERO, charge.full.days
    amount = share(fee, part=days, whole=full_days)
    why = SeatFee(price.seat_metric_id, step.number, fee, days, full_days, amount)
    bottom = int(step.over) + 1
    scope = SeatScope.INCLUDED if bottom <= price.contracted_minimum_seats else SeatScope.OVERAGE
    rate_shown = fee if days == full_days else None
    exact = exact_share(fee, part=days, whole=full_days)
    return Part(ONE, rate_shown, amount, why, f"flat fee, tier {step.number}", seat_scope=scope, exact=exact)


def _by_day(history: Sequence[SeatChange], period: Period) -> list[_Level]:
    """The balances of the period's days, in order; the last change of a day is that day's balance."""
    borders: dict[date, int] = {period.start: _balance(history, period.start)}
    for change in history:
        if period.start < change.on < period.end:
            borders[change.on] = change.total
    ends = [*list(borders)[1:], period.end]
    return [_Level(seats, (end - start).days) for (start, seats), end in zip(borders.items(), ends, strict=True)]


def _balance(history: Sequence[SeatChange], day: date) -> int:
    """The balance at the end of the day; before the first change there are no seats."""
    return next((change.total for change in reversed(history) if change.on <= day), 0)


def _highest(history: Sequence[SeatChange], period: Period) -> int:
    """The highest total of the period, also when it lasted for a part of a day."""
    totals = [change.total for change in history if period.start <= change.on < period.end]
    return max([*totals, _balance(history, period.start)])


def _peak_before(charge: Charge, history: Sequence[SeatChange]) -> int:
    base = charge.base or charge.service
    if base.start == charge.service.start:
        return 0
    return max(level.seats for level in _by_day(history, Period(base.start, charge.service.start)))
