"""Exact decimals: limits, arithmetic that never rounds silently, and plain text.

Quantities are sums of event properties (up to 38 digits, 18 decimals) and prices are as long, so a product may have
76 digits; Python's default of 28 would round it without a word. EXACT has room for 100 digits and raises where even
that is not enough. It is passed explicitly, never installed as the ambient context: what a bill comes to must not
depend on who calls.
"""

from decimal import ROUND_HALF_UP, Context, Decimal, DivisionByZero, Inexact, InvalidOperation, Overflow

import msgspec

from rating.error import InexactNumber, NegativePrice

DECIMALS_MAX = 18
INTEGER_DIGITS_MAX = 20
ZERO = Decimal(0)
ONE = Decimal(1)

EXACT = Context(prec=100, rounding=ROUND_HALF_UP, traps=[InvalidOperation, DivisionByZero, Overflow, Inexact])
_DIVISION = Context(prec=100, rounding=ROUND_HALF_UP, traps=[InvalidOperation, DivisionByZero, Overflow])
# A quotient of an 18-decimal amount by the days of a year (366) is either exactly half a minor unit or at least 1e-21
# away from it, so cutting quotients at 24 decimals can never move an amount over a rounding border.
_QUOTIENT_UNIT = Decimal("1e-24")
_RATE_UNIT = Decimal("1e-18")

add = EXACT.add
subtract = EXACT.subtract
multiply = EXACT.multiply
# fused(a, b, c) is a x b + c.
fused = EXACT.fma


def share(amount: Decimal, *, part: int, whole: int) -> Decimal:
    """`amount` x part / whole, exact when it can be and to 24 decimals when not."""
    if part == whole:
        return amount
    return _DIVISION.divide(multiply(amount, Decimal(part)), Decimal(whole)).quantize(_QUOTIENT_UNIT, context=_DIVISION)


def exact_share(amount: Decimal, *, part: int, whole: int) -> tuple[int, int] | None:
    """The same as a ratio of whole numbers, where `share` may have cut it off."""
    if part == whole:
        return None
    numerator, denominator = amount.as_integer_ratio()
    return numerator * part, denominator * whole


def ratio(amount: Decimal, *, part: Decimal, whole: Decimal) -> Decimal:
    """`amount` x part / whole for parts that are not days, to 24 decimals."""
    if part == whole:
        return amount
    return _DIVISION.divide(multiply(amount, part), whole).quantize(_QUOTIENT_UNIT, context=_DIVISION)


def quotient(numerator: int, denominator: int) -> Decimal:
    """A ratio of whole numbers as it is told: exact when it can be and to 24 decimals when not."""
    return _DIVISION.divide(Decimal(numerator), Decimal(denominator)).quantize(_QUOTIENT_UNIT, context=_DIVISION)


def nearest(numerator: int, denominator: int) -> int:
    """A ratio of whole numbers to the nearest one, half away from zero."""
    if numerator >= 0:
        return (2 * numerator + denominator) // (2 * denominator)
    return -nearest(-numerator, denominator)


def rate(value: Decimal) -> Decimal:
    """A rate as it is shown and kept: no more decimals than a price may have."""
    return value if _decimals(value) <= DECIMALS_MAX else value.quantize(_RATE_UNIT, context=_DIVISION)


def ceiling(quantity: Decimal, *, size: Decimal) -> Decimal:
    """How many packages of this size hold the quantity, exactly; none for nothing."""
    full, rest = _DIVISION.divmod(quantity, size)
    return add(full, ONE) if rest else full


def check(value: Decimal, *, key: str) -> None:
    """Refuse what cannot be kept exactly: not finite, 1e20 and more, more than 18 decimals."""
    if not value.is_finite() or value.adjusted() >= INTEGER_DIGITS_MAX or _decimals(value) > DECIMALS_MAX:
        raise InexactNumber(key=key)


def check_price(value: Decimal, *, key: str) -> None:
    """Refuse what `check` refuses, and anything below zero."""
    check(value, key=key)
    if value < 0:
        raise NegativePrice(key=key)


def plain(value: Decimal) -> str:
    """The number as people write it: no exponent, no trailing zeros, no minus before zero."""
    text = str(value)
    # Twice as fast as asking for "f" each time, and explanations are full of numbers.
    if "E" in text:
        text = format(value, "f")
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    return "0" if text == "-0" else text


def to_json(value: object) -> bytes:
    """JSON of frozen structs in which every Decimal is a plain string; msgspec alone would write 1E-7."""
    return msgspec.json.encode(_plain_tree(msgspec.to_builtins(value, builtin_types=(Decimal,))))


def _plain_tree(value: object) -> object:
    if isinstance(value, Decimal):
        return plain(value)
    if isinstance(value, dict):
        return {key: _plain_tree(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain_tree(item) for item in value]
    return value


def _decimals(value: Decimal) -> int:
    exponent = value.as_tuple().exponent
    return -exponent if isinstance(exponent, int) else 0
