"""Usage: what happened, event by event, and the seats that were there; the facts of the oracle's contracts."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from fractions import Fraction

from rating import usage as rating_usage
from rating.period import Period
from rating.seat import SeatChange
from rating.usage import Usage, UsageKey


@dataclass(frozen=True)
class Event:
    """Something of a metric: an amount to add up or, in a metric that counts different values, a value."""

    on: date
    customer: str
    group: str
    amount: Decimal


@dataclass(frozen=True)
class Facts:
    """Events by metric in the order of time; `unique` names the metrics that count different values."""

    events: dict[str, list[Event]]
    unique: frozenset[str]
    customers: tuple[str, ...]
    seats: dict[str, tuple[SeatChange, ...]]

    def daily(self, metric: str, first: date, last: date) -> Iterator[tuple[date, Fraction]]:
        """What each day adds to the quantity since `first`: a value that came before adds nothing."""
        seen: set[tuple[str, Decimal]] = set()
        for event in self.events[metric]:
            if not first <= event.on <= last:
                continue
            if metric not in self.unique:
                yield event.on, Fraction(event.amount)
            elif (event.customer, event.amount) not in seen:
                seen.add((event.customer, event.amount))
                yield event.on, Fraction(1)

    def quantity(self, metric: str, first: date, last: date) -> Fraction:
        return sum((added for _, added in self.daily(metric, first, last)), Fraction(0))

    def within(self, metric: str, first: date, last: date) -> list[Event]:
        return [event for event in self.events[metric] if first <= event.on <= last]

    def balance(self, metric: str, day: date) -> int:
        """The seats at the end of a day."""
        return next((change.total for change in reversed(self.seats[metric]) if change.on <= day), 0)

    def answer(self, key: UsageKey, *, roll_up: bool) -> Usage:
        """The question of `needs`, answered as the meter would."""
        events = [event for event in self.events[key.metric_id] if _is_in(event.on, key.service)]
        if not roll_up:
            return self._answer(key.metric_id, events)
        by_customer = {one: [event for event in events if event.customer == one] for one in self.customers}
        return rating_usage.rolled_up({one: self._answer(key.metric_id, found) for one, found in by_customer.items()})

    def _answer(self, metric: str, events: list[Event]) -> Usage:
        if metric in self.unique:
            return Usage(Decimal(len({(one.customer, one.amount) for one in events})), len(events), 1)
        groups: dict[str, Decimal] = {}
        amounts: dict[Decimal, int] = {}
        for event in events:
            groups[event.group] = groups.get(event.group, Decimal(0)) + event.amount
            amounts[event.amount] = amounts.get(event.amount, 0) + 1
        return Usage(sum(groups.values(), Decimal(0)), len(events), 1, groups, amounts)


def _is_in(day: date, period: Period) -> bool:
    return period.start <= day < period.end
