"""/usage-metrics: which events count, and how. A change of that is a new version; a name or a description is not.

A metric sees the events that came before it: a short history is folded in the transaction that makes it, by a function
that the composition root hands over; a long one in the background, and `history` says how far it is.

Beyond the reference: more aggregations, `groupBy` with several properties, and `numberFilters`, which compare numbers:

    "numberFilters": {"tokens": {"gte": "10", "lt": "100"}}     all have to agree; gt, gte, lt, lte, eq, ne
"""

from collections.abc import Awaitable, Callable
from decimal import Decimal
from functools import partial
from typing import Annotated, Any, Literal, TypeAlias
from urllib.parse import unquote_plus

import msgspec
from aiohttp import web
from msgspec import Meta
from uuid_utils.compat import uuid7

from api import error, page, wire
from rating import number
from rating.metric import Aggregation
from store import counting, metric
from store.account import Principal
from store.db import Connection
from store.definition import Definition
from store.metric import StoredMetric

FoldHistory: TypeAlias = Callable[[Connection, int, StoredMetric], Awaitable[StoredMetric]]

FILTERS_MAX = 50
FILTER_VALUES_MAX = 1_000
GROUPS_MAX = 5

Text = Annotated[str, Meta(min_length=1, max_length=255)]
# Decimals from a JSON number or a string: exact both ways.
Bounds = Annotated[dict[Literal["gt", "gte", "lt", "lte", "eq", "ne"], Decimal], Meta(min_length=1)]
Values = Annotated[list[Annotated[str, Meta(max_length=1_000)]], Meta(min_length=1, max_length=FILTER_VALUES_MAX)]


def routes(fold_history: FoldHistory) -> list[web.RouteDef]:
    """The routes of this resource, below /api."""
    return [
        web.get("/usage-metrics", _list),
        web.post("/usage-metrics", partial(_create, fold_history=fold_history)),
        web.get("/usage-metrics/{id}", _get),
        web.put("/usage-metrics/{id}", partial(_update, fold_history=fold_history)),
        web.delete("/usage-metrics/{id}", _delete),
    ]


class _MetricRequest(msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    name: Text
    metric_type: Literal["SIMPLE", "GROUPED"]
    event_type: Text
    aggregation_type: Literal["COUNT", "SUM", "UNIQUE", "MAX", "MIN", "LATEST", "AVERAGE", "WEIGHTED", "CUSTOM"]
    description: Annotated[str, Meta(max_length=1_000)] | None = None
    aggregation_property: Text | None = None
    grouping_property: Text | None = None
    unit: Annotated[str, Meta(max_length=255)] | None = None
    property_filters: Annotated[dict[Text, Values], Meta(max_length=FILTERS_MAX)] | None = None
    case_sensitive: bool | None = None
    properties_to_negate: tuple[Text, ...] | None = None
    deleted_at: str | None = None
    group_by: Annotated[tuple[Text, ...], Meta(max_length=GROUPS_MAX)] | None = None
    number_filters: Annotated[dict[Text, Bounds], Meta(max_length=FILTERS_MAX)] | None = None


class _MetricQuery(page.PageQuery, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    name: str | None = None
    id: str | None = None
    event_type: str | None = None
    event_property: str | None = None
    aggregation_type: str | None = None


async def _create(request: web.Request, *, fold_history: FoldHistory) -> web.Response:
    who, now = wire.principal(request), wire.now(request)
    asked = await wire.read(request, _MetricRequest)
    new = StoredMetric(
        id=uuid7(),
        name=asked.name,
        description=asked.description,
        unit=asked.unit,
        definition=_definition(asked),
        version=1,
        number=0,
        created_at=now,
        updated_at=now,
    )
    async with wire.connection(request) as conn, conn.transaction():
        await counting.stop(conn)
        made = await metric.create(conn, who.account, metric=new)
        made = await fold_history(conn, who.account, made)
    return wire.reply(_show(made, who), 201)


async def _get(request: web.Request) -> web.Response:
    who, wanted = wire.principal(request), wire.path_id(request)
    async with wire.connection(request) as conn:
        return wire.reply(_show(await metric.get(conn, who.account, metric=wanted), who))


async def _list(request: web.Request) -> web.Response:
    who, query = wire.principal(request), wire.read_query(request, _MetricQuery)
    where = metric.Filter(
        name=query.name,
        id=query.id,
        event_types=listed(request, "eventType"),
        properties=listed(request, "eventProperty"),
        aggregations=listed(request, "aggregationType"),
    )
    async with wire.connection(request) as conn:
        found = await metric.listing(conn, who.account, where=where, page=query.page())
    return page.reply(found, lambda one: _show(one, who))


async def _update(request: web.Request, *, fold_history: FoldHistory) -> web.Response:
    who, now, wanted = wire.principal(request), wire.now(request), wire.path_id(request)
    asked = await wire.read(request, _MetricRequest)
    definition = _definition(asked)
    async with wire.connection(request) as conn, conn.transaction():
        await counting.stop(conn)
        before = await metric.get(conn, who.account, metric=wanted, for_update=True)
        after = await metric.update(
            conn,
            who.account,
            metric=msgspec.structs.replace(
                before, name=asked.name, description=asked.description, unit=asked.unit, definition=definition
            ),
            now=now,
        )
        if after.version != before.version:
            after = await fold_history(conn, who.account, after)
    return wire.reply(_show(after, who))


async def _delete(request: web.Request) -> web.Response:
    who, wanted = wire.principal(request), wire.path_id(request)
    async with wire.connection(request) as conn, conn.transaction():
        deleted = await metric.delete(conn, who.account, metric=wanted, now=wire.now(request))
    return wire.reply(_show(deleted, who))


def metric_type(found: StoredMetric) -> str:
    """In the reference's words."""
    return "GROUPED" if found.definition.group_by else "SIMPLE"


def listed(request: web.Request, name: str) -> tuple[str, ...] | None:
    """A comma-separated query parameter whose values are percent-encoded one by one, so that they may have commas."""
    for part in request.rel_url.raw_query_string.split("&"):
        key, _, values = part.partition("=")
        if unquote_plus(key) == name:
            return tuple(unquote_plus(value) for value in values.split(","))
    return None


def _definition(asked: _MetricRequest) -> Definition:
    """How the metric counts, checked for what the types let through."""
    wire.refuse_if_given(deletedAt=asked.deleted_at)
    if asked.aggregation_type == "CUSTOM":
        message = "`aggregationType` CUSTOM is not offered yet. Send another one."
        raise error.NotOfferedYet(message, key="aggregationType")
    _check_property(asked)
    filters, negated = asked.property_filters or {}, asked.properties_to_negate or ()
    for index, name in enumerate(negated):
        if name not in filters:
            message = f"`{name}` is to be negated, but `propertyFilters` does not have it. Add its values there."
            raise error.InvalidValue(message, key=f"propertiesToNegate[{index}]")
    return Definition(
        event_type=asked.event_type,
        aggregation=Aggregation(asked.aggregation_type),
        aggregation_property=asked.aggregation_property,
        # In one order each, so that the same definition said differently is no new version.
        property_filters={name: sorted(set(values)) for name, values in sorted(filters.items())},
        is_case_sensitive=asked.case_sensitive is not False,
        properties_to_negate=tuple(sorted(set(negated))),
        group_by=_group_by(asked),
        number_filters=_number_filters(asked),
    )


def _group_by(asked: _MetricRequest) -> tuple[str, ...]:
    """The properties to count apart by: `groupBy`, or the reference's one `groupingProperty`."""
    named, listed_ = asked.grouping_property, asked.group_by or ()
    if asked.metric_type == "SIMPLE" and (named or listed_):
        key = "groupingProperty" if named else "groupBy"
        raise error.InvalidValue(f"`{key}` goes with `metricType` GROUPED. Send that, or leave it out.", key=key)
    if asked.metric_type == "GROUPED" and not (named or listed_):
        message = "`groupingProperty` is required with `metricType` GROUPED. Name the property."
        raise error.MissingField(message, key="groupingProperty")
    if len(set(listed_)) != len(listed_):
        raise error.InvalidValue("`groupBy` names a property twice. Name each once.", key="groupBy")
    if named and listed_ and listed_ != (named,):
        message = "`groupBy` and `groupingProperty` differ. Send one of them."
        raise error.InvalidValue(message, key="groupBy")
    return listed_ or ((named,) if named else ())


def _number_filters(asked: _MetricRequest) -> dict[str, dict[str, str]]:
    bounds = asked.number_filters or {}
    for name, wanted in bounds.items():
        for comparison, value in wanted.items():
            number.check(value, key=f"numberFilters.{name}.{comparison}")
    return {
        name: {comparison: number.plain(value) for comparison, value in sorted(wanted.items())}
        for name, wanted in sorted(bounds.items())
    }


def _check_property(asked: _MetricRequest) -> None:
    key = "aggregationProperty"
    if asked.aggregation_type == "COUNT" and asked.aggregation_property is not None:
        raise error.InvalidValue(f"COUNT counts events, it reads no property. Leave `{key}` out.", key=key)
    if asked.aggregation_type != "COUNT" and asked.aggregation_property is None:
        raise error.MissingField(f"`{key}` is required with {asked.aggregation_type}. Name the property.", key=key)


def _show(found: StoredMetric, who: Principal) -> dict[str, Any]:
    return {
        "id": found.id,
        "sequenceAccountId": who.account_id,
        "name": found.name,
        "description": found.description,
        "metricType": metric_type(found),
        "eventType": found.definition.event_type,
        "aggregationType": found.definition.aggregation,
        "aggregationProperty": found.definition.aggregation_property,
        # The reference knows one; several stand in `groupBy`.
        "groupingProperty": found.definition.group_by[0] if len(found.definition.group_by) == 1 else None,
        "unit": found.unit,
        "createdAt": found.created_at,
        "deletedAt": found.deleted_at,
        "propertyFilters": found.definition.property_filters,
        "caseSensitive": found.definition.is_case_sensitive,
        "propertiesToNegate": found.definition.properties_to_negate,
        "parameters": [],
        "groupBy": found.definition.group_by,
        "numberFilters": found.definition.number_filters,
        "version": found.version,
        "history": {
            "isComplete": found.history.is_complete,
            "progress": number.plain(found.history.progress),
            # What was received before was not kept when this version was made, so it is not counted.
            "receivedFrom": found.history.received_from,
        },
    }
