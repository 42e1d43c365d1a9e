"""Rating agrees with the oracle when usage arrives late: on bills made again, on what is refused since corrections took
it below zero, and on every difference, which adds up however often something arrives.

`make oracle` tries more contracts, like test_bill.py.
"""

from collections.abc import Iterator
from dataclasses import replace
from datetime import date
from decimal import Decimal
from fractions import Fraction
from typing import NamedTuple

import msgspec
import pytest

from rating import bill as billing
from rating.bill import Bill, BillInput
from rating.credit import Grant
from rating.difference import Difference, difference
from rating.error import NegativeUsage
from rating.invoice import Draw, Group, Line
from rating.number import ZERO, add, subtract
from tests.oracle import bill as oracle
from tests.oracle.bill import Page
from tests.oracle.contract import Contract, contract
from tests.oracle.due import Owed, Stretch, owed, stretches
from tests.oracle.grant import issued
from tests.oracle.late import ARRIVALS, Changed, arrivals, changes, redrawn
from tests.oracle.price import BelowZero
from tests.oracle.test_bill import CHUNK, CONTRACTS, FIRST
from tests.oracle.told import of_bill, of_page
from tests.oracle.usage import Facts

# The bills of a contract that are made again: the first, the last and some between.
AGAIN_MAX = 4


@pytest.mark.slow
@pytest.mark.parametrize("first", range(FIRST, FIRST + CONTRACTS, CHUNK))
def test_every_difference_agrees_with_the_oracle(first: int) -> None:
    refused = 0
    for seed in range(first, min(first + CHUNK, FIRST + CONTRACTS)):
        for made in _made_again(contract(seed), seed):
            refused += made.count(None)
            _compare([one for one in made if one is not None], f"contract {seed}")

    # Below zero is where a contract's arrivals lead now and then, or this would prove less than it says.
    assert refused > 0


def _made_again(given: Contract, seed: int) -> Iterator[list[tuple[Bill, Page] | None]]:
    """Each bill of the life as it was made at each arrival: by both, or refused by both.

    What grants have left is what the bills before had drawn when they were made first.
    """
    known = arrivals(given, seed)
    life = _Life(given, stretches(given.schedule), owed(given.schedule, until=given.until))
    drawn: dict[str, Decimal] = {}
    dates = sorted({charge.due for charge in life.charges})
    again = set(dates[:: max(1, len(dates) // AGAIN_MAX)]) | set(dates[-1:])
    for on in dates:
        made = [_both(life, facts, drawn, on) for facts in (known if on in again else known[:1])]
        yield made
        for draw in made[0][0].draws if made[0] is not None else ():
            drawn[draw.grant_id] = add(drawn.get(draw.grant_id, ZERO), draw.amount)


class _Life(NamedTuple):
    """What does not depend on usage, and so is found once for all arrivals."""

    given: Contract
    phases: list[Stretch]
    charges: list[Owed]


def _both(life: _Life, facts: Facts, drawn: dict[str, Decimal], on: date) -> tuple[Bill, Page] | None:
    bill, page = _by_rating(life.given, facts, drawn, on), _by_oracle(life, facts, drawn, on)
    assert (bill is None) is (page is None), f"{on}: refused by one alone"
    if bill is None or page is None:
        return None
    assert of_bill(bill) == of_page(page, on)
    return bill, page


def _by_rating(given: Contract, facts: Facts, drawn: dict[str, Decimal], on: date) -> Bill | None:
    needs = billing.needs(given.schedule, on)
    grants = [msgspec.structs.replace(one, balance=_less(one, drawn)) for one in given.grants]
    usage = {key: facts.answer(key, roll_up=given.rolls_up) for key in needs.usage}
    terms = {"seats": facts.seats, "grants": tuple(grants), "drawn": drawn, "tax": given.tax}
    try:
        return billing.bill(BillInput(given.schedule, on, usage, due=needs.due, **terms))
    except NegativeUsage:
        return None


def _by_oracle(life: _Life, facts: Facts, drawn: dict[str, Decimal], on: date) -> Page | None:
    charges = [charge for charge in life.charges if charge.due == on]
    grants = [*life.given.grants, *issued(life.phases, until=on)]
    left = {grant.id: Fraction(_less(grant, drawn)) for grant in grants}
    try:
        return oracle.page(replace(life.given, facts=facts), life.phases, charges, grants, left)
    except BelowZero:
        return None


def _less(grant: Grant, drawn: dict[str, Decimal]) -> Decimal:
    return subtract(grant.balance, drawn.get(grant.id, ZERO))


def _compare(made: list[tuple[Bill, Page]], name: str) -> None:
    """Each arrival's difference to all that was said before it, earlier differences included."""
    if not made:
        return
    so_far, before = made[0]
    for bill, page in made[1:]:
        found = difference(so_far, bill)

        assert sorted(map(_changed, found.lines), key=repr) == sorted(changes(before, page), key=repr), name
        assert _drawn(found) == redrawn(before, page), name
        so_far, before = _with(so_far, found), page
        assert (so_far.total(), so_far.tax()) == (bill.total(), bill.tax()), name
    assert len(made) <= ARRIVALS


def _changed(line: Line) -> Changed:
    rate = None if line.tax_rate is None else Fraction(line.tax_rate)
    about = (line.price_id or "", line.product_id or "", rate, line.service.start, line.service.end)
    return Changed(*about, line.net_minor, line.tax_minor)


def _drawn(found: Difference) -> dict[str, tuple[Fraction, int, int]]:
    return {one.grant_id: (Fraction(one.amount), one.net_minor, one.tax_minor) for one in found.draws}


def _with(bill: Bill, found: Difference) -> Bill:
    """What was billed, and on a later bill the difference."""
    draws = {draw.grant_id: draw for draw in bill.draws}
    for one in found.draws:
        old = draws.get(one.grant_id, Draw(one.grant_id, one.unit, ZERO, 0, 0))
        net, tax = old.net_minor + one.net_minor, old.tax_minor + one.tax_minor
        draws[one.grant_id] = Draw(one.grant_id, one.unit, add(old.amount, one.amount), net, tax)
    groups = (*bill.groups, Group(None, found.lines, "Late usage"))
    return msgspec.structs.replace(bill, groups=groups, draws=tuple(draws.values()))
