"""Told: a bill in what both sides know of it, so that rating's can be compared with the oracle's."""

from collections.abc import Collection, Sequence
from datetime import date
from fractions import Fraction
from typing import NamedTuple

from rating.bill import Bill
from tests.oracle import bill as oracle
from tests.oracle import day as days
from tests.oracle.due import Owed


class Compared(NamedTuple):
    """A line, in what both sides know of it."""

    kind: str
    product: str
    price: str
    grant: str
    first: date
    end: date
    net: int
    tax: int


class Told(NamedTuple):
    """A bill; draws are (grant, amount, net, tax)."""

    bill_date: date
    period: tuple[date, date]
    lines: list[Compared]
    totals: tuple[int, int]
    draws: list[tuple[str, Fraction, int, int]]


def of_bill(bill: Bill) -> Told:
    """What is compared. Lines that come to nothing are not: whether to say "0 units" is no question of money."""
    lines = [
        Compared(
            kind=line.kind,
            product=line.product_id or "",
            price=line.price_id or "",
            grant=line.grant_id or "",
            first=line.service.start,
            end=line.service.end,
            net=line.net_minor,
            tax=line.tax_minor,
        )
        for line in bill.lines()
        if line.net_minor or line.tax_minor
    ]
    draws = sorted((one.grant_id, Fraction(one.amount), one.net_minor, one.tax_minor) for one in bill.draws)
    totals = (bill.total().amount_minor, bill.tax().amount_minor)
    return Told(bill.bill_date, (bill.period.start, bill.period.end), sorted(lines), totals, draws)


def of_page(page: oracle.Page, on: date) -> Told:
    found = [of_thing(thing) for thing in page.things] + [of_off(off) for off in page.offs]
    lines = sorted(line for line in found if line.net or line.tax)
    ids = sorted({off.grant for off in page.offs if off.grant is not None})
    totals = (sum(line.net for line in lines), sum(line.tax for line in lines))
    return Told(on, _period(page.charges), lines, totals, [_drawn(page, grant) for grant in ids])


def of_thing(thing: oracle.Thing) -> Compared:
    price = _only(thing.prices) if thing.product else ""
    end = thing.charge.last + days.ONE
    grant = f"{thing.charge.price.id}@{thing.charge.first}" if thing.charge.is_credit else ""
    return Compared(thing.kind, thing.product or "", price, grant, thing.charge.first, end, thing.net, thing.tax)


def of_off(off: oracle.Off) -> Compared:
    price = _only({one for thing, _ in off.shares for one in thing.prices}) if off.product else ""
    first = min(thing.charge.first for thing, _ in off.shares)
    end = max(thing.charge.last for thing, _ in off.shares) + days.ONE
    return Compared(off.kind, off.product or "", price, off.grant or "", first, end, off.net, off.tax)


def _only(ids: Collection[str]) -> str:
    return next(iter(ids)) if len(ids) == 1 else ""


def _drawn(page: oracle.Page, grant: str) -> tuple[str, Fraction, int, int]:
    offs = [off for off in page.offs if off.grant == grant]
    return (
        grant,
        sum((off.used for off in offs), Fraction(0)),
        -sum(off.net for off in offs),
        -sum(off.tax for off in offs),
    )


def _period(charges: Sequence[Owed]) -> tuple[date, date]:
    """The shortest that has just ended; when nothing is in arrears the shortest that begins."""
    ended = [charge for charge in charges if charge.due == charge.last + days.ONE]
    shortest = min(ended or charges, key=lambda charge: charge.days)
    return shortest.first, shortest.last + days.ONE
