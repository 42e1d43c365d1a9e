"""/usage-backfills: loads of events that become visible as a whole, and can be taken back as a whole.

Create one, send events with its id in the header `Usance-Backfill`, close it; revert it if it was wrong. Closing and
reverting are asked for here and done by a loop: GET shows how far it is.
"""

from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from functools import partial
from typing import Annotated, Any, TypeAlias
from uuid import UUID

import msgspec
from aiohttp import web
from msgspec import Meta
from uuid_utils.compat import uuid7

from api import error, instant, page, wire
from store import backfill, customer
from store.account import Principal
from store.backfill import Backfill, State
from store.db import Connection
from store.usage import Segment

Ends: TypeAlias = Callable[[], Awaitable[Mapping[str, str]]]

ALIASES_MAX = 100
Alias = Annotated[str, Meta(min_length=1, max_length=255)]


def routes(ends: Ends) -> list[web.RouteDef]:
    """The routes of this resource, below /api; `ends` are the last ids of the streams."""
    return [
        web.get("/usage-backfills", _list),
        web.post("/usage-backfills", _create),
        web.get("/usage-backfills/{id}", _get),
        web.post("/usage-backfills/{id}/close", partial(_close, ends=ends)),
        web.post("/usage-backfills/{id}/revert", _revert),
    ]


class _CreateRequest(msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    start: str = msgspec.field(name="from")
    end: str = msgspec.field(name="to")
    customer_id: UUID | None = None
    customer_aliases: Annotated[tuple[Alias, ...], Meta(min_length=1, max_length=ALIASES_MAX)] | None = None
    replace: bool = False
    name: Annotated[str, Meta(min_length=1, max_length=255)] | None = None


class _BackfillQuery(page.PageQuery, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    status: str | None = None


async def _create(request: web.Request) -> web.Response:
    who, now = wire.principal(request), wire.now(request)
    asked = await wire.read(request, _CreateRequest)
    start, end = instant.read(asked.start, key="from"), instant.read(asked.end, key="to")
    if start >= end:
        raise error.InvalidValue("`to` lies before `from`. Send a later end; it is not part of the range.", key="to")
    async with wire.connection(request) as conn:
        made = Backfill(
            id=uuid7(),
            name=asked.name,
            customer=asked.customer_id,
            segments=await _segments(conn, who.account, asked, start=start, end=end),
            range_start=start,
            range_end=end,
            replaces=asked.replace,
            created_at=now,
            updated_at=now,
        )
        await backfill.create(conn, who.account, backfill=made)
    return wire.reply(_show(made, who), 201)


async def _segments(
    conn: Connection, account: int, asked: _CreateRequest, *, start: datetime, end: datetime
) -> tuple[Segment, ...]:
    """Which aliases it is about, and when: those that were named, or those of the customer, each in its time."""
    if (asked.customer_id is None) == (asked.customer_aliases is None):
        raise error.InvalidValue("Send either `customerId` or `customerAliases`.", key="customerId")
    if asked.customer_id is None:
        return tuple(Segment(alias, start, end) for alias in dict.fromkeys(asked.customer_aliases or ()))
    found = await customer.get(conn, account, customer=asked.customer_id, key="customerId")
    spans = (await customer.aliases_of(conn, account=account, customers=[found.id]))[found.id]
    segments = (
        Segment(span.value, max(start, span.valid_from or start), min(end, span.valid_to or end)) for span in spans
    )
    return tuple(segment for segment in segments if segment.start < segment.end)


async def _get(request: web.Request) -> web.Response:
    who, wanted = wire.principal(request), wire.path_id(request)
    async with wire.connection(request) as conn:
        return wire.reply(_show(await backfill.get(conn, who.account, backfill=wanted), who))


async def _list(request: web.Request) -> web.Response:
    who, query = wire.principal(request), wire.read_query(request, _BackfillQuery)
    states = wire.split(query.status, State, key="status")
    async with wire.connection(request) as conn:
        found = await backfill.listing(conn, who.account, states=states, page=query.page())
    return page.reply(found, lambda one: _show(one, who))


async def _close(request: web.Request, *, ends: Ends) -> web.Response:
    who, now, wanted = wire.principal(request), wire.now(request), wire.path_id(request)
    # Read before: what is accepted from here on comes after the load.
    last = await ends()
    async with wire.connection(request) as conn, conn.transaction():
        found = await backfill.close(conn, who.account, backfill=wanted, ends=last, now=now)
    return wire.reply(_show(found, who), 200 if found.state is State.CLOSED else 202)


async def _revert(request: web.Request) -> web.Response:
    who, now, wanted = wire.principal(request), wire.now(request), wire.path_id(request)
    async with wire.connection(request) as conn, conn.transaction():
        found = await backfill.revert(conn, who.account, backfill=wanted, now=now)
    return wire.reply(_show(found, who), 200 if found.state is State.REVERTED else 202)


def _show(found: Backfill, who: Principal) -> dict[str, Any]:
    return {
        "id": found.id,
        "sequenceAccountId": who.account_id,
        "name": found.name,
        "customerId": found.customer,
        "customerAliases": sorted({segment.alias for segment in found.segments}),
        "from": found.range_start,
        "to": found.range_end,
        "replace": found.replaces,
        "status": found.state,
        "loadedCount": found.loaded,
        "progress": found.handled,
        "countedCount": found.counts.counted,
        "duplicateCount": found.counts.duplicates,
        "correctionCount": found.counts.corrections,
        "replacedCount": found.counts.replaced,
        "problem": found.problem,
        "createdAt": found.created_at,
        "closedAt": found.closed_at,
        "revertedAt": found.reverted_at,
    }
