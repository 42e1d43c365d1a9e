"""/seat-metrics: the types of seats. `seatType` is the key that events and prices name; it never changes."""

from typing import Annotated, Any

import msgspec
from aiohttp import web
from msgspec import Meta
from uuid_utils.compat import uuid7

from api import page, wire
from store import seat_metric
from store.seat_metric import SeatMetric

# A key in lower snake case.
SeatType = Annotated[str, Meta(max_length=255, pattern=r"\A[a-z][a-z0-9]*(_[a-z0-9]+)*\Z")]
Label = Annotated[str, Meta(min_length=1, max_length=255)]
Description = Annotated[str, Meta(max_length=1_000)]


def routes() -> list[web.RouteDef]:
    """The routes of this resource, below /api."""
    return [
        web.get("/seat-metrics", _list),
        web.post("/seat-metrics", _create),
        web.get("/seat-metrics/{id}", _get),
        web.put("/seat-metrics/{id}", _update),
        web.delete("/seat-metrics/{id}", _delete),
    ]


class _CreateRequest(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    seat_type: SeatType
    label: Label
    description: Description | None = None


class _UpdateRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    label: Label
    description: Description | None = None


async def _create(request: web.Request) -> web.Response:
    who, now = wire.principal(request), wire.now(request)
    asked = await wire.read(request, _CreateRequest)
    made = SeatMetric(
        id=uuid7(),
        seat_type=asked.seat_type,
        label=asked.label,
        description=asked.description,
        created_at=now,
        updated_at=now,
    )
    async with wire.connection(request) as conn:
        await seat_metric.create(conn, who.account, metric=made)
    return wire.reply(_show(made), 201)


async def _get(request: web.Request) -> web.Response:
    who, wanted = wire.principal(request), wire.path_id(request)
    async with wire.connection(request) as conn:
        return wire.reply(_show(await seat_metric.get(conn, who.account, metric=wanted)))


async def _list(request: web.Request) -> web.Response:
    who, query = wire.principal(request), wire.read_query(request, page.PageQuery)
    async with wire.connection(request) as conn:
        return page.reply(await seat_metric.listing(conn, who.account, page=query.page()), _show)


async def _update(request: web.Request) -> web.Response:
    who, now, wanted = wire.principal(request), wire.now(request), wire.path_id(request)
    asked = await wire.read(request, _UpdateRequest)
    async with wire.connection(request) as conn:
        changed = await seat_metric.update(
            conn, who.account, metric=wanted, label=asked.label, description=asked.description, now=now
        )
    return wire.reply(_show(changed))


async def _delete(request: web.Request) -> web.Response:
    who, now, wanted = wire.principal(request), wire.now(request), wire.path_id(request)
    async with wire.connection(request) as conn, conn.transaction():
        return wire.reply(_show(await seat_metric.delete(conn, who.account, metric=wanted, now=now)))


def _show(found: SeatMetric) -> dict[str, Any]:
    return {
        "id": found.id,
        "seatType": found.seat_type,
        # A key made it, and keys are no users.
        "createdBy": None,
        "label": found.label,
        "description": found.description,
        "createdAt": found.created_at,
        "updatedAt": found.updated_at,
    }
