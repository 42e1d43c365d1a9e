"""/usage-events as they are read: a list, one, its versions, and its trace ("why was this counted, or not").

An event can be read when it is counted, a moment after it was accepted. Who cannot wait for that moment says `after`
with the position of the reply that accepted it, and the answer waits.
"""

import base64
import binascii
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Annotated, Any, Literal, TypeAlias
from urllib.parse import unquote_plus
from uuid import UUID

import msgspec
from aiohttp import web
from msgspec import Meta

from api import error, instant, page, trace, wire
from store import dead_letter, usage_alias, usage_event
from store.account import Principal
from store.error import RawEventDropped
from store.usage_event import Edge, EventListing, EventPage, Filter, Sort, StoredEvent

# Waits until a position is counted; answers whether it is.
Wait: TypeAlias = Callable[[str], Awaitable[bool]]
# The id of an event, from what names it: that id, or the sender's `customerEventId`.
Named: TypeAlias = Callable[[str], UUID]

ALIASES_MAX = 100
OFFSET_MAX = 10_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def routes(*, wait: Wait, named: Named) -> list[web.RouteDef]:
    """The routes of this resource, below /api."""
    return [
        web.get("/usage-events", partial(_list, named=named)),
        web.get("/usage-events/{id}", partial(_get, wait=wait, named=named)),
        web.get("/usage-events/{id}/versions", partial(_versions, wait=wait, named=named)),
        web.get("/usage-events/{id}/trace", partial(_trace, wait=wait, named=named)),
    ]


class _OneQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    after: str | None = None


class _ListQuery(msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    customer_alias: tuple[str, ...] | None = None
    unmapped_aliases_only: bool = False
    event_type: str | None = None
    event_id: str | None = None
    event_timestamp_before: str | None = None
    event_timestamp_after: str | None = None
    sort_by: Sort | None = None
    sort_order: Literal["ASC", "DESC"] = "DESC"
    offset: Annotated[int, Meta(ge=0, le=OFFSET_MAX)] = 0
    limit: Annotated[int, Meta(ge=1, le=page.LIMIT_MAX)] = page.LIMIT_DEFAULT
    after: str | None = None
    before: str | None = None


async def _list(request: web.Request, *, named: Named) -> web.Response:
    who, query = wire.principal(request), _read_query(request)
    async with wire.connection(request) as conn, conn.transaction(isolation="repeatable_read", readonly=True):
        if query.event_id is not None:
            return wire.reply(await _one_by_id(conn, who, query, named(query.event_id)))
        where = await _where(conn, who, query)
        asked = _page(query, is_by_alias=where.aliases is not None)
        found = await usage_event.listing(conn, who.account, where=where, page=asked)
    return wire.reply(
        {
            "items": [shown(one, who) for one in found.items],
            "pagination": {
                "after": _cursor(found.after, asked.sort),
                "before": _cursor(found.before, asked.sort),
                "totalResultSize": _total(found, asked),
            },
        }
    )


async def _get(request: web.Request, *, wait: Wait, named: Named) -> web.Response:
    who = wire.principal(request)
    key = await _waited(request, wait, named)
    async with wire.connection(request) as conn:
        return wire.reply(shown(await _found(conn, who, key), who))


async def _versions(request: web.Request, *, wait: Wait, named: Named) -> web.Response:
    who = wire.principal(request)
    key = await _waited(request, wait, named)
    async with wire.connection(request) as conn, conn.transaction(isolation="repeatable_read", readonly=True):
        found = await usage_event.versions(conn, who.account, key=key)
        if not found:
            await _found(conn, who, key)
    return wire.reply({"items": [shown(one, who) | {"version": number} for number, one in found]})


async def _trace(request: web.Request, *, wait: Wait, named: Named) -> web.Response:
    who = wire.principal(request)
    key = await _waited(request, wait, named)
    async with wire.connection(request) as conn, conn.transaction(isolation="repeatable_read", readonly=True):
        found = await _found(conn, who, key)
        traced = await trace.trace(conn, who.account, found)
    return wire.reply({"event": shown(found, who), **traced})


def shown(one: StoredEvent, who: Principal) -> dict[str, Any]:
    """An event as the reference shows it, and what became of it."""
    return {
        "id": one.key,
        "customerEventId": one.customer_event_id,
        "customerAlias": one.customer_alias,
        "eventType": one.event_type,
        "sequenceAccountId": who.account_id,
        "eventTimestamp": one.timestamp,
        "eventProperties": msgspec.Raw(one.properties.encode()),
        "receivedAt": one.received_at,
        "state": one.state.upper(),
    }


async def _waited(request: web.Request, wait: Wait, named: Named) -> UUID:
    """The id in the path, after the wait that is asked for."""
    query = wire.read_query(request, _OneQuery)
    if query.after is not None and not await wait(query.after):
        raise error.NotCountedYet(key="after")
    return named(request.match_info["id"])


async def _found(conn: Any, who: Principal, key: UUID) -> StoredEvent:
    found = await usage_event.get(conn, who.account, key=key)
    if found is not None:
        return found
    if await usage_event.is_dropped(conn, who.account, key=key):
        raise RawEventDropped(
            f"The usage event {key} was counted and is not kept as a raw event any more. It stays counted; sending or"
            " cancelling it again changes nothing.",
            key="id",
        )
    letter = await dead_letter.of_event(conn, who.account, key=key)
    if letter is not None:
        message = f"The usage event {key} was accepted, but cannot be counted: GET /dead-letters/{letter} says why."
        raise error.NotFound(message, key="id")
    raise error.NotFound(
        f"No usage event {key} is counted. If it was accepted a moment ago, ask again, or send its `Usance-Position` as"
        " `after`: then the answer waits for it.",
        key="id",
    )


async def _one_by_id(conn: Any, who: Principal, query: _ListQuery, key: UUID) -> dict[str, Any]:
    """The event of that id, if the other filters let it through."""
    if query.unmapped_aliases_only or query.after or query.before or query.offset:
        message = "`eventId` names one event: send it without `unmappedAliasesOnly` and without a place in the list."
        raise error.InvalidValue(message, key="eventId")
    found = await usage_event.get(conn, who.account, key=key)
    items = [found] if found is not None and _passes(found, query) else []
    return {
        "items": [shown(one, who) for one in items],
        "pagination": {"after": None, "before": None, "totalResultSize": len(items)},
    }


def _passes(one: StoredEvent, query: _ListQuery) -> bool:
    start, end = _times(query)
    return (
        (query.customer_alias is None or one.customer_alias in query.customer_alias)
        and (query.event_type is None or one.event_type == query.event_type)
        and (start is None or one.timestamp > start)
        and (end is None or one.timestamp < end)
    )


def _read_query(request: web.Request) -> _ListQuery:
    """The query; `customerAlias` may be repeated and comma-separated, each value percent-encoded by itself."""
    aliases = [
        unquote_plus(value)
        for part in request.rel_url.raw_query_string.split("&")
        if unquote_plus(part.partition("=")[0]) == "customerAlias"
        for value in part.partition("=")[2].split(",")
    ]
    rest = [(name, value) for name, value in request.query.items() if name != "customerAlias"]
    parameters: dict[str, Any] = dict(rest)
    if len(parameters) != len(rest):
        raise error.InvalidValue("A query parameter is given twice. Give each once, `customerAlias` apart.")
    if aliases:
        parameters["customerAlias"] = tuple(dict.fromkeys(alias for alias in aliases if alias))
    with wire.explained():
        query = msgspec.convert(parameters, _ListQuery, strict=False)
    if len(query.customer_alias or ()) > ALIASES_MAX:
        message = f"`customerAlias` may have {ALIASES_MAX} values. Ask several times."
        raise error.InvalidValue(message, key="customerAlias")
    return query


async def _where(conn: Any, who: Principal, query: _ListQuery) -> Filter:
    start, end = _times(query)
    aliases = query.customer_alias
    if aliases is None and query.unmapped_aliases_only and query.sort_by is not Sort.RECEIPT:
        aliases = await usage_alias.unmapped(conn, who.account, aliases_max=usage_event.WALKED_ALIASES_MAX)
    elif aliases is None and query.sort_by is Sort.TIMESTAMP:
        aliases = await usage_alias.every(conn, who.account, aliases_max=usage_event.WALKED_ALIASES_MAX)
    return Filter(
        aliases=aliases,
        is_unmapped=query.unmapped_aliases_only,
        event_type=query.event_type,
        start=start,
        end=end,
    )


def _times(query: _ListQuery) -> tuple[datetime | None, datetime | None]:
    return (
        instant.read_parameter(query.event_timestamp_after, key="eventTimestampAfter"),
        instant.read_parameter(query.event_timestamp_before, key="eventTimestampBefore"),
    )


def _page(query: _ListQuery, *, is_by_alias: bool) -> EventPage:
    """The page that is asked for. By event time within some aliases, by receipt over all: so a page is quick."""
    if query.sort_by is Sort.TIMESTAMP and not is_by_alias:
        message = (
            f"By `eventTimestamp` at most {usage_event.WALKED_ALIASES_MAX} aliases are listed at once, and there are"
            " more. Send `customerAlias`, or leave `sortBy` out: then the list is in the order of receipt."
        )
        raise error.NotOfferedYet(message, key="sortBy")
    sort = query.sort_by or (Sort.TIMESTAMP if is_by_alias else Sort.RECEIPT)
    if query.after is not None and query.before is not None:
        raise error.InvalidCursor("Send either `after` or `before`, not both.", key="before")
    if query.offset and (query.after or query.before):
        raise error.InvalidCursor("Send either `offset` or a cursor, not both.", key="offset")
    return EventPage(
        limit=query.limit,
        sort=sort,
        is_descending=query.sort_order == "DESC",
        after=_edge(query.after, sort, key="after"),
        before=_edge(query.before, sort, key="before"),
        offset=query.offset,
    )


def _total(found: EventListing, asked: EventPage) -> int | None:
    """How many there are, where that is known without counting: the whole list is on this page."""
    is_whole = found.after is None and found.before is None and asked.after is asked.before is None
    return len(found.items) if is_whole and not asked.offset else None


def _cursor(edge: Edge | None, sort: Sort) -> str | None:
    if edge is None:
        return None
    text = f"{sort}/{(edge.at - _EPOCH) // _MICROSECOND}/{edge.number}"
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def _edge(text: str | None, sort: Sort, *, key: str) -> Edge | None:
    if text is None:
        return None
    try:
        padded = text + "=" * (-len(text) % 4)
        name, at, number = base64.b64decode(padded, altchars=b"-_", validate=True).decode().split("/")
        edge = Edge(_EPOCH + timedelta(microseconds=int(at)), int(number))
    except (binascii.Error, ValueError, OverflowError) as exc:
        raise error.InvalidCursor(key=key) from exc
    if name != sort or not 0 <= edge.number < 1 << 63:
        raise error.InvalidCursor(f"{error.InvalidCursor.__doc__} It belongs to another order.", key=key)
    return edge
