"""Numbers: plain text, limits, and arithmetic that never rounds silently."""

from decimal import Decimal, Inexact, localcontext
from fractions import Fraction

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rating import money, number
from rating.error import InexactNumber, NegativePrice

exact = st.decimals(min_value=-(10**20), max_value=10**20, places=18, allow_nan=False).filter(lambda d: abs(d) < 10**20)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("0", "0"),
        ("-0.000", "0"),
        ("0E+5", "0"),
        ("100", "100"),
        ("1E+3", "1000"),
        ("100.00", "100"),
        ("1.10", "1.1"),
        ("-1.10", "-1.1"),
        ("2.5E-7", "0.00000025"),
        ("1E-18", "0.000000000000000001"),
        ("12345678901234567890.123456789012345678", "12345678901234567890.123456789012345678"),
    ],
)
def test_plain_text_has_no_exponent_and_no_trailing_zeros(value, text):
    assert number.plain(Decimal(value)) == text


@given(st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**40), max_value=10**40))
def test_plain_text_is_the_same_number(value):
    text = number.plain(value)

    assert Decimal(text) == value
    assert "E" not in text


class _Sample(msgspec.Struct):
    value: Decimal
    deep: tuple[dict[str, Decimal], ...]
    rest: tuple[str | int | None, ...]


def test_json_has_plain_decimals_at_any_depth():
    sample = _Sample(Decimal("1E-7"), ({"x": Decimal("1E+2")},), ("1E5", 1, None))

    assert number.to_json(sample) == b'{"value":"0.0000001","deep":[{"x":"100"}],"rest":["1E5",1,null]}'


@pytest.mark.parametrize("value", ["0", "99999999999999999999", "0.000000000000000001", "-1", "1E+19"])
def test_numbers_within_the_limits_pass(value):
    number.check(Decimal(value), key="x")


@pytest.mark.parametrize("value", ["1E+20", "-1E+20", "1E-19", "NaN", "sNaN", "Infinity", "1E+999999", "0E+99"])
def test_numbers_beyond_the_limits_are_refused_by_field(value):
    with pytest.raises(InexactNumber) as refused:
        number.check(Decimal(value), key="structure.price")

    assert refused.value.key == "structure.price"


def test_prices_below_zero_are_refused():
    number.check_price(Decimal("-0"), key="x")
    with pytest.raises(NegativePrice):
        number.check_price(Decimal("-0.01"), key="x")


@given(exact, exact)
def test_products_are_exact_whatever_the_callers_context(left, right):
    with localcontext(prec=3):
        product = number.multiply(left, right)

    assert Fraction(product) == Fraction(left) * Fraction(right)


def test_what_would_be_rounded_raises():
    with pytest.raises(Inexact):
        number.multiply(Decimal("1." + "1" * 60), Decimal("1." + "1" * 60))


@pytest.mark.parametrize("whole", [28, 29, 30, 31, 90, 91, 92, 181, 184, 365, 366])
@given(amount=st.decimals(0, 10**12, places=18), part=st.integers(1, 28))
def test_a_share_rounds_to_the_cent_that_the_exact_fraction_rounds_to(amount, part, whole):
    halves = Fraction(amount) * part / whole * 100 * 2

    assert money.round_minor(number.share(amount, part=part, whole=whole), "USD") == (halves // 1 + 1) // 2


def test_the_whole_share_is_the_amount_itself():
    assert str(number.share(Decimal("10.0"), part=31, whole=31)) == "10.0"
