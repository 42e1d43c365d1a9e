"""Dead letters: what was accepted and could not be counted, with the reason.

    NewLetter       one event, or a stream entry that cannot be taken apart, on its way into the list
    DeadLetter      the same as it is kept; it waits until it is replayed or discarded, and stays in the list afterwards

A letter knows its place in its stream, so that a replay counts it as received then, and a stream that is read again
makes no second letter of it.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import asyncpg
import msgspec

from store.db import Connection
from store.error import NotFound
from store.page import Listing, Page, both_ways
from store.stream_position import INDEXES_PER_STREAM

# The index of a letter that is a whole entry.
WHOLE = -1


class NewLetter(msgspec.Struct, frozen=True, kw_only=True):
    """What could not be counted. `order` is (milliseconds, sequence, index); `account` and `key` where known."""

    id: UUID
    account: int | None
    order: tuple[int, int, int]
    key: UUID | None
    content: bytes
    code: str
    reason: str


class DeadLetter(msgspec.Struct, frozen=True, kw_only=True):
    """A letter in the list."""

    id: UUID
    account: int | None
    stream: str
    entry_ms: int
    entry_sequence: int
    entry_index: int
    content: bytes
    code: str
    reason: str
    attempts: int
    failed_at: datetime
    replayed_at: datetime | None
    # Who wants it counted no more, since when and why.
    discarded_at: datetime | None
    discarded_by: str | None
    discard_reason: str | None

    @property
    def position(self) -> str:
        """The id of the entry that held it."""
        return f"{self.entry_ms}-{self.entry_sequence}"

    @property
    def index(self) -> int | None:
        """The event's place in its entry; None: the letter is the whole entry."""
        return None if self.entry_index == WHOLE else self.entry_index % INDEXES_PER_STREAM


# A letter may have 8 KiB and more; a message to Postgres has its limit at 1 GiB.
_LETTERS_AT_ONCE = 1_000

# Keeps letters; the unique place refuses what is in the list already. An account that is not there is no account.
_ADD = """
insert into dead_letter (id, account, stream, entry_ms, entry_sequence, entry_index, key, content, code, reason,
    failed_at)
select new.id, (select account from account where account = new.account), $1,
    entry_ms, entry_sequence, entry_index, key, content, code, reason, $11
from unnest($2::uuid[], $3::integer[], $4::bigint[], $5::bigint[], $6::integer[], $7::uuid[], $8::bytea[], $9::text[],
    $10::text[]) as new (id, account, entry_ms, entry_sequence, entry_index, key, content, code, reason)
on conflict (stream, entry_ms, entry_sequence, entry_index) do nothing
"""

# How many wait for a person, by dead_letter_waiting. What asks for dropped raw events waits for nothing.
_WAITING = """
select count(*) from dead_letter
where replayed_at is null and discarded_at is null and code <> 'RAW_EVENT_DROPPED'
"""


async def add(conn: Connection, letters: Sequence[NewLetter], *, stream: str, now: datetime) -> None:
    """Keep letters of one stream."""
    for start in range(0, len(letters), _LETTERS_AT_ONCE):
        columns = [_columns(one) for one in letters[start : start + _LETTERS_AT_ONCE]]
        await conn.execute(_ADD, stream, *zip(*columns, strict=True), now)


async def waiting(conn: Connection) -> int:
    """How many letters wait, over all accounts: their limit is the installation's."""
    found: int = await conn.fetchval(_WAITING)
    return found


_COLUMNS = """
id, account, stream, entry_ms, entry_sequence, entry_index, content, code, reason, attempts, failed_at, replayed_at,
discarded_at, discarded_by, discard_reason
"""
# An entry that nobody can read belongs to no account: everybody sees that it is there.
_MINE = "(account = $1 or account is null or $1::integer is null)"

# One letter until it is replayed or the transaction ends, by the primary key.
# ruff: noqa: S608 - built from constants
_GET_FOR_UPDATE = f"select {_COLUMNS} from dead_letter where {_MINE} and id = $2 for update"
_GET = f"select {_COLUMNS} from dead_letter where {_MINE} and id = $2"


async def get(conn: Connection, account: int | None, *, letter: UUID, for_update: bool = False) -> DeadLetter:
    """One letter; of any account where `account` is None."""
    row = await conn.fetchrow(_GET_FOR_UPDATE if for_update else _GET, account, letter)
    if row is None:
        raise NotFound(f"There is no dead letter {letter}.")
    return _letter(row)


# Lists letters, newest or oldest first, by the primary key; dead letters are few, or counting has stopped.
_LIST = both_ways(f"""
select {_COLUMNS} from dead_letter
where {_MINE} and ($2::uuid is null or id > $2) and ($3::uuid is null or id < $3)
    and ($4::boolean is null or (replayed_at is not null) = $4)
    and ($5::boolean is null or (discarded_at is not null) = $5)
order by id <direction> limit $6
""")

# How many the same filter leaves.
_COUNT = f"""
select count(*) from dead_letter
where {_MINE} and ($2::boolean is null or (replayed_at is not null) = $2)
    and ($3::boolean is null or (discarded_at is not null) = $3)
"""


async def listing(
    conn: Connection, account: int | None, *, is_replayed: bool | None, is_discarded: bool | None, page: Page
) -> Listing[DeadLetter]:
    """One page of letters; of all accounts where `account` is None."""
    wanted = (is_replayed, is_discarded)
    rows = await conn.fetch(_LIST[page.reads_down], account, page.above, page.below, *wanted, page.fetch_limit)
    return page.cut([_letter(row) for row in rows], total=await conn.fetchval(_COUNT, account, *wanted))


# The letter that an event of this id became, by dead_letter_key.
_OF_EVENT = (
    "select id from dead_letter where account = $1 and key = $2 and replayed_at is null order by id desc limit 1"
)


async def of_event(conn: Connection, account: int, *, key: UUID) -> UUID | None:
    """The letter in which the last version of an event waits; None: there is none."""
    found: UUID | None = await conn.fetchval(_OF_EVENT, account, key)
    return found


# By the primary key; the caller has locked it.
_REPLAYED = "update dead_letter set replayed_at = $2 where id = $1"
_FAILED = "update dead_letter set attempts = attempts + 1, failed_at = $2, code = $3, reason = $4 where id = $1"


async def replayed(conn: Connection, letter: UUID, *, now: datetime) -> None:
    """Say that a letter was counted, if the transaction commits."""
    await conn.execute(_REPLAYED, letter, now)


async def failed(conn: Connection, letter: UUID, *, code: str, reason: str, now: datetime) -> None:
    """Say why a letter cannot be counted still."""
    await conn.execute(_FAILED, letter, now, code, reason.replace("\0", ""))


# By the primary key; the caller has locked it.
_DISCARD = "update dead_letter set discarded_at = $2, discarded_by = $3, discard_reason = $4 where id = $1"


async def discard(conn: Connection, letter: UUID, *, by: str, reason: str, now: datetime) -> None:
    """Say that nobody waits for a letter any more, who says so and why."""
    await conn.execute(_DISCARD, letter, now, by, reason)


def _columns(one: NewLetter) -> tuple[Any, ...]:
    return one.id, one.account, *one.order, one.key, one.content, one.code, one.reason.replace("\0", "")


def _letter(row: asyncpg.Record) -> DeadLetter:
    return DeadLetter(**dict(row))
