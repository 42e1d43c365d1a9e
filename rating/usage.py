"""Usage: the measured quantity of one metric in one period, as the meter answered it."""

from collections.abc import Mapping
from decimal import Decimal

import msgspec

from rating.error import MissingUsage
from rating.explanation import Reading
from rating.period import Period


class UsageKey(msgspec.Struct, frozen=True):
    """A question to the meter: this metric, over these days of the account's time zone."""

    metric_id: str
    service: Period


class Usage(msgspec.Struct, frozen=True):
    """The answer, with the version of the metric that counted it."""

    quantity: Decimal
    event_count: int
    metric_version: int


def read(usage: Mapping[UsageKey, Usage], key: UsageKey) -> Reading:
    """What was measured, in the form that explanations keep."""
    found = usage.get(key)
    if found is None:
        raise MissingUsage(f"no usage of metric {key.metric_id} was given for {key.service.start} to {key.service.end}")
    return Reading(key.metric_id, found.metric_version, key.service, found.event_count, found.quantity)
