"""Differences: what is still owed, or too much, for a bill that was made before everything was known.

Usage that arrives late is rated in its own period, by making the old bill again: old terms, old tiers, the metric
version it was billed with. What it comes to now, less what was billed then (discounts, minimums and credits included),
becomes lines on the next bill with the old service period. Nothing that was billed changes (spec section 23, case 63).

On a ladder over several periods every later bill of the ladder is made again as well, each with its own difference.
"""

from collections.abc import Iterable, Iterator, Sequence
from datetime import timedelta
from decimal import Decimal

import msgspec

from rating import money
from rating.error import MixedCurrencies
from rating.explanation import LateUsage
from rating.invoice import Bill, Draw, Line, LineKind
from rating.number import ONE, ZERO, add, subtract
from rating.part import RateDisplay
from rating.period import Period

_DAY = timedelta(days=1)
_Key = tuple[str | None, str | None, Decimal | None, Period]


class Difference(msgspec.Struct, frozen=True):
    """What to bill now: lines that may be negative, and what they take from grants, or give back to them.

    A total below zero is for a credit note.
    """

    currency: str
    lines: tuple[Line, ...]
    draws: tuple[Draw, ...] = ()

    def total(self) -> money.Money:
        return money.Money(sum(line.net_minor for line in self.lines), self.currency)


def difference(before: Bill, after: Bill) -> Difference:
    """One line for each price and product, tax rate and service period whose amount has changed.

    `before` holds all that was billed for the period so far, earlier differences included; the price and the product of
    a line and its service period say what it belongs to, not its place.
    """
    if before.currency != after.currency:
        raise MixedCurrencies(f"a bill in {before.currency} cannot be compared with one in {after.currency}")
    old, new = _sums(before.lines()), _sums(after.lines())
    titles = {_key(line): line.title for bill in (after, before) for line in bill.lines()}
    lines = (
        _line(key, old=old.get(key, (0, 0)), new=new.get(key, (0, 0)), title=titles[key], currency=after.currency)
        for key in dict.fromkeys([*new, *old])
        if old.get(key, (0, 0)) != new.get(key, (0, 0))
    )
    return Difference(after.currency, tuple(lines), tuple(draws(before.draws, after.draws)))


def draws(before: Sequence[Draw], after: Sequence[Draw]) -> Iterator[Draw]:
    """What was drawn after less what was drawn before, grant by grant; nothing where that is the same."""
    old, new = {one.grant_id: one for one in before}, {one.grant_id: one for one in after}
    for grant_id in dict.fromkeys([*new, *old]):
        one, other = new.get(grant_id), old.get(grant_id)
        known = one or other
        assert known is not None, "the id is from one of them"  # noqa: S101 our own bug
        amount = subtract(one.amount if one else ZERO, other.amount if other else ZERO)
        net_minor = (one.net_minor if one else 0) - (other.net_minor if other else 0)
        tax_minor = (one.tax_minor if one else 0) - (other.tax_minor if other else 0)
        if amount or net_minor or tax_minor:
            yield Draw(grant_id, known.unit, add(amount, ZERO), net_minor, tax_minor)


def _key(line: Line) -> _Key:
    return line.price_id, line.product_id, line.tax_rate, line.service


def _sums(lines: Iterable[Line]) -> dict[_Key, tuple[int, int]]:
    sums: dict[_Key, tuple[int, int]] = {}
    for line in lines:
        net, tax = sums.get(_key(line), (0, 0))
        sums[_key(line)] = net + line.net_minor, tax + line.tax_minor
    return sums


def _line(key: _Key, *, old: tuple[int, int], new: tuple[int, int], title: str, currency: str) -> Line:
    price_id, product_id, tax_rate, service = key
    net_minor, tax_minor = new[0] - old[0], new[1] - old[1]
    return Line(
        price_id=price_id,
        product_id=product_id,
        title=title,
        description=f"late usage, {service.start} to {service.end - _DAY}",
        quantity=ONE,
        rate=money.major(net_minor, currency),
        rate_display=RateDisplay.ABSOLUTE,
        net_minor=net_minor,
        service=service,
        explanation=LateUsage(money.major(old[0], currency), money.major(new[0], currency)),
        kind=LineKind.LATE_USAGE,
        tax_rate=tax_rate,
        tax_minor=tax_minor,
    )
