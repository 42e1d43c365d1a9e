"""Usage: the measured quantity of one metric in one period, as the meter answered it.

    Usage(quantity=600, event_count=12, metric_version=1)                       what every usage price needs
    Usage(..., groups={"eu": 400, "us": 200})                                   for prices by group
    Usage(..., amounts={25: 1, 100: 1, 750: 1})                                 for prices with bounds per event
    rolled_up({"child-1": Usage(...), "child-2": Usage(...)})                   for schedules that roll up

`groups` and `amounts` must add up to the quantity; what does not is refused, because then an event would be charged
twice or never.
"""

from collections.abc import Mapping
from decimal import Decimal
from typing import TypeVar

import msgspec

from rating.error import InconsistentUsage, MissingUsage
from rating.number import EXACT, ZERO, add
from rating.period import Period
from rating.reading import CustomerShare, Reading

T = TypeVar("T")


class UsageKey(msgspec.Struct, frozen=True, gc=False):
    """A question to the meter: this metric, over these days of the account's time zone."""

    metric_id: str
    service: Period


class Usage(msgspec.Struct, frozen=True, gc=False):
    """The answer, with the version of the metric that counted it.

    `groups`: the quantity of each value of the metric's grouping property; events without one are under "". Several
    properties are one name (metric.group_name). `group_events`: how many events each group has, for explanations.
    `amounts`: how many events had each amount. `customers`: the quantity of each child of a roll-up.
    """

    quantity: Decimal
    event_count: int
    metric_version: int
    groups: Mapping[str, Decimal] | None = None
    amounts: Mapping[Decimal, int] | None = None
    customers: Mapping[str, Decimal] | None = None
    group_events: Mapping[str, int] | None = None


def read(usage: Mapping[UsageKey, Usage], key: UsageKey) -> Reading:
    """What was measured, in the form that explanations keep."""
    found = find(usage, key)
    reading = Reading(key.metric_id, found.metric_version, key.service, found.event_count, found.quantity)
    if not found.customers:
        return reading
    shares = tuple(CustomerShare(customer, quantity) for customer, quantity in sorted(found.customers.items()))
    return msgspec.structs.replace(reading, customers=shares)


def find(usage: Mapping[UsageKey, Usage], key: UsageKey) -> Usage:
    """The answer to a question, which must have been given."""
    found = usage.get(key)
    if found is None:
        raise MissingUsage(f"no usage of metric {key.metric_id} was given for {key.service.start} to {key.service.end}")
    return found


def by_group(usage: Mapping[UsageKey, Usage], key: UsageKey) -> Mapping[str, Decimal]:
    """The quantity of each group; every event is in exactly one."""
    found = find(usage, key)
    if found.groups is None:
        raise MissingUsage(f"the usage of metric {key.metric_id} was not given by group")
    total = ZERO
    for quantity in found.groups.values():
        total = add(total, quantity)
    _agree(key, what="groups", total=total, quantity=found.quantity)
    return found.groups


def by_amount(usage: Mapping[UsageKey, Usage], key: UsageKey) -> Mapping[Decimal, int]:
    """How many events had each amount."""
    found = find(usage, key)
    if found.amounts is None:
        raise MissingUsage(f"the usage of metric {key.metric_id} was not given by event")
    total = ZERO
    for amount, count in found.amounts.items():
        total = EXACT.fma(amount, Decimal(count), total)
    _agree(key, what="events", total=total, quantity=found.quantity)
    return found.amounts


def rolled_up(by_customer: Mapping[str, Usage], *, as_one: Usage | None = None) -> Usage:
    """The usage of several customers as one, with what each of them used (spec section 16).

    `as_one` is what the metric counted over all of them together, where that is not the sum of what it counted for
    each: a value that two of them used is one value. Levels, averages and peaks of customers add up.
    """
    members = list(by_customer.values())
    if not members:
        raise MissingUsage("a roll-up needs the usage of at least one customer")
    quantity = ZERO
    for member in members:
        quantity = add(quantity, member.quantity)
    return Usage(
        quantity=quantity if as_one is None else as_one.quantity,
        event_count=sum(member.event_count for member in members),
        metric_version=max(member.metric_version for member in members),
        groups=_summed([member.groups for member in members]),
        group_events=_counted([member.group_events for member in members]),
        amounts=_counted([member.amounts for member in members]),
        customers={customer: member.quantity for customer, member in by_customer.items()},
    )


def _summed(parts: list[Mapping[str, Decimal] | None]) -> Mapping[str, Decimal] | None:
    """None as soon as one of them was not measured by group: a part is not the whole."""
    sums: dict[str, Decimal] = {}
    for part in parts:
        if part is None:
            return None
        for group, quantity in part.items():
            sums[group] = add(sums.get(group, ZERO), quantity)
    return sums


def _counted(parts: list[Mapping[T, int] | None]) -> Mapping[T, int] | None:
    counts: dict[T, int] = {}
    for part in parts:
        if part is None:
            return None
        for amount, count in part.items():
            counts[amount] = counts.get(amount, 0) + count
    return counts


def _agree(key: UsageKey, *, what: str, total: Decimal, quantity: Decimal) -> None:
    if total != quantity:
        message = f"the {what} of metric {key.metric_id} add up to {total:f}, its quantity is {quantity:f}"
        raise InconsistentUsage(message)
