"""Ids of events, for ever: the table that makes a repeat a repeat.

    (account, key) -> event_no of the live version, digest of its content

Keys are claimed in the transaction that counts; there is no reservation apart from it. Sorted keys let two
aggregators that meet on the same ids wait for each other, never deadlock.
"""

import msgspec

from store.db import Connection


class Claims(msgspec.Struct, frozen=True):
    """Keys to claim, as columns, sorted by (account, key). `keys` joins 16 bytes each."""

    accounts: list[int]
    keys: bytes
    numbers: list[int]
    digests: list[int]


class Known(msgspec.Struct, frozen=True):
    """A claimed key that was there before: its place among the claims, and what it holds."""

    place: int
    event_no: int
    digest: int


# One bytea cut up here is cheaper than an array of UUIDs.
_CLAIMS = """
select account, encode(substring($2::bytea from (16 * (place::integer - 1)) + 1 for 16), 'hex')::uuid as key,
    event_no, digest, place
from unnest($1::integer[], $3::bigint[], $4::bigint[]) with ordinality as claim (account, event_no, digest, place)
"""

# Claims what is new, by the primary key; the number of rows says whether anything was known.
# ruff: noqa: S608 - built from constants
_CLAIM = f"""
insert into event_key (account, key, event_no, digest)
select account, key, event_no, digest from ({_CLAIMS}) as claim
on conflict (account, key) do nothing
"""

# Finds what was known, by the primary key: numbers are given once, so a number of another batch was there before.
_KNOWN = f"""
select claim.place, event_key.event_no, event_key.digest
from ({_CLAIMS}) as claim join event_key using (account, key)
where event_key.event_no <> claim.event_no
order by claim.place
"""
# The same, so that nobody else decides about these ids until the transaction ends.
_KNOWN_FOR_UPDATE = f"{_KNOWN} for update of event_key"

# Points keys at a corrected version, by the primary key.
_CORRECT = """
update event_key set event_no = new.event_no, digest = new.digest
from unnest($1::integer[], $2::uuid[], $3::bigint[], $4::bigint[]) as new (account, key, event_no, digest)
where event_key.account = new.account and event_key.key = new.key
"""


async def claim(conn: Connection, claims: Claims, *, is_contended: bool) -> list[Known]:
    """Claim keys for their event numbers; answers those that were claimed before.

    `is_contended`: others may be correcting the same ids right now, so the known ones are locked.
    """
    columns = (claims.accounts, claims.keys, claims.numbers, claims.digests)
    status = await conn.execute(_CLAIM, *columns)
    if int(status.rpartition(" ")[2]) == len(claims.numbers):
        return []
    rows = await conn.fetch(_KNOWN_FOR_UPDATE if is_contended else _KNOWN, *columns)
    return [Known(row["place"] - 1, row["event_no"], row["digest"]) for row in rows]


async def correct(conn: Connection, claims: Claims) -> None:
    """Let known keys stand for other versions."""
    keys = [claims.keys[start : start + 16].hex() for start in range(0, len(claims.keys), 16)]
    await conn.execute(_CORRECT, claims.accounts, keys, claims.numbers, claims.digests)
