"""Tax: cases 43 and 45, several rates on one bill, statuses, and sums that agree to the last cent."""

from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rating.error import InvalidTax
from rating.invoice import LineKind
from rating.tax import Tax, TaxStatus
from tests.build import billed, cash, discount, fixed, linear, minimum, price, schedule, units, usd

FEBRUARY = "2025-02-01"


def taxed(**rates):
    return Tax(TaxStatus.TAXED, {price_id: Decimal(rate) for price_id, rate in rates.items()})


def fee(amount, name="a", **changes):
    return price(fixed(amount), id=name, product_id=name, **changes)


def lines(bill):
    return [(line.kind.value, line.net_minor, line.tax_minor) for line in bill.lines()]


@pytest.mark.parametrize(
    ("amount", "rate", "tax"),
    [
        pytest.param("41.67", "0.2", "8.33", id="case 45"),
        pytest.param("0.02", "0.2", "0.00", id="below half a cent"),
        pytest.param("0.025", "0.2", "0.01", id="half a cent"),
        pytest.param("100", "0", "0.00", id="an explicit rate of zero"),
        pytest.param("100", "1", "100.00", id="everything"),
        pytest.param("99.99", "0.0825", "8.25", id="a rate with four decimals"),
    ],
)
def test_tax_is_the_rate_of_the_net_amount_rounded_once(amount, rate, tax):
    bill = billed(schedule(fee(amount)), FEBRUARY, tax=taxed(a=rate))

    assert bill.tax() == usd(tax)
    assert bill.gross() == bill.total() + usd(tax)


def test_case_45_net_tax_and_gross():
    bill = billed(schedule(fee("41.67")), FEBRUARY, tax=taxed(a="0.2"))

    assert (bill.total(), bill.tax(), bill.gross()) == (usd("41.67"), usd("8.33"), usd("50.00"))


def test_case_59_a_discount_of_all_lines_is_shared_by_what_they_cost():
    contract = schedule(fee("800"), fee("200", "b"), discounts=(discount("100"),))
    bill = billed(contract, FEBRUARY, tax=taxed(a="0.2", b="0.05"))

    # With one rate of tax the shares are one line.
    assert lines(bill)[2:] == [("DISCOUNT", -8000, -1600), ("DISCOUNT", -2000, -100)]
    assert bill.tax() == usd("153")


def test_case_43_a_credit_takes_its_tax_with_it():
    bill = billed(schedule(fee("1000")), FEBRUARY, tax=taxed(a="0.2"), grants=(cash("820"),))
    (draw,) = bill.draws

    assert (draw.net_minor, draw.tax_minor) == (82000, 16400)
    assert lines(bill) == [("CHARGE", 100000, 20000), ("CREDIT", -82000, -16400)]


def test_several_rates_stand_on_one_bill():
    contract = schedule(fee("100"), fee("200", "b"), fee("300", "c"))
    bill = billed(contract, FEBRUARY, tax=taxed(a="0.2", b="0.05", c="0"))

    assert [(line.tax_rate, line.tax_minor) for line in bill.lines()] == [
        (Decimal("0.2"), 2000),
        (Decimal("0.05"), 1000),
        (Decimal(0), 0),
    ]


@pytest.mark.parametrize(
    ("terms", "kind"),
    [({"discounts": (discount("60"),)}, "DISCOUNT"), ({}, "CREDIT")],
    ids=["a discount", "a credit"],
)
def test_what_is_taken_off_several_rates_has_a_line_for_each(terms, kind):
    contract = schedule(fee("100"), fee("200", "b"), **terms)
    grants = () if terms else (cash("60"),)
    bill = billed(contract, FEBRUARY, tax=taxed(a="0.2", b="0.05"), grants=grants)

    assert lines(bill)[2:] == [(kind, -2000, -400), (kind, -4000, -200)]


def test_a_true_up_over_several_rates_is_split_like_what_is_paid():
    prices = [price(linear("1", metric=name), id=name, product_id=name) for name in "ab"]
    contract = schedule(*prices, minimums=(minimum("600"),))
    bill = billed(contract, FEBRUARY, a="100", b="200", tax=taxed(a="0.2", b="0.05"))

    assert lines(bill)[2:] == [("TRUE_UP", 10000, 2000), ("TRUE_UP", 20000, 1000)]


@pytest.mark.parametrize("status", [TaxStatus.TAX_EXEMPT, TaxStatus.REVERSE_CHARGED])
def test_exempt_and_reverse_charged_customers_pay_none(status):
    bill = billed(schedule(fee("100")), FEBRUARY, tax=Tax(status, {"a": Decimal("0.2")}))
    (line,) = bill.lines()

    assert (line.tax_rate, line.tax_minor, bill.warnings) == (0, 0, ())


def test_a_missing_rate_is_a_warning_that_names_the_price():
    bill = billed(schedule(fee("100"), fee("1", "b")), FEBRUARY, tax=taxed(a="0.2"))

    assert [(warning.code, warning.price_id) for warning in bill.warnings] == [("TAX_RATE_MISSING", "b")]
    assert [line.tax_rate for line in bill.lines()] == [Decimal("0.2"), None]


def test_without_tax_terms_nothing_is_taxed_and_nobody_is_warned():
    bill = billed(schedule(fee("100")), FEBRUARY)

    assert (bill.tax(), bill.warnings) == (usd("0"), ())


@pytest.mark.parametrize("rate", ["-0.01", "1.01", "20"])
def test_rates_are_factors(rate):
    with pytest.raises(InvalidTax, match=r"0\.2 means 20 percent") as refused:
        taxed(a=rate)

    assert (refused.value.key, refused.value.price_id) == ("taxRates.a", "a")


amounts = st.decimals(0, 100, places=2)
rates = st.sampled_from(["0", "0.05", "0.0825", "0.19", "0.2"])


@st.composite
def bills(draw):
    """Bills with everything: discounts on own lines, a minimum, credits and several rates."""
    names = "abc"
    prices = [price(linear("0.07"), id=name, product_id=name) for name in names] + [fee(str(draw(amounts)), "d")]
    kinds = st.tuples(st.booleans(), st.booleans(), st.booleans(), amounts)
    offs = tuple(
        discount(f"{amount} %" if percent else str(amount), *(["a", "d"] if some else []), separate=own)
        for percent, some, own, amount in draw(st.lists(kinds, max_size=3, unique_by=lambda one: (one[0], one[3])))
    )
    floors = tuple(
        minimum(str(amount), *some)
        for some, amount in draw(st.lists(st.tuples(st.sampled_from([("a",), ("a", "b"), ()]), amounts), max_size=2))
    )
    grants = tuple(cash(str(amount), id=str(n)) for n, amount in enumerate(draw(st.lists(amounts, max_size=2))))
    grants += tuple(units(str(amount), id=f"u{n}") for n, amount in enumerate(draw(st.lists(amounts, max_size=2))))
    tax = taxed(**{name: draw(rates) for name in (*names, "d")})
    contract = schedule(*prices, discounts=offs, minimums=floors)
    return billed(contract, FEBRUARY, calls=str(draw(amounts)), grants=grants, tax=tax)


@given(bills())
def test_no_bill_with_discounts_minimums_and_credits_is_negative(bill):
    assert bill.total().amount_minor >= 0
    assert bill.tax().amount_minor >= 0


@given(bills())
def test_every_charge_shows_the_tax_of_its_own_net_amount(bill):
    for line in bill.lines():
        if line.kind in {LineKind.CHARGE, LineKind.TRUE_UP}:
            exact = Fraction(line.net_minor) * Fraction(line.tax_rate)
            assert abs(exact - line.tax_minor) <= Fraction(1, 2)
        else:
            assert line.net_minor <= 0
            assert line.tax_minor <= 0


@given(bills())
def test_the_tax_of_a_bill_is_that_of_what_is_left_up_to_half_a_cent_for_each_item(bill):
    left, items = Fraction(0), 0
    for line in bill.lines():
        left += Fraction(line.net_minor) * Fraction(line.tax_rate)
        items += line.kind in {LineKind.CHARGE, LineKind.TRUE_UP}

    assert abs(left - bill.tax().amount_minor) <= Fraction(items, 2)


@given(bills())
def test_draws_and_credit_lines_say_the_same(bill):
    found = [line for line in bill.lines() if line.kind is LineKind.CREDIT]

    assert sum(line.net_minor for line in found) == -sum(draw.net_minor for draw in bill.draws)
    assert sum(line.tax_minor for line in found) == -sum(draw.tax_minor for draw in bill.draws)
