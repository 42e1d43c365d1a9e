"""Money: whole minor units together with their currency. 51.20 USD is Money(5120, "USD").

Amounts become minor units in one place, `round_minor`, half away from zero. A bare integer of minor units is named
`..._minor` and stays beside its currency; where money travels alone it travels as Money.
"""

from collections.abc import Sequence
from decimal import ROUND_HALF_UP, Decimal
from math import floor
from typing import Self

import msgspec

from rating import currency as currencies
from rating.error import AmountTooLarge, MixedCurrencies
from rating.number import fused, multiply, nearest

# What a signed 64-bit column holds.
MINOR_MAX = 2**63 - 1

_HALF, _MINUS_HALF = Decimal("0.5"), Decimal("-0.5")
_MINOR_UNIT = {currency: Decimal(10) ** -digits for currency, digits in currencies.MINOR_DIGITS.items()}
_MINOR_PER_UNIT = {currency: Decimal(10**digits) for currency, digits in currencies.MINOR_DIGITS.items()}


class Money(msgspec.Struct, frozen=True):
    """An amount in whole minor units of one currency."""

    amount_minor: int
    currency: str

    def __add__(self, other: Self) -> Self:
        return self._same_currency(self.amount_minor + self._minor_of(other))

    def __sub__(self, other: Self) -> Self:
        return self._same_currency(self.amount_minor - self._minor_of(other))

    def __bool__(self) -> bool:
        # Zero dollars are money too: `if money:` is nearly always a mistake.
        raise TypeError("Money has no truth value; ask is_zero()")

    def is_zero(self) -> bool:
        return self.amount_minor == 0

    def __str__(self) -> str:
        return f"{format_minor(self.amount_minor, self.currency)} {self.currency}"

    def _minor_of(self, other: Self) -> int:
        if other.currency != self.currency:
            raise MixedCurrencies(f"{self.currency} and {other.currency} cannot be added or compared")
        return other.amount_minor

    def _same_currency(self, amount_minor: int) -> Self:
        return type(self)(amount_minor, self.currency)


def round_minor(amount: Decimal, currency: str) -> int:
    """The one rounding: to whole minor units, half away from zero."""
    try:
        scale = _MINOR_PER_UNIT[currency]
    except KeyError:
        raise currencies.unknown(currency) from None
    # Cutting off the decimals of amount + 1/2 (or - 1/2) is the same, in one exact step.
    amount_minor = int(fused(amount, scale, _MINUS_HALF if amount.is_signed() else _HALF))
    if abs(amount_minor) > MINOR_MAX:
        raise AmountTooLarge
    return amount_minor


def round_ratio(numerator: int, denominator: int, currency: str) -> int:
    """The same rounding for an amount that is a ratio of whole numbers."""
    amount_minor = nearest(numerator * 10 ** currencies.digits(currency), denominator)
    if abs(amount_minor) > MINOR_MAX:
        raise AmountTooLarge
    return amount_minor


def whole(amount_minor: Decimal) -> int:
    """The same rounding for an amount that is in minor units already."""
    return int(amount_minor.to_integral_value(ROUND_HALF_UP))


def minor_within(amount: Decimal, currency: str) -> int:
    """The whole minor units that an amount holds: rounded down, so that a balance is never overdrawn."""
    return floor(multiply(amount, _MINOR_PER_UNIT[currency]))


def allocate(total_minor: int, weights: Sequence[int]) -> list[int]:
    """Split an amount in proportion to weights that are not negative, losing no unit: the largest remainders get more.

    Equal remainders are served in order. No share is above its weight when the total is not above their sum.
    """
    sum_of_weights = sum(weights)
    if sum_of_weights == 0:
        return [total_minor, *([0] * (len(weights) - 1))]
    shares: list[int] = []
    remainders: list[int] = []
    for weight in weights:
        weighed = total_minor * weight
        shares.append(weighed // sum_of_weights)
        remainders.append(weighed % sum_of_weights)
    left = total_minor - sum(shares)
    if left:
        # Sorting backwards keeps equals in order.
        for n in sorted(range(len(weights)), key=remainders.__getitem__, reverse=True)[:left]:
            shares[n] += 1
    return shares


def major(amount_minor: int, currency: str) -> Decimal:
    """The amount in the currency's own unit, with its decimals: 5120 minor units of USD are Decimal("51.20")."""
    try:
        return multiply(amount_minor, _MINOR_UNIT[currency])
    except KeyError:
        raise currencies.unknown(currency) from None


def format_minor(amount_minor: int, currency: str) -> str:
    """As on an invoice's JSON, always with the currency's decimals: "51.20" USD, "5120" JPY."""
    return format(major(amount_minor, currency), "f")
