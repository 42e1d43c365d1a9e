"""/dead-letters: what was accepted and could not be counted, with the reason; a replay counts it, or it is discarded.

What a letter holds, and how it is counted, the meter knows: the composition root hands that over.
"""

from collections.abc import Awaitable, Callable
from datetime import datetime
from functools import partial
from typing import Annotated, Any, Protocol, TypeAlias
from uuid import UUID

import msgspec
from aiohttp import web
from msgspec import Meta

from api import page, wire
from store import dead_letter
from store.account import Principal
from store.db import Connection
from store.dead_letter import DeadLetter

# The events of a letter, as far as they can be read.
Open: TypeAlias = Callable[[bytes], list[dict[str, Any]] | None]


class Replay(Protocol):
    """Counts a letter, or raises why it cannot be counted."""

    def __call__(
        self, conn: Connection, account: int | None, *, letter: UUID, now: datetime
    ) -> Awaitable[DeadLetter]: ...


class Discard(Protocol):
    """Gives a letter up, and keeps who did and why."""

    def __call__(
        self, conn: Connection, account: int | None, *, letter: UUID, by: str, reason: str, now: datetime
    ) -> Awaitable[DeadLetter]: ...


def routes(*, opened: Open, replay: Replay, discard: Discard) -> list[web.RouteDef]:
    """The routes of this resource, below /api."""
    return [
        web.get("/dead-letters", partial(_list, opened=opened)),
        web.get("/dead-letters/{id}", partial(_get, opened=opened)),
        web.post("/dead-letters/{id}/replay", partial(_replay, opened=opened, replay=replay)),
        web.delete("/dead-letters/{id}", partial(_discard, opened=opened, discard=discard)),
    ]


class _LetterQuery(page.PageQuery, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    replayed: bool | None = None
    discarded: bool | None = None


class _DiscardQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    reason: Annotated[str, Meta(min_length=1, max_length=1_000)]


async def _list(request: web.Request, *, opened: Open) -> web.Response:
    who, query = wire.principal(request), wire.read_query(request, _LetterQuery)
    async with wire.connection(request) as conn:
        found = await dead_letter.listing(
            conn, who.account, is_replayed=query.replayed, is_discarded=query.discarded, page=query.page()
        )
    return page.reply(found, lambda one: _show(one, who, opened))


async def _get(request: web.Request, *, opened: Open) -> web.Response:
    who, wanted = wire.principal(request), wire.path_id(request)
    async with wire.connection(request) as conn:
        return wire.reply(_show(await dead_letter.get(conn, who.account, letter=wanted), who, opened))


async def _replay(request: web.Request, *, opened: Open, replay: Replay) -> web.Response:
    who, wanted = wire.principal(request), wire.path_id(request)
    async with wire.connection(request) as conn:
        return wire.reply(_show(await replay(conn, who.account, letter=wanted, now=wire.now(request)), who, opened))


async def _discard(request: web.Request, *, opened: Open, discard: Discard) -> web.Response:
    who, wanted = wire.principal(request), wire.path_id(request)
    reason, now = wire.read_query(request, _DiscardQuery).reason, wire.now(request)
    async with wire.connection(request) as conn:
        found = await discard(conn, who.account, letter=wanted, by=who.client_id, reason=reason, now=now)
    return wire.reply(_show(found, who, opened))


def _show(one: DeadLetter, who: Principal, opened: Open) -> dict[str, Any]:
    return {
        "id": one.id,
        # Null: it cannot be read whose it is, so what it holds is not shown either.
        "sequenceAccountId": None if one.account is None else who.account_id,
        "stream": one.stream,
        "position": one.position,
        "index": one.index,
        "events": None if one.account is None else opened(one.content),
        "code": one.code,
        "reason": one.reason,
        "attempts": one.attempts,
        "failedAt": one.failed_at,
        "replayedAt": one.replayed_at,
        "discardedAt": one.discarded_at,
        # The client id of the key, or the user of the command line.
        "discardedBy": one.discarded_by,
        "discardReason": one.discard_reason,
    }
