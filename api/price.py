"""/prices: what products cost. The structure is checked by rating, so what could not be billed does not get in."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Annotated, Any
from uuid import UUID

import msgspec
from aiohttp import web
from msgspec import Meta
from uuid_utils.compat import uuid7

from api import error, page, wire
from rating import number
from rating.error import InvalidPrice
from rating.metric import Aggregation, Metric
from rating.period import Frequency
from rating.price import (
    BillingType,
    Commitment,
    Price,
    SeatBased,
    UsageCalculationPeriod,
    Volume,
    decode_structure,
    metric_of,
)
from store import metric, price, seat_metric
from store.db import Connection
from store.price import PriceStatus, StoredPrice

Name = Annotated[str, Meta(min_length=1, max_length=255)]

# What a metric comes to must be the sum of what its events, or its groups, come to: else some would be charged twice.
_ADDS_EVENTS = frozenset({Aggregation.COUNT, Aggregation.SUM})
_ADDS_GROUPS = _ADDS_EVENTS | {Aggregation.WEIGHTED}


def routes() -> list[web.RouteDef]:
    """The routes of this resource, below /api."""
    return [
        web.get("/prices", _list),
        web.post("/prices", _create),
        web.get("/prices/{id}", _get),
        web.put("/prices/{id}", _update),
        web.delete("/prices/{id}", _delete),
    ]


class _PriceRequest(msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    product_id: UUID
    name: Name
    currency: str
    structure: msgspec.Raw
    billing_frequency: Frequency
    billing_type: BillingType
    status: PriceStatus | None = None
    integration_ids: tuple[Any, ...] | None = None
    custom_metric_parameters: tuple[Any, ...] | None = None
    list_price_id: str | None = None
    usage_calculation_period: UsageCalculationPeriod | None = None
    # Extensions of ours.
    minimum: Decimal | None = None
    maximum: Decimal | None = None
    commitment: Commitment | None = None
    prices_by_group: dict[str, Decimal] | None = None


class _UpdateRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    name: Name
    status: PriceStatus | None = None


class _PriceQuery(page.PageQuery, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    currency: str | None = None
    name: str | None = None
    billing_frequency: Frequency | None = None
    product_id: UUID | None = None


async def _create(request: web.Request) -> web.Response:
    account, now = wire.principal(request).account, wire.now(request)
    asked = await wire.read(request, _PriceRequest)
    terms = _terms(asked, id_=uuid7())
    made = StoredPrice(
        id=UUID(terms.id),
        terms=terms,
        structure=price.structure_json(terms.structure),
        status=asked.status or PriceStatus.ACTIVE,
        created_at=now,
        updated_at=now,
    )
    async with wire.connection(request) as conn, conn.transaction():
        await _check_metric(conn, account, terms)
        await price.create(conn, account, price=made)
    return wire.reply(show(made), 201)


async def _get(request: web.Request) -> web.Response:
    wanted = wire.path_id(request)
    async with wire.connection(request) as conn:
        return wire.reply(show(await price.get(conn, wire.principal(request).account, price=wanted)))


async def _list(request: web.Request) -> web.Response:
    query = wire.read_query(request, _PriceQuery)
    where = price.Filter(
        product=query.product_id, currency=query.currency, name=query.name, frequency=query.billing_frequency
    )
    async with wire.connection(request) as conn:
        found = await price.listing(conn, wire.principal(request).account, where=where, page=query.page())
    return page.reply(found, show)


async def _update(request: web.Request) -> web.Response:
    account, wanted = wire.principal(request).account, wire.path_id(request)
    asked = await wire.read(request, _UpdateRequest)
    async with wire.connection(request) as conn:
        found = await price.update(
            conn, account, price=wanted, name=asked.name, status=asked.status, now=wire.now(request)
        )
    return wire.reply(show(found))


async def _delete(request: web.Request) -> web.Response:
    account, wanted = wire.principal(request).account, wire.path_id(request)
    async with wire.connection(request) as conn, conn.transaction():
        return wire.reply(show(await price.delete(conn, account, price=wanted)))


def _terms(asked: _PriceRequest, *, id_: UUID) -> Price:
    """The price as rating sees it, which refuses what it could not bill."""
    wire.refuse_if_given(
        integrationIds=asked.integration_ids,
        customMetricParameters=asked.custom_metric_parameters,
        listPriceId=asked.list_price_id,
    )
    with wire.explained("structure"):
        structure = decode_structure(asked.structure)
    return Price(
        id=str(id_),
        product_id=str(asked.product_id),
        name=asked.name,
        currency=asked.currency,
        structure=structure,
        billing_frequency=asked.billing_frequency,
        billing_type=asked.billing_type,
        usage_calculation_period=asked.usage_calculation_period,
        minimum=asked.minimum,
        maximum=asked.maximum,
        commitment=asked.commitment,
        prices_by_group=asked.prices_by_group,
    )


async def _check_metric(conn: Connection, account: int, terms: Price) -> None:
    """Refuse a price that reads a metric which does not exist, or which cannot say what the price asks."""
    if isinstance(terms.structure, SeatBased):
        key = "structure.seatMetricId"
        await seat_metric.hold(conn, account, metric=_id(terms.structure.seat_metric_id, key=key), key=key)
    wanted = metric_of(terms.structure)
    if wanted is None:
        return
    key = "structure.usageMetricId"
    found = await metric.hold(conn, account, metric=_id(wanted, key=key), key=key)
    is_by_event = isinstance(terms.structure, Volume) and terms.structure.bounds_events()
    if is_by_event and found.aggregation not in _ADDS_EVENTS:
        raise InvalidPrice(f"{found.aggregation} of a metric is not the sum of amounts of single events", key=key)
    if terms.prices_by_group is not None:
        _check_groups(found)


def _check_groups(found: Metric) -> None:
    if not found.group_by:
        message = "the metric does not count apart by a property; use one of `metricType` GROUPED"
        raise InvalidPrice(message, key="pricesByGroup")
    if found.aggregation not in _ADDS_GROUPS:
        raise InvalidPrice(f"{found.aggregation} of a metric is not the sum of its groups", key="pricesByGroup")


def _id(text: str, *, key: str) -> UUID:
    try:
        return UUID(text)
    except ValueError as exc:
        raise error.InvalidValue(f"`{key}` is not an id (a UUID).", key=key) from exc


def show(found: StoredPrice) -> dict[str, Any]:
    """A price as the reference shows it, here and inside a billing schedule."""
    return {
        "id": found.id,
        "productId": found.terms.product_id,
        "name": found.terms.name,
        "currency": found.terms.currency,
        "structure": found.structure,
        "billingFrequency": found.terms.billing_frequency,
        "billingType": found.terms.billing_type,
        "createdAt": found.created_at,
        "updatedAt": found.updated_at,
        "integrationIds": [],
        "customMetricParameters": [],
        "listPriceId": None,
        "usageCalculationPeriod": found.terms.usage_calculation_period,
        "status": found.status,
        # Extensions of ours.
        "minimum": _plain(found.terms.minimum),
        "maximum": _plain(found.terms.maximum),
        "commitment": _show_commitment(found.terms.commitment),
        "pricesByGroup": _show_groups(found.terms.prices_by_group),
    }


def _show_commitment(found: Commitment | None) -> dict[str, Any] | None:
    return None if found is None else {"amount": _plain(found.amount), "overageRate": _plain(found.overage_rate)}


def _show_groups(found: Mapping[str, Decimal] | None) -> dict[str, str] | None:
    return None if found is None else {group: number.plain(amount) for group, amount in found.items()}


def _plain(amount: Decimal | None) -> str | None:
    return None if amount is None else number.plain(amount)
