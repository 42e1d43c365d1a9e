"""The history of ids that were sent more than once: what was received, in the order of receipt.

    Item    one thing that happened to an id: a version, a repeat of one, or a cancellation

An id that was sent once has no history here; its one raw row says the same. Versions are kept for ever, as ids are.
Repeats are kept until nothing that was received before them can arrive any more (meter/repeat.py), so a client that
sends the same again and again costs no room.
"""

from collections import defaultdict
from collections.abc import Collection, Mapping
from uuid import UUID

import msgspec

from store import backfill
from store.db import Connection

# What stands in place of a digest of content.
CANCELLATION = 0


class Item(msgspec.Struct, frozen=True):
    """`event_no`: the raw row with this content, which a repeat shares. None: a cancellation.

    `untimed_at`: when content without a timestamp of the sender's was received, in microseconds since 1970.
    """

    order: tuple[int, int, int]
    event_no: int | None
    digest: int
    untimed_at: int | None = None


# Read when an id comes again with something else, by the primary key.
_READ = """
select account, key, entry_ms, entry_sequence, entry_index, event_no, digest, untimed_at
from event_version join unnest($1::integer[], $2::uuid[]) as wanted (account, key) using (account, key)
order by account, key, entry_ms, entry_sequence, entry_index
"""

# A stream that is read again after a restore brings the same items again; by the primary key.
_ADD = """
insert into event_version (account, key, entry_ms, entry_sequence, entry_index, event_no, digest, untimed_at)
select account, key, entry_ms, entry_sequence, entry_index, event_no, digest, untimed_at
from unnest($1::integer[], $2::uuid[], $3::bigint[], $4::bigint[], $5::integer[], $6::bigint[], $7::bigint[],
    $8::bigint[]) as item (account, key, entry_ms, entry_sequence, entry_index, event_no, digest, untimed_at)
on conflict (account, key, entry_ms, entry_sequence, entry_index) do nothing
"""


# Whether something that was received before a place may still be counted: a dead letter, or a backfill that is closing.
# By dead_letter_waiting and usage_backfill_waiting, both nearly always empty.
_IS_OPEN = """
select exists (select from dead_letter where replayed_at is null and discarded_at is null
        and code <> 'RAW_EVENT_DROPPED' and (entry_ms, entry_sequence) <= ($1, $2))
    or exists (select from usage_backfill where state = 'CLOSING' and (entry_ms, entry_sequence + $3) < ($1, $2))
"""


async def is_open(conn: Connection, *, before: tuple[int, int]) -> bool:
    """Whether the order of receipt up to this place may still be filled, apart from what the streams hold."""
    found: bool = await conn.fetchval(_IS_OPEN, *before, backfill.PIECES_MAX)
    return found


async def read(conn: Connection, ids: Collection[tuple[int, UUID]]) -> Mapping[tuple[int, UUID], list[Item]]:
    """The items of (account, key) pairs, in the order of receipt."""
    found: defaultdict[tuple[int, UUID], list[Item]] = defaultdict(list)
    if ids:
        for row in await conn.fetch(_READ, *zip(*sorted(ids), strict=True)):
            order = (row["entry_ms"], row["entry_sequence"], row["entry_index"])
            found[row["account"], row["key"]].append(Item(order, row["event_no"], row["digest"], row["untimed_at"]))
    return found


async def add(conn: Connection, items: Collection[tuple[int, UUID, Item]]) -> None:
    """Append items of (account, key) pairs."""
    if items:
        rows = sorted(
            ((account, key, *one.order, one.event_no, one.digest, one.untimed_at) for account, key, one in items),
            key=lambda row: row[:5],
        )
        await conn.execute(_ADD, *zip(*rows, strict=True))


# How far repeats are forgotten; whoever holds it forgets the next ones.
_FORGOTTEN = "select entry_ms from event_version_forgotten for update skip locked"

# An instant before which nothing is counted any more that is not in the streams: by dead_letter_waiting and
# usage_backfill_waiting, both nearly always empty.
_SETTLED = """
select least($1, (select min(entry_ms) from dead_letter where replayed_at is null),
    (select min(entry_ms) from usage_backfill where state = 'CLOSING'))
"""

# Where a piece ends, by event_version_entry; what shares a millisecond stays together.
_PIECE = """
select entry_ms + 1 from event_version where entry_ms >= $1 and entry_ms < $2 order by entry_ms offset $3 limit 1
"""

# Repeats of what comes right before them, and cancellations of what is cancelled. What stands before does not go with a
# backfill; and nothing can come between any more. By event_version_entry and the primary key.
_FORGET = """
with touched as (
    select distinct account, key from event_version where entry_ms >= $1 and entry_ms < $2
), walked as (
    select account, key, entry_ms, entry_sequence, entry_index,
        event_no is null and lag(event_no is null) over received
            and lag(entry_sequence) over received < $3
        or event_no = lag(event_no) over contents and lag(entry_sequence) over contents < $3 as is_repeat
    from event_version join touched using (account, key)
    window received as (partition by account, key order by entry_ms, entry_sequence, entry_index),
        contents as (
            partition by account, key, event_no is null order by entry_ms, entry_sequence, entry_index)
)
delete from event_version as item using walked
where walked.is_repeat and walked.entry_ms >= $1 and walked.entry_ms < $2
    and (item.account, item.key, item.entry_ms, item.entry_sequence, item.entry_index)
    = (walked.account, walked.key, walked.entry_ms, walked.entry_sequence, walked.entry_index)
"""

_MOVE_FORGOTTEN = "update event_version_forgotten set entry_ms = $1"


async def forget_repeats(conn: Connection, *, before_ms: int, items_max: int) -> int:
    """Forget repeats that can decide nothing any more, a piece at a time; answers how many items were looked at, about.

    Everything that streams received before that millisecond is counted. Call it in a transaction.
    """
    start: int | None = await conn.fetchval(_FORGOTTEN)
    if start is None:
        # Somebody else is at it.
        return 0
    settled: int = await conn.fetchval(_SETTLED, before_ms)
    stop: int | None = await conn.fetchval(_PIECE, start, settled, items_max - 1)
    end = settled if stop is None else min(stop, settled)
    if end <= start:
        return 0
    await conn.execute(_FORGET, start, end, backfill.SEQUENCE_BASE)
    await conn.execute(_MOVE_FORGOTTEN, end)
    return 0 if stop is None else items_max
