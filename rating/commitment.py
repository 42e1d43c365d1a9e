"""Commitments: at least so much is paid for a price each period, and usage worth more costs the overage rate.

An extension. With 0.10 per unit, a commitment of 500 and an overage rate of 0.08: 3,000 units are worth 300 and 200 are
missing, so 500 is paid; 8,000 units are worth 800, of which 500 are committed and the other 3,000 units cost 0.08 each.
In a partial period the committed amount follows the days like a fixed fee (rating decisions: minimums).
"""

from collections.abc import Iterator
from decimal import Decimal

from rating.explanation import CommitmentOverage, CommitmentShortfall, CommittedUsage
from rating.number import ONE, multiply, rate, ratio, share, subtract
from rating.part import Part, display
from rating.price import Commitment, Linear
from rating.reading import Reading
from rating.schedule import Charge


def committed(price: Linear, terms: Commitment, charge: Charge, reading: Reading) -> Iterator[Part]:
    """The usage up to the commitment, then what is missing to it or what goes beyond it."""
    commitment = share(terms.amount, part=charge.service.days, whole=charge.full.days)
    worth = multiply(reading.quantity, price.price_per_unit)
    if worth <= commitment:
        yield _within(price, reading, commitment=commitment, units=reading.quantity, amount=worth)
        missing = subtract(commitment, worth)
        if missing:
            why = CommitmentShortfall(reading, commitment, worth, missing)
            yield Part(ONE, None, missing, why, "missing to the committed amount")
        return
    inside = ratio(commitment, part=ONE, whole=price.price_per_unit)
    beyond = subtract(reading.quantity, inside)
    yield _within(price, reading, commitment=commitment, units=inside, amount=commitment)
    amount = ratio(subtract(worth, commitment), part=terms.overage_rate, whole=price.price_per_unit)
    why_beyond = CommitmentOverage(reading, commitment, price.price_per_unit, terms.overage_rate, amount)
    shown = display(is_percentage=price.is_price_percentage)
    quantity = rate(beyond)
    description = "beyond the committed amount"
    yield Part(quantity, terms.overage_rate, amount, why_beyond, description, shown, units=quantity)


def _within(price: Linear, reading: Reading, *, commitment: Decimal, units: Decimal, amount: Decimal) -> Part:
    why = CommittedUsage(reading, commitment, price.price_per_unit, amount)
    shown = display(is_percentage=price.is_price_percentage)
    quantity = rate(units)
    return Part(quantity, price.price_per_unit, amount, why, "of the committed amount", shown, units=quantity)
