"""POST /usage/query: usage of any range, by window and by group, of aliases or of a customer.

`after` names a position, or one of each stream; the answer waits until that is counted, for a bounded time. Then it is
NOT_COUNTED_YET, with what is counted so far. `includeChildren` adds everyone below the customer.
"""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from functools import partial
from typing import Annotated, Any, TypeAlias
from uuid import UUID
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec
from aiohttp import web
from msgspec import Meta

from api import error, instant, status, wire
from rating import number
from rating.window import Window
from store import account, usage_query
from store.account import Principal
from store.db import Connection
from store.usage_query import Answer, Item, Query

# Waits until a position is counted; answers whether it is.
Wait: TypeAlias = Callable[[str], Awaitable[bool]]

METRICS_MAX = 25
ALIASES_MAX = 100
GROUPS_MAX = 5
# Windows at the ends of the calendar have no borders.
_FIRST, _LAST = datetime(1900, 1, 1, tzinfo=UTC), datetime(2201, 1, 1, tzinfo=UTC)

Text = Annotated[str, Meta(min_length=1, max_length=255)]
Values = Annotated[list[Annotated[str, Meta(max_length=1_000)]], Meta(min_length=1, max_length=1_000)]
Metrics = Annotated[tuple[UUID, ...], Meta(min_length=1, max_length=METRICS_MAX)]


def routes(*, wait: Wait) -> list[web.RouteDef]:
    """The routes of this resource, below /api."""
    return [web.post("/usage/query", partial(_query, wait=wait))]


class _QueryRequest(msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    metrics: Metrics
    from_: str = msgspec.field(name="from")
    to: str
    customer_aliases: Annotated[tuple[Text, ...], Meta(min_length=1, max_length=ALIASES_MAX)] | None = None
    customer_id: UUID | None = None
    window: Window | None = None
    time_zone: str | None = None
    group_by: Annotated[tuple[Text, ...], Meta(max_length=GROUPS_MAX)] = ()
    filters: Annotated[dict[Text, Values], Meta(max_length=50)] = {}
    include_children: bool = False
    after: str | None = None


async def _query(request: web.Request, *, wait: Wait) -> web.Response:
    who = wire.principal(request)
    asked = await wire.read(request, _QueryRequest)
    # Whatever could be refused is refused before anybody waits.
    _check(asked, who)
    is_counted = asked.after is None or await wait(asked.after)
    async with (
        wire.connection(request) as conn,
        conn.transaction(isolation="repeatable_read", readonly=True),
    ):
        found = await usage_query.answer(conn, who.account, await _read(conn, asked, who))
    if is_counted:
        return wire.reply(show(found))
    return wire.reply(status.shape(error.NotCountedYet(key="after")) | show(found), 504)


def show(found: Answer) -> dict[str, Any]:
    """An answer as JSON."""
    return {"items": [_item(one) for one in found.items], "countedUpTo": ",".join(found.counted_up_to)}


def zone_of(name: str | None, *, default: ZoneInfo) -> ZoneInfo:
    """The zone that a request names, or the account's."""
    if name is None:
        return default
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as exc:
        message = "`timeZone` must be a name of the IANA database, such as Europe/London."
        raise error.InvalidValue(message, key="timeZone") from exc


def check_token(who: Principal, *, customer: UUID | None, includes_children: bool) -> None:
    """A usage token reads one customer, and those below it only if it says so."""
    if who.customer is None:
        return
    if customer != who.customer:
        raise error.ForbiddenScope("This usage token reads the usage of one customer. Send its `customerId`.")
    if includes_children and not who.includes_children:
        raise error.ForbiddenScope("This usage token reads one customer without its children.")


def _check(asked: _QueryRequest, who: Principal) -> None:
    if (asked.customer_aliases is None) == (asked.customer_id is None):
        message = "Send either `customerAliases` or `customerId`."
        raise error.InvalidValue(message, key="customerAliases")
    if asked.include_children and asked.customer_id is None:
        message = "`includeChildren` goes with `customerId`: an alias has no children."
        raise error.InvalidValue(message, key="includeChildren")
    check_token(who, customer=asked.customer_id, includes_children=asked.include_children)
    if len(set(asked.group_by)) != len(asked.group_by):
        raise error.InvalidValue("`groupBy` names a property twice. Name each once.", key="groupBy")
    if len(set(asked.metrics)) != len(asked.metrics):
        raise error.InvalidValue("`metrics` names a metric twice. Name each once.", key="metrics")
    start, end = instant.read(asked.from_, key="from"), instant.read(asked.to, key="to")
    if start >= end:
        raise error.InvalidValue("`to` must lie behind `from`: the range is half-open.", key="to")
    if asked.window is not None and not _FIRST <= start < end <= _LAST:
        message = "With `window` a range lies in the years 1900 to 2200: no event is outside of them."
        raise error.InvalidValue(message, key="window")


async def _read(conn: Connection, asked: _QueryRequest, who: Principal) -> Query:
    return Query(
        metrics=asked.metrics,
        start=instant.read(asked.from_, key="from"),
        end=instant.read(asked.to, key="to"),
        aliases=asked.customer_aliases or (),
        customer=asked.customer_id,
        includes_children=asked.include_children,
        window=asked.window,
        zone=zone_of(asked.time_zone, default=await _zone(conn, asked, who)),
        by=asked.group_by,
        filters=asked.filters,
    )


async def _zone(conn: Connection, asked: _QueryRequest, who: Principal) -> ZoneInfo:
    """The account's, which only windows need: without them the one that is remembered will do, and costs no trip."""
    if asked.window is None or asked.time_zone is not None:
        return ZoneInfo(who.time_zone)
    return await account.time_zone(conn, who.account)


def _item(one: Item) -> dict[str, Any]:
    return {
        "metricId": one.metric,
        "from": one.start,
        "to": one.end,
        "group": one.group,
        "value": number.plain(one.value),
        "eventCount": one.event_count,
    }
