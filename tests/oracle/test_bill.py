"""Rating agrees with the oracle, to the minor unit, on every bill of every contract's life.

`make oracle` tries more of them: USANCE_ORACLE_CONTRACTS says how many, from USANCE_ORACLE_FIRST on.
"""

import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import date
from decimal import Decimal
from fractions import Fraction
from typing import NamedTuple

import msgspec
import pytest

from rating import bill as billing
from rating import schedule as schedules
from rating.bill import Bill, BillInput
from rating.credit import Grant
from tests.oracle import bill as oracle
from tests.oracle import day as days
from tests.oracle.contract import Contract, contract
from tests.oracle.due import Owed, owed, stretches
from tests.oracle.grant import issued

CHUNK = 50
CONTRACTS = int(os.environ.get("USANCE_ORACLE_CONTRACTS", "500"))
FIRST = int(os.environ.get("USANCE_ORACLE_FIRST", "0"))


@pytest.mark.slow
@pytest.mark.parametrize("first", range(FIRST, FIRST + CONTRACTS, CHUNK))
def test_every_bill_agrees_with_the_oracle(first: int) -> None:
    for seed in range(first, min(first + CHUNK, FIRST + CONTRACTS)):
        given = contract(seed)

        assert list(by_rating(given)) == list(by_oracle(given)), f"contract {seed}"


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


def by_rating(given: Contract) -> Iterator[Told]:
    """The bills of a life, each drawing on what the ones before have left."""
    drawn: dict[str, Decimal] = {}
    after = None
    while (on := schedules.next_bill_date(given.schedule, after)) is not None and on <= given.until:
        needs = billing.needs(given.schedule, on)
        found = billing.bill(
            BillInput(
                schedule=given.schedule,
                bill_date=on,
                usage={key: given.facts.answer(key, roll_up=given.rolls_up) for key in needs.usage},
                seats=given.facts.seats,
                grants=tuple(_less(grant, drawn) for grant in given.grants),
                drawn=drawn,
                tax=given.tax,
            )
        )
        for draw in found.draws:
            drawn[draw.grant_id] = drawn.get(draw.grant_id, Decimal(0)) + draw.amount
        yield told(found)
        after = on


def _less(grant: Grant, drawn: Mapping[str, Decimal]) -> Grant:
    return msgspec.structs.replace(grant, balance=grant.balance - drawn.get(grant.id, Decimal(0)))


def told(bill: Bill) -> Told:
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


def by_oracle(given: Contract) -> Iterator[Told]:
    phases = stretches(given.schedule)
    charges = owed(given.schedule, until=given.until)
    drawn: dict[str, Fraction] = {}
    for on in sorted({charge.due for charge in charges}):
        grants = [*given.grants, *issued(phases, until=on)]
        left = {grant.id: Fraction(grant.balance) - drawn.get(grant.id, 0) for grant in grants}
        page = oracle.page(given, phases, [charge for charge in charges if charge.due == on], grants, left)
        for off in page.offs:
            if off.grant is not None:
                drawn[off.grant] = drawn.get(off.grant, Fraction(0)) + off.used
        yield _told(page, on)


def _told(page: oracle.Page, on: date) -> Told:
    found = [_thing(thing) for thing in page.things] + [_off(off) for off in page.offs]
    lines = sorted(line for line in found if line.net or line.tax)
    ids = sorted({off.grant for off in page.offs if off.grant is not None})
    totals = (sum(line.net for line in lines), sum(line.tax for line in lines))
    return Told(on, _period(page.charges), lines, totals, [_drawn(page, grant) for grant in ids])


def _thing(thing: oracle.Thing) -> Compared:
    price = _only(thing.prices) if thing.product else ""
    end = thing.charge.last + days.ONE
    return Compared(thing.kind, thing.product or "", price, "", thing.charge.first, end, thing.net, thing.tax)


def _off(off: oracle.Off) -> Compared:
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
