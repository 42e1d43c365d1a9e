"""Money: the one rounding, the text on invoices, and no mixing of currencies."""

from decimal import Decimal, localcontext

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rating import money
from rating.error import AmountTooLarge, MixedCurrencies, UnknownCurrency
from rating.money import Money
from tests.build import usd


@pytest.mark.parametrize(
    ("amount", "currency", "minor"),
    [
        ("0", "USD", 0),
        ("0.004999999999999999999999", "USD", 0),
        ("0.005", "USD", 1),
        ("-0.004999999999999999999999", "USD", 0),
        ("-0.005", "USD", -1),
        ("1.015", "USD", 102),
        ("1.025", "USD", 103),
        ("290.322580645161290322580645", "GBP", 29032),
        ("0.5", "JPY", 1),
        ("0.49", "JPY", 0),
        ("1.2345", "KWD", 1235),
        ("1.23445", "CLF", 12345),
        ("1E+3", "USD", 100000),
        ("92233720368547758.07", "USD", 2**63 - 1),
    ],
)
def test_amounts_round_half_away_from_zero(amount, currency, minor):
    assert money.round_minor(Decimal(amount), currency) == minor


def test_rounding_does_not_depend_on_the_callers_context():
    with localcontext(prec=2):
        assert money.round_minor(Decimal("1234567.895"), "USD") == 123456790


@pytest.mark.parametrize("amount", ["92233720368547758.075", "-92233720368547758.08", "1e60"])
def test_what_does_not_fit_is_refused(amount):
    with pytest.raises(AmountTooLarge):
        money.round_minor(Decimal(amount), "USD")


@pytest.mark.parametrize(
    ("minor", "currency", "text"),
    [
        (5120, "USD", "51.20"),
        (0, "USD", "0.00"),
        (5, "USD", "0.05"),
        (-5, "USD", "-0.05"),
        (5120, "JPY", "5120"),
        (5120, "KWD", "5.120"),
        (2**63 - 1, "USD", "92233720368547758.07"),
    ],
)
def test_text_has_the_currencys_decimals(minor, currency, text):
    assert money.format_minor(minor, currency) == text


@given(st.integers(-money.MINOR_MAX, money.MINOR_MAX), st.sampled_from(["JPY", "USD", "KWD", "CLF"]))
def test_whole_minor_units_survive_the_way_there_and_back(minor, currency):
    assert money.round_minor(money.major(minor, currency), currency) == minor


def test_money_of_one_currency_adds_up():
    assert usd("12.34") + usd("0.66") == usd("13.00")
    assert usd("12.34") - usd("20.00") == usd("-7.66")
    assert str(usd("12.34")) == "12.34 USD"


@pytest.mark.parametrize("verb", [Money.__add__, Money.__sub__])
def test_money_of_two_currencies_does_not(verb):
    with pytest.raises(MixedCurrencies, match="USD and EUR"):
        verb(usd("1.00"), Money(100, "EUR"))


def test_money_has_no_truth_value():
    with pytest.raises(TypeError, match="is_zero"):
        bool(usd("0.00"))

    assert usd("0.00").is_zero()
    assert not usd("0.01").is_zero()


def test_unknown_currencies_have_no_text():
    with pytest.raises(UnknownCurrency):
        money.format_minor(1, "XXX")


@pytest.mark.parametrize(
    ("total", "weights", "expected"),
    [
        pytest.param(100, [800, 200], [80, 20], id="case 59"),
        pytest.param(100, [1, 1, 1], [34, 33, 33], id="equal remainders are served in order"),
        pytest.param(1, [1, 2, 1], [0, 1, 0], id="the largest remainder first"),
        pytest.param(5, [0, 0], [5, 0], id="nothing to go by"),
        pytest.param(0, [3, 4], [0, 0], id="nothing to split"),
        pytest.param(7, [7], [7], id="one share"),
    ],
)
def test_allocate(total, weights, expected):
    assert money.allocate(total, weights) == expected


@given(st.lists(st.integers(0, 10**12), min_size=1, max_size=20), st.integers(0, 10**12))
def test_allocation_loses_no_unit_and_gives_nobody_a_unit_more_than_fair(weights, total):
    shares = money.allocate(total, weights)

    assert sum(shares) == total
    if sum(weights):
        assert all(
            abs(share * sum(weights) - total * weight) < sum(weights)
            for share, weight in zip(shares, weights, strict=True)
        )


@given(st.lists(st.integers(0, 10**6), min_size=1, max_size=20), st.integers(0, 1000))
def test_a_part_of_the_whole_takes_no_more_than_there_is_of_anything(weights, permille):
    total = sum(weights) * permille // 1000

    assert all(
        share <= weight for share, weight in zip(money.allocate(total, weights), weights, strict=True) if sum(weights)
    )


@pytest.mark.parametrize(("amount", "expected"), [("12.349", 1234), ("0.009", 0), ("-0.001", -1)])
def test_a_balance_is_never_rounded_up(amount, expected):
    assert money.minor_within(Decimal(amount), "USD") == expected
