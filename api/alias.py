"""/customer-aliases: under which names a customer's usage arrives.

Deleting a mapping ends it now; usage before that stays with its owner, whatever happens to the alias afterwards.
"""

from typing import Annotated, Any
from uuid import UUID

import msgspec
from aiohttp import web
from msgspec import Meta
from uuid_utils.compat import uuid7

from api import page, wire
from store import alias, customer
from store.alias import Alias, NewAlias

Label = Annotated[str, Meta(max_length=255)]


def routes() -> list[web.RouteDef]:
    """The routes of this resource, below /api."""
    return [
        web.get("/customers/{id}/aliases", _of_customer),
        web.get("/customer-aliases", _list),
        web.post("/customer-aliases", _create),
        web.put("/customer-aliases/{id}", _update),
        web.delete("/customer-aliases/{id}", _end),
    ]


class _CreateRequest(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    customer_id: UUID
    value: Annotated[str, Meta(min_length=1, max_length=255)]
    label: Label | None = None


class _UpdateRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    label: Label | None = None


class _AliasQuery(page.PageQuery, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    value: str | None = None


async def _create(request: web.Request) -> web.Response:
    who, now = wire.principal(request), wire.now(request)
    asked = await wire.read(request, _CreateRequest)
    new = NewAlias(uuid7(), asked.value, asked.label)
    async with wire.connection(request) as conn, conn.transaction():
        made = await alias.create(conn, who.account, customer=asked.customer_id, aliases=[new], now=now)
    return wire.reply(_show(made[0], who.account_id), 201)


async def _of_customer(request: web.Request) -> web.Response:
    who, wanted = wire.principal(request), wire.path_id(request)
    async with wire.connection(request) as conn:
        await customer.get(conn, who.account, customer=wanted)
        found = await alias.of_customer(conn, who.account, customer=wanted)
    return wire.reply({"items": [_show(item, who.account_id) for item in found]})


async def _list(request: web.Request) -> web.Response:
    who, query = wire.principal(request), wire.read_query(request, _AliasQuery)
    async with wire.connection(request) as conn:
        found = await alias.listing(conn, who.account, value=query.value, page=query.page())
    return page.reply(found, lambda item: _show(item, who.account_id))


async def _update(request: web.Request) -> web.Response:
    who, wanted = wire.principal(request), wire.path_id(request)
    asked = await wire.read(request, _UpdateRequest)
    async with wire.connection(request) as conn:
        found = await alias.update(conn, who.account, alias=wanted, label=asked.label)
    return wire.reply(_show(found, who.account_id))


async def _end(request: web.Request) -> web.Response:
    who, wanted = wire.principal(request), wire.path_id(request)
    async with wire.connection(request) as conn:
        found = await alias.end(conn, who.account, alias=wanted, now=wire.now(request))
    return wire.reply(_show(found, who.account_id))


def _show(found: Alias, account_id: UUID) -> dict[str, Any]:
    return {
        "id": found.id,
        "sequenceAccountId": account_id,
        "customerId": found.customer,
        "value": found.value,
        "createdAt": found.created_at,
        "deletedAt": found.valid_to,
        "label": found.label,
        "archivedAt": None,
    }
