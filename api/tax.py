"""/tax-rates: what tax is called and how much it is, by country. A change is a new version.

0.2 is 20 %. A rate that is published is found by the customer's country and region and the product's tax
category; any rate can be chosen by hand in `taxRates` of a billing schedule.
"""

from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any
from uuid import UUID

import msgspec
from aiohttp import web
from msgspec import Meta
from uuid_utils.compat import uuid7

from api import country, error, page, wire
from rating import number
from rating.error import InvalidTax
from store import tax
from store.error import TaxRateArchived
from store.tax import TaxRate

Text = Annotated[str, Meta(min_length=1, max_length=255)]


def routes() -> list[web.RouteDef]:
    """The routes of this resource, below /api."""
    return [
        web.get("/tax-rates", _list),
        web.post("/tax-rates", _create),
        web.get("/tax-rates/{id}", _get),
        web.put("/tax-rates/{id}", _update),
        web.delete("/tax-rates/{id}", _delete),
        web.post("/tax-rates/{id}/archive", _archive),
    ]


class _CreateRequest(msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    is_published: bool
    name: Text
    invoice_name: Text
    invoice_short_name: Text
    amount: Decimal
    country: str
    description: Annotated[str, Meta(max_length=1000)] | None = None
    region: Text | None = None
    tax_category_id: UUID | None = None


class _UpdateRequest(_CreateRequest, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    id: UUID


async def _create(request: web.Request) -> web.Response:
    asked, now = await wire.read(request, _CreateRequest), wire.now(request)
    made = _rate(asked, id_=uuid7(), now=now)
    async with wire.connection(request) as conn, conn.transaction():
        await tax.create(conn, wire.principal(request).account, rate=made)
    return wire.reply(_show(made), 201)


async def _get(request: web.Request) -> web.Response:
    wanted = wire.path_id(request)
    async with wire.connection(request) as conn:
        return wire.reply(_show(await tax.get(conn, wire.principal(request).account, rate=wanted)))


async def _list(request: web.Request) -> web.Response:
    query = wire.read_query(request, page.PageQuery)
    async with wire.connection(request) as conn:
        found = await tax.listing(conn, wire.principal(request).account, page=query.page())
    return page.reply(found, _show)


async def _update(request: web.Request) -> web.Response:
    account, wanted = wire.principal(request).account, wire.path_id(request)
    asked = await wire.read(request, _UpdateRequest)
    if asked.id != wanted:
        raise error.InvalidValue("`id` is not the one in the path.", key="id")
    async with wire.connection(request) as conn, conn.transaction():
        before = await tax.get(conn, account, rate=wanted, for_update=True)
        if before.archived_at is not None:
            raise TaxRateArchived
        after = _rate(asked, id_=wanted, now=wire.now(request), before=before)
        await tax.update(conn, account, rate=after)
    return wire.reply(_show(after))


async def _delete(request: web.Request) -> web.Response:
    account, wanted = wire.principal(request).account, wire.path_id(request)
    async with wire.connection(request) as conn, conn.transaction():
        return wire.reply(_show(await tax.delete(conn, account, rate=wanted, now=wire.now(request))))


async def _archive(request: web.Request) -> web.Response:
    who, wanted = wire.principal(request), wire.path_id(request)
    async with wire.connection(request) as conn, conn.transaction():
        await tax.archive(conn, who.account, rate=wanted, now=wire.now(request))
        found = await tax.get(conn, who.account, rate=wanted)
    return wire.reply(_show(found) | {"sequenceAccountId": who.account_id, "subRates": []})


def _rate(asked: _CreateRequest, *, id_: UUID, now: datetime, before: TaxRate | None = None) -> TaxRate:
    country.check(asked.country, key="country")
    number.check(asked.amount, key="amount")
    if not 0 <= asked.amount <= 1:
        raise InvalidTax(key="amount")
    return TaxRate(
        id=id_,
        version_id=uuid7(),
        version=before.version + 1 if before else 0,
        is_published=asked.is_published,
        name=asked.name,
        invoice_name=asked.invoice_name,
        invoice_short_name=asked.invoice_short_name,
        description=asked.description,
        amount=asked.amount,
        country=asked.country,
        region=asked.region,
        tax_category=asked.tax_category_id,
        created_at=before.created_at if before else now,
        updated_at=now,
    )


def _show(found: TaxRate) -> dict[str, Any]:
    return {
        "id": found.id,
        "versionId": found.version_id,
        "version": found.version,
        "isPublished": found.is_published,
        "name": found.name,
        "invoiceName": found.invoice_name,
        "invoiceShortName": found.invoice_short_name,
        "description": found.description,
        "amount": number.plain(found.amount),
        "country": found.country,
        "region": found.region,
        "taxCategoryId": found.tax_category,
        "isArchived": found.archived_at is not None,
        "updatedAt": found.updated_at,
    }
