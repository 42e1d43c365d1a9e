"""Ids of events, for ever: the table that makes a repeat a repeat.

    (account, key) -> event_no of the live version, digest of its content

An identity is both, as 4 and 16 bytes: sorted identities are in the order of the primary key.

Keys are claimed in the transaction that counts; there is no reservation apart from it. Sorted keys let two
aggregators that meet on the same ids wait for each other, never deadlock.
"""

from collections.abc import AsyncIterator, Sequence
from itertools import compress
from struct import Struct

import msgspec

from store import copy
from store.db import Connection


class Claims(msgspec.Struct, frozen=True):
    """Ids to claim, in their order, each with the number and the digest it shall stand for."""

    identities: list[bytes]
    numbers: list[int]
    digests: list[int]

    def only(self, chosen: Sequence[bool]) -> "Claims":
        """Some of them."""
        return Claims(
            list(compress(self.identities, chosen)),
            list(compress(self.numbers, chosen)),
            list(compress(self.digests, chosen)),
        )


class Known(msgspec.Struct, frozen=True):
    """A claimed key that was there before: its place among the claims, and what it holds."""

    place: int
    event_no: int
    digest: int


_ACCOUNT_BYTES = 4
_ROWS_AT_ONCE = 2_000
_COLUMNS = ("account", "key", "event_no", "digest")

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


# The number of columns, then each column as its length and its value, big-endian.
_ROW = Struct(">h" + "i4s" + "i16s" + "iq" * 2).pack(4, 4, b"", 16, b"", 8, 0, 8, 0)
# Where in a row the values stand.
_ACCOUNT_AT, _KEY_AT, _NUMBER_AT, _DIGEST_AT = 6, 14, 34, 46
_KEY_BYTES = 16


def identity(account: int, key: bytes) -> bytes:
    """Who an event is, for ever."""
    return account.to_bytes(_ACCOUNT_BYTES, "big") + key


def split(identity_: bytes) -> tuple[int, bytes]:
    """Account and key."""
    return int.from_bytes(identity_[:_ACCOUNT_BYTES], "big"), identity_[_ACCOUNT_BYTES:]


async def add(conn: Connection, claims: Claims) -> None:
    """Claim ids none of which was claimed before: a third of the cost. Raises UniqueViolationError if one was."""
    await conn.copy_to_table("event_key", source=_pieces(claims), columns=_COLUMNS, format="binary")


async def _pieces(claims: Claims) -> AsyncIterator[bytes]:
    """The COPY in pieces: Postgres stores one while the next is made."""
    yield copy.HEAD
    for start in range(0, len(claims.identities), _ROWS_AT_ONCE):
        stop = start + _ROWS_AT_ONCE
        yield _rows(claims.identities[start:stop], claims.numbers[start:stop], claims.digests[start:stop])
    yield copy.END


def _rows(identities: Sequence[bytes], numbers: Sequence[int], digests: Sequence[int]) -> bytes:
    rows, size = bytearray(_ROW * len(identities)), len(_ROW)
    joined = b"".join(identities)
    # The identities are accounts and keys in turn.
    accounts = joined[-_KEY_BYTES:] + joined[:-_KEY_BYTES]
    copy.put(rows, accounts, width=_ACCOUNT_BYTES, size=size, at=_ACCOUNT_AT, skip=_KEY_BYTES)
    copy.put(rows, joined, width=_KEY_BYTES, size=size, at=_KEY_AT, skip=_ACCOUNT_BYTES)
    copy.put(rows, copy.packed(copy.LONG, numbers), width=8, size=size, at=_NUMBER_AT)
    copy.put(rows, copy.packed(copy.LONG, digests), width=8, size=size, at=_DIGEST_AT)
    return bytes(rows)


async def claim(conn: Connection, claims: Claims, *, is_contended: bool) -> list[Known]:
    """Claim keys for their event numbers; answers those that were claimed before.

    `is_contended`: others may be correcting the same ids right now, so the known ones are locked.
    """
    accounts = [split(one)[0] for one in claims.identities]
    keys = b"".join([split(one)[1] for one in claims.identities])
    columns = (accounts, keys, claims.numbers, claims.digests)
    status = await conn.execute(_CLAIM, *columns)
    if int(status.rpartition(" ")[2]) == len(claims.numbers):
        return []
    rows = await conn.fetch(_KNOWN_FOR_UPDATE if is_contended else _KNOWN, *columns)
    return [Known(row["place"] - 1, row["event_no"], row["digest"]) for row in rows]


async def correct(conn: Connection, claims: Claims) -> None:
    """Let known keys stand for other versions."""
    accounts = [split(one)[0] for one in claims.identities]
    keys = [split(one)[1].hex() for one in claims.identities]
    await conn.execute(_CORRECT, accounts, keys, claims.numbers, claims.digests)
