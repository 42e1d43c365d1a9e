"""/usage-metrics: which events count, and how. A change of that is a new version; a name or a description is not.

A metric sees the events that came before it: their history is folded in the transaction that makes it, by a function
that the composition root hands over.
"""

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Annotated, Any, Literal, TypeAlias
from urllib.parse import unquote_plus

import msgspec
from aiohttp import web
from msgspec import Meta
from uuid_utils.compat import uuid7

from api import error, page, wire
from rating.metric import Aggregation
from store import metric
from store.account import Principal
from store.db import Connection
from store.metric import Definition, StoredMetric

FoldHistory: TypeAlias = Callable[[Connection, int, StoredMetric], Awaitable[int]]

FILTERS_MAX = 50
FILTER_VALUES_MAX = 1_000

Text = Annotated[str, Meta(min_length=1, max_length=255)]
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
    aggregation_type: Literal["COUNT", "SUM", "UNIQUE", "CUSTOM"]
    description: Annotated[str, Meta(max_length=1_000)] | None = None
    aggregation_property: Text | None = None
    grouping_property: Text | None = None
    unit: Annotated[str, Meta(max_length=255)] | None = None
    property_filters: Annotated[dict[Text, Values], Meta(max_length=FILTERS_MAX)] | None = None
    case_sensitive: bool | None = None
    properties_to_negate: tuple[Text, ...] | None = None
    deleted_at: str | None = None


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
        await metric.stop_counting(conn)
        made = await metric.create(conn, who.account, metric=new)
        await fold_history(conn, who.account, made)
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
        await metric.stop_counting(conn)
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
            await fold_history(conn, who.account, after)
    return wire.reply(_show(after, who))


async def _delete(request: web.Request) -> web.Response:
    who, wanted = wire.principal(request), wire.path_id(request)
    async with wire.connection(request) as conn, conn.transaction():
        deleted = await metric.delete(conn, who.account, metric=wanted, now=wire.now(request))
    return wire.reply(_show(deleted, who))


def listed(request: web.Request, name: str) -> tuple[str, ...] | None:
    """A comma-separated query parameter whose values are percent-encoded one by one, so that they may have commas."""
    for part in request.rel_url.raw_query_string.split("&"):
        key, _, values = part.partition("=")
        if unquote_plus(key) == name:
            return tuple(unquote_plus(value) for value in values.split(","))
    return None


def _definition(asked: _MetricRequest) -> Definition:
    """How the metric counts, checked for what the types let through."""
    wire.refuse_if_given(groupingProperty=asked.grouping_property, deletedAt=asked.deleted_at)
    if asked.metric_type != "SIMPLE":
        raise error.NotOfferedYet("`metricType` GROUPED is not offered yet. Send SIMPLE.", key="metricType")
    if asked.aggregation_type == "CUSTOM":
        message = "`aggregationType` CUSTOM is not offered yet. Send COUNT, SUM or UNIQUE."
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
    )


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
        "metricType": "SIMPLE",
        "eventType": found.definition.event_type,
        "aggregationType": found.definition.aggregation,
        "aggregationProperty": found.definition.aggregation_property,
        "groupingProperty": None,
        "unit": found.unit,
        "createdAt": found.created_at,
        "deletedAt": found.deleted_at,
        "propertyFilters": found.definition.property_filters,
        "caseSensitive": found.definition.is_case_sensitive,
        "propertiesToNegate": found.definition.properties_to_negate,
        "parameters": [],
    }
