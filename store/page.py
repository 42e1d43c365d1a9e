"""A page of a list: where it starts, how long it is, what came of it.

Every list is ordered by `id`. Ids are UUIDv7, so that is the order of creation, and the primary key (account, id)
serves both directions. A page is cut between two ids, never by offset: rows that appear meanwhile move nothing.

    after=X, newest first   ->  id < X, read downwards
    before=X, newest first  ->  id > X, read upwards, then turned round
"""

from collections.abc import Mapping, Sequence
from typing import Generic, Protocol, TypeVar
from uuid import UUID

import msgspec


class HasId(Protocol):
    """Anything that a list can hold."""

    @property
    def id(self) -> UUID: ...


T = TypeVar("T", bound=HasId)


class Listing(msgspec.Struct, Generic[T], frozen=True):
    """One page: its items in reading order, how many there are in all, and whether the list goes on either way."""

    items: tuple[T, ...]
    total: int
    has_before: bool
    has_after: bool


class Page(msgspec.Struct, frozen=True, kw_only=True):
    """What the reader asked for. At most one of `after` and `before` is set."""

    limit: int
    is_descending: bool = True
    after: UUID | None = None
    before: UUID | None = None

    @property
    def reads_down(self) -> bool:
        return self.is_descending == (self.before is None)

    @property
    def above(self) -> UUID | None:
        return None if self.reads_down else self.after or self.before

    @property
    def below(self) -> UUID | None:
        return self.after or self.before if self.reads_down else None

    @property
    def fetch_limit(self) -> int:
        """One more than wanted: the only way to know that the list goes on."""
        return self.limit + 1

    def cut(self, found: Sequence[T], *, total: int) -> Listing[T]:
        """The page from the rows that were read with `fetch_limit`."""
        goes_on = len(found) > self.limit
        items = tuple(found[: self.limit])
        if self.before is not None:
            return Listing(items[::-1], total, has_before=goes_on, has_after=True)
        return Listing(items, total, has_before=self.after is not None, has_after=goes_on)


def both_ways(statement: str) -> Mapping[bool, str]:
    """The statement for reading down (True) and up (False): `<direction>` is the only thing that differs."""
    return {True: statement.replace("<direction>", "desc"), False: statement.replace("<direction>", "asc")}
