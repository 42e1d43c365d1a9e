"""Groups: the values of a metric's `groupBy` properties, interned to integers. Number 0 is "not grouped".

A group is a JSON array of texts and nulls (rating.metric.group). Long ones are known by their hash, as members are.
"""

import hashlib
from collections.abc import Collection

from store.db import Connection

NONE = 0
# An index row has room for about 2,700 bytes. JSON of texts begins with a bracket, so it cannot look like a hash.
_VALUE_BYTES_MAX = 512

# Numbers new groups, by the unique index (account, key). Sorted, so that two aggregators cannot wait for each other.
_INSERT = """
insert into usage_group (account, key, value)
select * from unnest($1::integer[], $2::text[], $3::text[])
on conflict (account, key) do nothing
"""

# Reads the numbers, by the same index.
_FIND = """
select account, group_no, value from usage_group
join unnest($1::integer[], $2::text[]) as wanted (account, key) using (account, key)
"""

# The groups of one account's numbers, by the primary key.
_VALUES = "select group_no, value from usage_group where account = $1 and group_no = any($2::integer[])"


async def intern(conn: Connection, groups: Collection[tuple[int, str]]) -> dict[tuple[int, str], int]:
    """The numbers of (account, group) pairs; new ones are valid only if the caller's transaction commits."""
    if not groups:
        return {}
    found = await _find(conn, groups)
    if missing := sorted(set(groups) - found.keys()):
        accounts, values = zip(*missing, strict=True)
        await conn.execute(_INSERT, accounts, [_key(value) for value in values], values)
        # Read again instead of RETURNING: another aggregator may have numbered some of them meanwhile.
        found |= await _find(conn, missing)
    return found


async def values(conn: Connection, account: int, *, numbers: Collection[int]) -> dict[int, str]:
    """The groups behind these numbers."""
    if not numbers:
        return {}
    return {row["group_no"]: row["value"] for row in await conn.fetch(_VALUES, account, list(numbers))}


async def _find(conn: Connection, groups: Collection[tuple[int, str]]) -> dict[tuple[int, str], int]:
    accounts, values = zip(*groups, strict=True)
    rows = await conn.fetch(_FIND, accounts, [_key(value) for value in values])
    return {(row["account"], row["value"]): row["group_no"] for row in rows}


def _key(value: str) -> str:
    encoded = value.encode()
    return value if len(encoded) <= _VALUE_BYTES_MAX else "sha256:" + hashlib.sha256(encoded).hexdigest()
