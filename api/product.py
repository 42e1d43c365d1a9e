"""/products: what is sold."""

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

import msgspec
from aiohttp import web
from msgspec import Meta
from uuid_utils.compat import uuid7

from api import page, wire
from store import product
from store.product import Product


def routes() -> list[web.RouteDef]:
    """The routes of this resource, below /api."""
    return [
        web.get("/products", _list),
        web.post("/products", _create),
        web.get("/products/{id}", _get),
        web.put("/products/{id}", _update),
        web.post("/products/{id}/archive", _archive),
    ]


class _ProductRequest(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    name: Annotated[str, Meta(min_length=1, max_length=255)]
    label: Annotated[str, Meta(max_length=255)] | None = None
    tax_category_id: UUID | None = None


class _ProductQuery(page.PageQuery, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    name: str | None = None


async def _create(request: web.Request) -> web.Response:
    made = _product(await wire.read(request, _ProductRequest), id_=uuid7(), now=wire.now(request))
    async with wire.connection(request) as conn:
        await product.create(conn, wire.principal(request).account, product=made)
    return wire.reply(_show(made), 201)


async def _get(request: web.Request) -> web.Response:
    wanted = wire.path_id(request)
    async with wire.connection(request) as conn:
        return wire.reply(_show(await product.get(conn, wire.principal(request).account, product=wanted)))


async def _list(request: web.Request) -> web.Response:
    query = wire.read_query(request, _ProductQuery)
    async with wire.connection(request) as conn:
        found = await product.listing(conn, wire.principal(request).account, name=query.name, page=query.page())
    return page.reply(found, _show)


async def _update(request: web.Request) -> web.Response:
    now, wanted = wire.now(request), wire.path_id(request)
    asked = _product(await wire.read(request, _ProductRequest), id_=wanted, now=now)
    async with wire.connection(request) as conn:
        found = await product.update(conn, wire.principal(request).account, product=asked, now=now)
    return wire.reply(_show(found))


async def _archive(request: web.Request) -> web.Response:
    account, wanted = wire.principal(request).account, wire.path_id(request)
    async with wire.connection(request) as conn:
        return wire.reply(_show(await product.archive(conn, account, product=wanted, now=wire.now(request))))


def _product(asked: _ProductRequest, *, id_: UUID, now: datetime) -> Product:
    return Product(
        id=id_,
        name=asked.name,
        label=asked.label,
        created_at=now,
        updated_at=now,
        tax_category=asked.tax_category_id,
    )


def _show(found: Product) -> dict[str, Any]:
    return {
        "id": found.id,
        "name": found.name,
        "label": found.label,
        "taxCategoryId": found.tax_category,
        "createdAt": found.created_at,
        "updatedAt": found.updated_at,
        "archivedAt": found.archived_at,
    }
