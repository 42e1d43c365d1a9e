"""Commitments: at least so much is paid for a price each period, and usage worth more costs the overage rate.

An extension. With 0.10 per unit, a commitment of 500 and an overage rate of 0.08: 3,000 units are worth 300 and 200 are
missing, so 500 is paid; 8,000 units are worth 800, of which 500 are committed and the other 3,000 units cost 0.08 each.
In a partial period the committed amount follows the days like a fixed fee (rating decisions: minimums).
"""

from collections.abc import Iterator
from decimal import Decimal
from fractions import Fraction

from rating import money
from rating.explanation import CommitmentOverage, CommitmentShortfall, CommittedUsage
from rating.number import ONE, quotient, rate, subtract
from rating.part import Part, display
from rating.price import Commitment, Linear
from rating.reading import Reading
from rating.schedule import Charge


def committed(price: Linear, terms: Commitment, charge: Charge, reading: Reading) -> Iterator[Part]:
    """The usage up to the commitment, then what is missing to it or what goes beyond it."""
    committed_amount = Fraction(terms.amount) * charge.service.days / charge.full.days
    price_per_unit = Fraction(price.price_per_unit)
    worth = Fraction(reading.quantity) * price_per_unit
    commitment = quotient(*committed_amount.as_integer_ratio())
    if worth <= committed_amount:
        yield _within(price, reading, commitment=commitment, units=reading.quantity, exact=worth)
        # What is missing to the amount on that line, so that both together come to the commitment, as with a true-up.
        said = _rounded(worth, charge.price.currency)
        if said < committed_amount:
            yield _missing(reading, commitment=commitment, worth=said, exact=committed_amount - said)
        return
    inside = rate(quotient(*(committed_amount / price_per_unit).as_integer_ratio()))
    yield _within(price, reading, commitment=commitment, units=inside, exact=committed_amount)
    # Both lines together have exactly the units of the reading.
    units = subtract(reading.quantity, inside)
    beyond = (worth - committed_amount) * Fraction(terms.overage_rate) / price_per_unit
    yield _beyond(price, terms, reading, commitment=commitment, units=units, exact=beyond)


def _rounded(worth: Fraction, currency: str) -> Fraction:
    return Fraction(money.major(money.round_ratio(*worth.as_integer_ratio(), currency), currency))


def _within(price: Linear, reading: Reading, *, commitment: Decimal, units: Decimal, exact: Fraction) -> Part:
    ratio = exact.as_integer_ratio()
    amount = quotient(*ratio)
    why = CommittedUsage(reading, commitment, price.price_per_unit, amount)
    shown = display(price.is_price_percentage)
    text = "of the committed amount"
    return Part(units, price.price_per_unit, amount, why, text, shown, units=units, exact=ratio)


def _missing(reading: Reading, *, commitment: Decimal, worth: Fraction, exact: Fraction) -> Part:
    ratio = exact.as_integer_ratio()
    amount = quotient(*ratio)
    why = CommitmentShortfall(reading, commitment, quotient(*worth.as_integer_ratio()), amount)
    return Part(ONE, None, amount, why, "missing to the committed amount", exact=ratio)


def _beyond(
    price: Linear, terms: Commitment, reading: Reading, *, commitment: Decimal, units: Decimal, exact: Fraction
) -> Part:
    ratio = exact.as_integer_ratio()
    amount = quotient(*ratio)
    why = CommitmentOverage(reading, commitment, price.price_per_unit, terms.overage_rate, amount)
    shown = display(price.is_price_percentage)
    text = "beyond the committed amount"
    return Part(units, terms.overage_rate, amount, why, text, shown, units=units, exact=ratio)
