"""The history of ids that were sent more than once: what was received, in the order of receipt.

    Item    one thing that happened to an id: a version, a repeat of one, or a cancellation

An id that was sent once has no history here; its one raw row says the same. Kept for ever, as ids are.
"""

from collections import defaultdict
from collections.abc import Collection, Mapping
from uuid import UUID

import msgspec

from store.db import Connection

# What stands in place of a digest of content.
CANCELLATION = 0


class Item(msgspec.Struct, frozen=True):
    """`event_no`: the raw row with this content, which a repeat shares. None: a cancellation."""

    order: tuple[int, int, int]
    event_no: int | None
    digest: int


# Read when an id comes again with something else, by the primary key.
_READ = """
select account, key, entry_ms, entry_sequence, entry_index, event_no, digest
from event_version join unnest($1::integer[], $2::uuid[]) as wanted (account, key) using (account, key)
order by account, key, entry_ms, entry_sequence, entry_index
"""

# A stream that is read again after a restore brings the same items again; by the primary key.
_ADD = """
insert into event_version (account, key, entry_ms, entry_sequence, entry_index, event_no, digest)
select account, key, entry_ms, entry_sequence, entry_index, event_no, digest
from unnest($1::integer[], $2::uuid[], $3::bigint[], $4::bigint[], $5::integer[], $6::bigint[], $7::bigint[])
    as item (account, key, entry_ms, entry_sequence, entry_index, event_no, digest)
on conflict (account, key, entry_ms, entry_sequence, entry_index) do nothing
"""


async def read(conn: Connection, ids: Collection[tuple[int, UUID]]) -> Mapping[tuple[int, UUID], list[Item]]:
    """The items of (account, key) pairs, in the order of receipt."""
    found: defaultdict[tuple[int, UUID], list[Item]] = defaultdict(list)
    if ids:
        for row in await conn.fetch(_READ, *zip(*sorted(ids), strict=True)):
            order = (row["entry_ms"], row["entry_sequence"], row["entry_index"])
            found[row["account"], row["key"]].append(Item(order, row["event_no"], row["digest"]))
    return found


async def add(conn: Connection, items: Collection[tuple[int, UUID, Item]]) -> None:
    """Append items of (account, key) pairs."""
    if items:
        rows = sorted((account, key, *one.order, one.event_no, one.digest) for account, key, one in items)
        await conn.execute(_ADD, *zip(*rows, strict=True))
