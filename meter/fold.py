"""Events x metrics -> differences of counters. Pure; the one place where usage is counted.

The aggregator folds what arrived, a correction folds what it takes back with sign -1, a new metric folds its history:
all through `fold`, so that they cannot disagree. Sums are exact: integers stay integers, decimals go through
rating.number.
"""

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, TypeAlias

import msgspec

from rating import metric, number
from rating.metric import Aggregation, Counted, Metric
from store import counter
from store.bucket import SLOT_MICROSECONDS
from store.counter import Deltas

# Event number, alias number, event type, microseconds since 1970, canonical JSON.
Occurrence: TypeAlias = tuple[int, int, str, int, bytes | str]
Rules: TypeAlias = "Mapping[str, tuple[Rule, ...]]"


class Rule(msgspec.Struct, frozen=True):
    """A metric, ready to count: its number, what an event adds, and what becomes of that."""

    number: int
    take: metric.Rule
    reads_properties: bool
    is_sum: bool
    is_unique: bool
    # Whether any of the following matters: one look for each event instead of three.
    is_rare: bool
    is_span: bool
    # Events of these numbers wait for the loop that folds history.
    folded_to: int
    born_no: int
    group_by: tuple[str, ...]


def rules(metrics: Iterable[Metric]) -> Rules:
    """Metrics by the type of event that they count."""
    found: dict[str, tuple[Rule, ...]] = {}
    for one in metrics:
        ready = Rule(
            number=one.number,
            take=metric.rule(one),
            reads_properties=one.reads_properties,
            is_sum=one.aggregation in {Aggregation.SUM, Aggregation.AVERAGE},
            is_unique=one.aggregation is Aggregation.UNIQUE,
            is_span=not one.is_additive,
            is_rare=bool(one.group_by) or not one.is_complete or not one.is_additive,
            folded_to=one.folded_to,
            born_no=one.born_no,
            group_by=one.group_by,
        )
        found[one.event_type] = (*found.get(one.event_type, ()), ready)
    return found


def fold(deltas: Deltas, wanted: Rules, *, account: int, events: Iterable[Occurrence], sign: int = 1) -> None:
    """Add one account's events to the differences, or take them back with sign -1."""
    cells = deltas.cells
    for event_no, alias, event_type, timestamp, properties in events:
        slot = timestamp // SLOT_MICROSECONDS
        decoded: metric.Properties | None = None
        for rule in wanted.get(event_type, ()):
            if decoded is None and rule.reads_properties:
                decoded = metric.decode_properties(properties)
            found = rule.take(decoded or _NONE)
            if found is None:
                continue
            if rule.is_rare:
                _fold_rare(deltas, rule, found, (event_no, account, alias, slot, timestamp), decoded, sign=sign)
                continue
            key = (account, rule.number, alias, slot, 0)
            cell = cells.get(key)
            if cell is None:
                cell = cells[key] = [0, 0 if rule.is_sum else None]
            cell[0] += sign
            if rule.is_sum:
                cell[1] = _plus(cell[1], found, sign)
            elif rule.is_unique:
                _add_member(deltas, key, found, sign)


def _fold_rare(
    deltas: Deltas,
    rule: Rule,
    found: Counted,
    place: tuple[int, int, int, int, int],
    properties: metric.Properties | None,
    *,
    sign: int,
) -> None:
    """The same for what is not hot: young metrics, groups, and what does not add up."""
    event_no, account, alias, slot, timestamp = place
    if rule.folded_to <= event_no < rule.born_no:
        return
    group: Any = _group(deltas, account, rule.group_by, properties) if rule.group_by else 0
    key = (account, rule.number, alias, slot, group)
    if rule.is_span and not isinstance(found, str):
        # What came stands first, what went second.
        deltas.points.setdefault(key, ([], []))[sign < 0].append((timestamp, event_no, found))
        return
    cell = deltas.cells.setdefault(key, [0, 0 if rule.is_sum else None])
    cell[0] += sign
    if rule.is_sum:
        cell[1] = _plus(cell[1], found, sign)
    elif rule.is_unique:
        _add_member(deltas, key, found, sign)


def _add_member(deltas: Deltas, key: counter.Slot, found: Counted, sign: int) -> None:
    member = (*key, counter.member_value(str(found)))
    deltas.members[member] = deltas.members.get(member, 0) + sign


def _group(deltas: Deltas, account: int, names: Sequence[str], properties: metric.Properties | None) -> str:
    group = metric.group(names, properties or _NONE)
    deltas.groups.add((account, group))
    return group


def _plus(total: counter.Sum, found: Counted, sign: int) -> counter.Sum:
    if isinstance(found, int) and isinstance(total, int):
        return total + sign * found
    if isinstance(found, str):
        raise TypeError(found)
    # Never with an operator: that would round to the ambient precision.
    return number.add(total, found) if sign > 0 else number.subtract(total, found)


_NONE: metric.Properties = MappingProxyType({})
