"""/seat-events: how many seats of a type somebody has from an instant on, as absolute totals.

The same `customerEventId` again with the same content changes nothing and answers the event that stands; with other
content it takes that one's place. The alias may belong to nobody yet, and the type may have no metric yet.
"""

from typing import Annotated, Any, Literal
from uuid import UUID

import msgspec
from aiohttp import web
from msgspec import Meta
from uuid_utils.compat import uuid7

from api import error, instant, page, wire
from api.metric import listed
from api.seat_metric import SeatType
from store import seat
from store.account import Principal
from store.seat import Filter, SeatEvent

FILTER_VALUES_MAX = 25
TOTAL_MAX = 1_000_000_000

# As in usage events.
Alias = Annotated[str, Meta(min_length=1, max_length=255, pattern=r"\A[^\x00-\x1f\x7f-\x9f]*\Z")]
EventId = Annotated[str, Meta(min_length=1, max_length=255)]
Total = Annotated[int, Meta(ge=0, le=TOTAL_MAX)]


def routes() -> list[web.RouteDef]:
    """The routes of this resource, below /api."""
    return [
        web.get("/seat-events", _list),
        web.post("/seat-events", _create),
        web.get("/seat-events/{id}", _get),
    ]


class _CreateRequest(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    customer_alias: Alias
    seat_type: SeatType
    event_timestamp: str
    total: Total
    customer_event_id: EventId | None = None


class _EventQuery(page.PageQuery, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    customer_alias: str | None = None
    customer_ids: str | None = None
    seat_type: str | None = None
    customer_event_id: str | None = None
    event_timestamp_before: str | None = None
    event_timestamp_after: str | None = None
    include_superseded: bool = False
    sort_by: Literal["id", "eventTimestamp"] = "id"


async def _create(request: web.Request) -> web.Response:
    who, now = wire.principal(request), wire.now(request)
    asked = await wire.read(request, _CreateRequest)
    id_ = uuid7()
    event = SeatEvent(
        id=id_,
        customer_event_id=asked.customer_event_id or str(id_),
        alias=asked.customer_alias,
        seat_type=asked.seat_type,
        event_timestamp=instant.read_past(asked.event_timestamp, now=now, key="eventTimestamp"),
        total=asked.total,
        received_at=now,
    )
    async with wire.connection(request) as conn, conn.transaction():
        standing = await seat.put(conn, who.account, event=event)
    return wire.reply(_show(standing, who), 201)


async def _get(request: web.Request) -> web.Response:
    who, wanted = wire.principal(request), wire.path_id(request)
    async with wire.connection(request) as conn:
        return wire.reply(_show(await seat.get(conn, who.account, event=wanted), who))


async def _list(request: web.Request) -> web.Response:
    who, query = wire.principal(request), wire.read_query(request, _EventQuery)
    where = Filter(
        aliases=listed(request, "customerAlias"),
        customers=few(wire.split(query.customer_ids, UUID, key="customerIds"), key="customerIds"),
        seat_types=few(wire.split(query.seat_type, str, key="seatType"), key="seatType"),
        customer_event_id=query.customer_event_id,
        before=instant.read_parameter(query.event_timestamp_before, key="eventTimestampBefore"),
        after=instant.read_parameter(query.event_timestamp_after, key="eventTimestampAfter"),
        include_superseded=query.include_superseded,
    )
    by_time = query.sort_by == "eventTimestamp"
    async with wire.connection(request) as conn:
        found = await seat.listing(conn, who.account, where=where, page=query.page(), by_time=by_time)
    return page.reply(found, lambda one: _show(one, who))


def few(values: tuple[Any, ...] | None, *, key: str) -> tuple[Any, ...] | None:
    """The values of a filter, as many as the reference allows."""
    if values is not None and len(values) > FILTER_VALUES_MAX:
        message = f"`{key}` may have {FILTER_VALUES_MAX} values, but has {len(values)}. Ask several times."
        raise error.InvalidValue(message, key=key)
    return values


def _show(found: SeatEvent, who: Principal) -> dict[str, Any]:
    return {
        "id": found.id,
        "customerEventId": found.customer_event_id,
        "customerAlias": found.alias,
        "seatType": found.seat_type,
        "sequenceAccountId": who.account_id,
        "eventTimestamp": found.event_timestamp,
        "total": found.total,
        "supersededAt": found.superseded_at,
    }
