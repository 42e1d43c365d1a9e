"""Differences: late usage adds lines to the next bill and changes none."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rating.difference import difference
from rating.error import MixedCurrencies
from rating.explanation import LateUsage
from rating.invoice import Draw, Group, LineKind
from rating.tax import Tax, TaxStatus
from rating.terms import CreditUnit
from tests.build import billed, cash, discount, graduated, linear, minimum, month, price, schedule, units, usd

FEBRUARY, MARCH = "2025-02-01", "2025-03-01"
TAX = Tax(TaxStatus.TAXED, {"price": Decimal("0.2")})


def contract(structure=None, **terms):
    return schedule(price(structure or linear("0.10")), **terms)


def late(of, before, after, on=FEBRUARY, **given):
    return difference(billed(of, on, calls=before, **given), billed(of, on, calls=after, **given))


def test_case_63_late_usage_becomes_a_difference_line_of_its_own_period():
    found = late(contract(), "1000", "1500", tax=TAX)
    (line,) = found.lines

    assert (line.net_minor, line.tax_minor, line.kind) == (5000, 1000, LineKind.LATE_USAGE)
    assert (line.price_id, line.service) == ("price", month("2025-01"))
    assert line.explanation == LateUsage(Decimal(100), Decimal(150))
    assert line.description == "late usage, 2025-01-01 to 2025-01-31"


def test_nothing_new_makes_no_line():
    assert late(contract(), "1000", "1000") == difference(*[billed(contract(), FEBRUARY, calls="1000")] * 2)
    assert late(contract(), "1000", "1000").lines == ()


@pytest.mark.parametrize(
    ("terms", "before", "after", "total"),
    [
        pytest.param({"discounts": (discount("50 %"),)}, "1000", "1500", "25", id="discounted"),
        pytest.param({"minimums": (minimum("120"),)}, "1000", "1500", "30", id="above the minimum"),
        pytest.param({"minimums": (minimum("200"),)}, "1000", "1500", "0", id="below the minimum"),
        pytest.param({}, "1500", "1000", "-50", id="less than billed"),
    ],
)
def test_the_difference_is_that_of_the_whole_bill(terms, before, after, total):
    assert late(contract(**terms), before, after).total() == usd(total)


def test_a_later_period_of_the_same_ladder_has_a_difference_of_its_own():
    of = contract(graduated("0-100 @ 1.00 + 20, then 0.75 + 50", mode="CUMULATIVE"))
    before = {"2025-01-10": "90", "2025-02-10": "20"}
    after = before | {"2025-01-11": "20"}

    assert late(of, before, after).total() == usd("67.50")
    assert late(of, before, after, on=MARCH).total() == usd("-52.50")


def test_what_credits_pay_of_it_is_drawn():
    found = late(contract(), "1000", "1500", grants=(units("1200"),), tax=TAX)

    assert found.draws == (Draw("units", CreditUnit.METRIC, Decimal(200), 2000, 400),)
    assert found.total() == usd("30")


def test_what_was_drawn_too_much_is_given_back():
    found = late(contract(), "1000", "500", grants=(cash("80"),))

    assert found.draws == (Draw("cash", CreditUnit.CURRENCY, Decimal(-30), -3000, 0),)


@given(*[st.decimals(0, 10**6, places=3)] * 3)
def test_differences_add_up_however_often_usage_arrives(one, two, three):
    of = contract(graduated("0-100 @ 1.00 + 20, then 0.75"), discounts=(discount("10 %"),), minimums=(minimum("50"),))
    bills = [billed(of, FEBRUARY, calls=str(used), tax=TAX) for used in (one, two, three)]
    first = difference(bills[0], bills[1])
    second = difference(bills[1], bills[2])
    so_far = (*bills[0].groups, Group(None, first.lines, "Late usage"))
    billed_so_far = type(bills[0])("USD", bills[0].bill_date, bills[0].period, so_far, bills[0].charges)

    assert difference(billed_so_far, bills[2]).total() == second.total()
    assert bills[0].total() + first.total() + second.total() == bills[2].total()


def test_bills_of_two_currencies_have_no_difference():
    euros = schedule(price(linear("1"), currency="EUR"))
    with pytest.raises(MixedCurrencies):
        difference(billed(contract(), FEBRUARY, calls="1"), billed(euros, FEBRUARY, calls="1"))
