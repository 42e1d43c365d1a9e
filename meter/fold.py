"""Events x metrics -> differences of counters. Pure; the one place where usage is counted.

The aggregator folds what arrived, a correction folds what it takes back with sign -1, a new metric folds its history:
all through `fold`, so that they cannot disagree. Sums are exact: integers stay integers, decimals go through
rating.number.
"""

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any, TypeAlias

import msgspec

from rating import metric, number
from rating.metric import Aggregation, Counted, Metric
from store import counter
from store.bucket import SLOT_MICROSECONDS

# Alias number, event type, microseconds since 1970, canonical JSON.
Occurrence: TypeAlias = tuple[int, str, int, bytes | str]
Rules: TypeAlias = "Mapping[str, tuple[Rule, ...]]"


class Deltas:
    """Differences that wait to be merged: cells and members as store/counter.py describes them."""

    def __init__(self) -> None:
        self.cells: dict[counter.Slot, list[Any]] = {}
        self.members: dict[counter.Member, int] = {}


class Rule(msgspec.Struct, frozen=True):
    """A metric, ready to count: its number, what an event adds, and what becomes of that."""

    number: int
    take: metric.Rule
    reads_properties: bool
    is_sum: bool
    is_unique: bool


def rules(metrics: Iterable[Metric]) -> Rules:
    """Metrics by the type of event that they count."""
    found: dict[str, tuple[Rule, ...]] = {}
    for one in metrics:
        ready = Rule(
            number=one.number,
            take=metric.rule(one),
            reads_properties=one.reads_properties,
            is_sum=one.aggregation is Aggregation.SUM,
            is_unique=one.aggregation is Aggregation.UNIQUE,
        )
        found[one.event_type] = (*found.get(one.event_type, ()), ready)
    return found


def fold(deltas: Deltas, wanted: Rules, *, account: int, events: Iterable[Occurrence], sign: int = 1) -> None:
    """Add one account's events to the differences, or take them back with sign -1."""
    cells = deltas.cells
    for alias, event_type, timestamp, properties in events:
        slot = timestamp // SLOT_MICROSECONDS
        decoded: metric.Properties | None = None
        for rule in wanted.get(event_type, ()):
            if decoded is None and rule.reads_properties:
                decoded = metric.decode_properties(properties)
            found = rule.take(decoded or _NONE)
            if found is None:
                continue
            key = (account, rule.number, alias, slot)
            cell = cells.get(key)
            if cell is None:
                cell = cells[key] = [0, 0 if rule.is_sum else None]
            cell[0] += sign
            if rule.is_sum:
                cell[1] = _plus(cell[1], found, sign)
            elif rule.is_unique:
                member = (*key, counter.member_value(str(found)))
                deltas.members[member] = deltas.members.get(member, 0) + sign


def _plus(total: counter.Sum, found: Counted, sign: int) -> counter.Sum:
    if isinstance(found, int) and isinstance(total, int):
        return total + sign * found
    if isinstance(found, str):
        raise TypeError(found)
    # Never with an operator: that would round to the ambient precision.
    return number.add(total, found) if sign > 0 else number.subtract(total, found)


_NONE: metric.Properties = MappingProxyType({})
