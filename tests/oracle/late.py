"""Late: the same contract as more and more of its usage and seats arrive, with corrections that may take usage below
zero, and what each arrival changes of a bill: everything that it says now, less everything that it said before.
"""

from collections import Counter
from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal
from fractions import Fraction
from random import Random
from typing import NamedTuple, TypeVar

from rating.seat import SeatChange
from tests.oracle.bill import Page
from tests.oracle.contract import Contract
from tests.oracle.told import of_off, of_thing
from tests.oracle.usage import Event, Facts

ARRIVALS = 3
_T = TypeVar("_T")


class Changed(NamedTuple):
    """What a line of a difference is about, and by how much."""

    price: str
    product: str
    rate: Fraction | None
    first: date
    end: date
    net: int
    tax: int


def arrivals(given: Contract, seed: int) -> list[Facts]:
    """What was known when the bill was made, and after each later arrival."""
    draw = Random(f"late {seed}")  # noqa: S311 - to be repeated, not to be secret
    events = [
        (metric, event, _arrival(draw))
        for metric, found in given.facts.events.items()
        for one in found
        for event in (one, *_corrections(draw, one, is_sum=metric not in given.facts.unique))
    ]
    seats = [(metric, one, _arrival(draw)) for metric, found in given.facts.seats.items() for one in found]
    return [_known(given.facts, events, seats, arrival) for arrival in range(ARRIVALS)]


def _arrival(draw: Random) -> int:
    """Most things are known in time."""
    return draw.choices(range(ARRIVALS), (8, 1, 1))[0]


def _corrections(draw: Random, event: Event, *, is_sum: bool) -> list[Event]:
    """Now and then an event is taken back, on a day of its own, and now and then more than it said."""
    if not is_sum or draw.random() < 0.8:
        return []
    amount = event.amount if draw.random() < 0.7 else event.amount + Decimal(draw.randrange(1, 200))
    return [replace(event, on=event.on + timedelta(days=draw.randrange(-10, 40)), amount=-amount)]


def _known(
    facts: Facts, events: list[tuple[str, Event, int]], seats: list[tuple[str, SeatChange, int]], arrival: int
) -> Facts:
    return replace(
        facts,
        events={metric: sorted(_arrived(events, metric, arrival), key=_day) for metric in facts.events},
        seats={metric: tuple(_arrived(seats, metric, arrival)) for metric in facts.seats},
    )


def _arrived(found: list[tuple[str, _T, int]], metric: str, arrival: int) -> list[_T]:
    return [one for of, one, at in found if of == metric and at <= arrival]


def _day(event: Event) -> date:
    return event.on


def changes(before: Page, after: Page) -> list[Changed]:
    """By price, product, tax rate and days: the sum of both, the old one taken with the other sign."""
    net: Counter[tuple[str, str, Fraction | None, date, date]] = Counter()
    tax: Counter[tuple[str, str, Fraction | None, date, date]] = Counter()
    for page, sign in ((before, -1), (after, 1)):
        entries = [(of_thing(thing), thing.rate) for thing in page.things]
        entries += [(of_off(off), off.shares[0][0].rate) for off in page.offs]
        for line, rate in entries:
            about = (line.price, line.product, rate, line.first, line.end)
            net[about] += sign * line.net
            tax[about] += sign * line.tax
    return [Changed(*about, net[about], tax[about]) for about in net if net[about] or tax[about]]


def redrawn(before: Page, after: Page) -> dict[str, tuple[Fraction, int, int]]:
    """Of each grant what is drawn now that was not before: its own unit, net and tax; below zero it is given back."""
    found: dict[str, tuple[Fraction, int, int]] = {}
    for page, sign in ((before, -1), (after, 1)):
        for off in page.offs:
            if off.grant is not None:
                used, net, tax = found.get(off.grant, (Fraction(0), 0, 0))
                found[off.grant] = used + sign * off.used, net - sign * off.net, tax - sign * off.tax
    return {grant: drawn for grant, drawn in found.items() if any(drawn)}
