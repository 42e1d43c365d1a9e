"""Share: rounding and splitting as the design says it, in fractions and one minor unit at a time."""

from collections.abc import Sequence
from fractions import Fraction
from math import floor

HALF = Fraction(1, 2)


def rounded(amount: Fraction | int) -> int:
    """Half away from zero."""
    return floor(amount + HALF) if amount >= 0 else -floor(HALF - amount)


def split(total: int, weights: Sequence[int]) -> list[int]:
    """In proportion to the weights; what is left goes unit by unit to the largest remainder, the first of equals."""
    if not sum(weights):
        return [total if index == 0 else 0 for index in range(len(weights))]
    exact = [Fraction(total) * weight / sum(weights) for weight in weights]
    shares = [floor(amount) for amount in exact]
    while sum(shares) < total:
        owing = [amount - share for amount, share in zip(exact, shares, strict=True)]
        shares[owing.index(max(owing))] += 1
    return shares
