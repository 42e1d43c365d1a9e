"""Rating agrees with the oracle, to the minor unit, on every bill of every contract's life.

`make oracle` tries more of them: USANCE_ORACLE_CONTRACTS says how many, from USANCE_ORACLE_FIRST on.
"""

import os
from collections.abc import Iterator, Mapping
from decimal import Decimal
from fractions import Fraction

import msgspec
import pytest

from rating import bill as billing
from rating import schedule as schedules
from rating.bill import BillInput
from rating.credit import Grant
from tests.oracle import bill as oracle
from tests.oracle.contract import Contract, contract
from tests.oracle.due import owed, stretches
from tests.oracle.grant import issued
from tests.oracle.told import Told, of_bill, of_page

CHUNK = 50
CONTRACTS = int(os.environ.get("USANCE_ORACLE_CONTRACTS", "500"))
FIRST = int(os.environ.get("USANCE_ORACLE_FIRST", "0"))


@pytest.mark.slow
@pytest.mark.parametrize("first", range(FIRST, FIRST + CONTRACTS, CHUNK))
def test_every_bill_agrees_with_the_oracle(first: int) -> None:
    for seed in range(first, min(first + CHUNK, FIRST + CONTRACTS)):
        given = contract(seed)

        assert list(by_rating(given)) == list(by_oracle(given)), f"contract {seed}"


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
        yield of_bill(found)
        after = on


def _less(grant: Grant, drawn: Mapping[str, Decimal]) -> Grant:
    return msgspec.structs.replace(grant, balance=grant.balance - drawn.get(grant.id, Decimal(0)))


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
        yield of_page(page, on)
