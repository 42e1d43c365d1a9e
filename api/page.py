"""Lists in pages: `limit`, `after`, `before`, `sortOrder` in the query, `{items, pagination}` in the reply.

A cursor is opaque to the reader; inside it is the id of the row at the page's edge (store/page.py says how it is used).
"""

import base64
import binascii
from collections.abc import Callable
from typing import Annotated, Any, Literal, TypeVar
from uuid import UUID

import msgspec
from aiohttp import web

from api import error, wire
from store.page import HasId, Listing, Page

LIMIT_DEFAULT = 20
LIMIT_MAX = 100

R = TypeVar("R", bound=HasId)
Q = TypeVar("Q", bound="PageQuery")


class PageQuery(msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """The parameters that every list knows; a list's own filters are the fields of a struct below this one."""

    limit: Annotated[int, msgspec.Meta(ge=1, le=LIMIT_MAX)] = LIMIT_DEFAULT
    after: str | None = None
    before: str | None = None
    sort_order: Literal["ASC", "DESC"] = "DESC"

    def page(self) -> Page:
        """The page that is asked for."""
        if self.after is not None and self.before is not None:
            raise error.InvalidCursor("Send either `after` or `before`, not both.", key="before")
        return Page(
            limit=self.limit,
            is_descending=self.sort_order == "DESC",
            after=_position(self.after, key="after"),
            before=_position(self.before, key="before"),
        )


def reply(listing: Listing[R], show: Callable[[R], Any]) -> web.Response:
    """One page as JSON."""
    first, last = (listing.items[0].id, listing.items[-1].id) if listing.items else (None, None)
    pagination = {
        "after": cursor(last) if last and listing.has_after else None,
        "before": cursor(first) if first and listing.has_before else None,
        "totalResultSize": listing.total,
    }
    return wire.reply({"items": [show(item) for item in listing.items], "pagination": pagination})


def cursor(id_: UUID) -> str:
    """The cursor of the row with this id."""
    return base64.urlsafe_b64encode(id_.bytes).decode().rstrip("=")


def _position(text: str | None, *, key: str) -> UUID | None:
    if text is None:
        return None
    try:
        return UUID(bytes=base64.b64decode(text + "==", altchars=b"-_", validate=True))
    except (binascii.Error, ValueError) as exc:
        raise error.InvalidCursor(key=key) from exc
