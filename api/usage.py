"""/usage-metrics/{id}/calculate: one metric over a range, for one or several aliases.

`periodStart` and `periodEnd` are days of the account's zone, or RFC 3339 instants; both are inclusive, as in the
reference: the end day counts in full, and so does an event at the very instant of the end.
"""

import re
from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
from aiohttp import web

from api import error, wire
from api.metric import listed, metric_type
from rating import number, period
from store import account, extent, metric, usage
from store.error import MetricCounting
from store.metric import StoredMetric
from store.usage import Question, Segment, Usage

_INSTANT = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(?:\.\d{1,64})?(?:[Zz]|[+-]\d\d:\d\d)", re.ASCII)
_DAY = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
# The smallest step of time that events know.
_MICROSECOND = timedelta(microseconds=1)


def routes() -> list[web.RouteDef]:
    """The routes of this resource, below /api."""
    return [web.get("/usage-metrics/{id}/calculate", _calculate)]


class _CalculateQuery(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    customer_aliases: str
    period_start: str
    period_end: str
    custom_parameters: str | None = None


async def _calculate(request: web.Request) -> web.Response:
    who, wanted = wire.principal(request).account, wire.path_id(request)
    asked = wire.read_query(request, _CalculateQuery)
    wire.refuse_if_given(customParameters=asked.custom_parameters)
    # An alias that is named twice is counted once.
    aliases = dict.fromkeys(alias for alias in listed(request, "customerAliases") or () if alias)
    if not aliases:
        raise error.InvalidValue("`customerAliases` names nobody. Send at least one alias.", key="customerAliases")
    async with (
        wire.connection(request) as conn,
        conn.transaction(isolation="repeatable_read", readonly=True),
    ):
        found = await metric.get(conn, who, metric=wanted)
        start, end = _range(asked, await account.time_zone(conn, who))
        if not found.history.is_complete:
            raise MetricCounting
        question = Question(found.terms, tuple(Segment(alias, start, end) for alias in aliases))
        [measured] = await usage.measure(conn, who, [question])
        ends = await extent.extent(conn, who, question)
    return wire.reply(_show(found, measured) | dict(zip(("minEventId", "maxEventId"), ends, strict=True)))


def _range(asked: _CalculateQuery, zone: ZoneInfo) -> tuple[datetime, datetime]:
    """The range, half-open."""
    start = _read(asked.period_start, zone, is_end=False, key="periodStart")
    end = _read(asked.period_end, zone, is_end=True, key="periodEnd")
    if start >= end:
        raise error.InvalidValue("`periodEnd` lies before `periodStart`. Send a later end.", key="periodEnd")
    return start, end


def _read(text: str, zone: ZoneInfo, *, is_end: bool, key: str) -> datetime:
    # An offset's plus sign that was not percent-encoded arrives as a blank.
    text = text.strip().replace(" ", "+")
    try:
        if _DAY.fullmatch(text):
            return period.day_start(date.fromisoformat(text) + timedelta(days=is_end), zone)
        if _INSTANT.fullmatch(text):
            instant = datetime.fromisoformat(text.upper()).astimezone(UTC)
            return instant + _MICROSECOND if is_end else instant
    except (ValueError, OverflowError) as exc:
        raise _no_time(key) from exc
    raise _no_time(key)


def _no_time(key: str) -> error.InvalidValue:
    message = f"`{key}` must be a day such as 2025-01-31, or an instant such as 2025-01-31T23:59:59Z."
    return error.InvalidValue(message, key=key)


def _show(found: StoredMetric, measured: Usage) -> dict[str, Any]:
    return {
        "name": found.name,
        "metricType": metric_type(found),
        "eventType": found.definition.event_type,
        "aggregationType": found.definition.aggregation,
        "eventCount": measured.event_count,
        # A JSON number in all its digits; a float would lose some.
        "value": msgspec.Raw(number.plain(measured.value).encode()),
        "unit": found.unit,
    }
