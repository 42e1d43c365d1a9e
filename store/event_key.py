"""Ids of events, for ever: the table that makes a repeat a repeat.

    (account, key) -> event_no of the live version, digest of its content

Keys are claimed in the transaction that counts; there is no reservation apart from it. Sorted keys let two
aggregators that meet on the same ids wait for each other, never deadlock.
"""

from collections.abc import AsyncIterator, Collection
from typing import Self
from uuid import UUID

import msgspec
import numpy as np
from numpy.typing import NDArray

from store import copy
from store.db import Connection


class Claims(msgspec.Struct, frozen=True, eq=False):
    """Ids to claim, in the order of the primary key, each with the number and the digest it shall stand for."""

    accounts: NDArray[np.int32]
    # 16 bytes each.
    keys: NDArray[np.void]
    numbers: NDArray[np.int64]
    digests: NDArray[np.int64]

    @classmethod
    def of(cls, account: int, claims: Collection[tuple[UUID, int, int]]) -> Self:
        """Those of one account: keys, numbers, digests."""
        keys, numbers, digests = zip(*sorted(claims), strict=True)
        return cls(
            np.full(len(keys), account, np.int32),
            np.frombuffer(b"".join([key.bytes for key in keys]), KEY),
            np.array(numbers, np.int64),
            np.array(digests, np.int64),
        )

    def only(self, chosen: NDArray[np.bool_]) -> "Claims":
        """Some of them."""
        return Claims(self.accounts[chosen], self.keys[chosen], self.numbers[chosen], self.digests[chosen])


class Known(msgspec.Struct, frozen=True):
    """A claimed key that was there before: its place among the claims, and what it holds."""

    place: int
    event_no: int
    digest: int


KEY = np.dtype("V16")
_ROWS_AT_ONCE = 4_000
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


_ROW = copy.row({"account": ">i4", "key": "V16", "event_no": ">i8", "digest": ">i8"})


async def add(conn: Connection, claims: Claims) -> None:
    """Claim ids none of which was claimed before: a third of the cost. Raises UniqueViolationError if one was."""
    await conn.copy_to_table("event_key", source=_pieces(claims), columns=_COLUMNS, format="binary")


async def _pieces(claims: Claims) -> AsyncIterator[bytes]:
    """The COPY in pieces: Postgres stores one while the next is made."""
    yield copy.HEAD
    for start in range(0, len(claims.keys), _ROWS_AT_ONCE):
        some = slice(start, start + _ROWS_AT_ONCE)
        rows = _ROW.repeat(len(claims.keys[some]))
        rows["account"] = claims.accounts[some]
        rows["key"] = claims.keys[some]
        rows["event_no"] = claims.numbers[some]
        rows["digest"] = claims.digests[some]
        yield rows.tobytes()
    yield copy.END


async def claim(conn: Connection, claims: Claims, *, is_contended: bool) -> list[Known]:
    """Claim keys for their event numbers; answers those that were claimed before.

    `is_contended`: others may be correcting the same ids right now, so the known ones are locked.
    """
    columns = (
        claims.accounts.tolist(),
        claims.keys.tobytes(),
        claims.numbers.tolist(),
        claims.digests.tolist(),
    )
    status = await conn.execute(_CLAIM, *columns)
    if int(status.rpartition(" ")[2]) == len(claims.numbers):
        return []
    rows = await conn.fetch(_KNOWN_FOR_UPDATE if is_contended else _KNOWN, *columns)
    return [Known(row["place"] - 1, row["event_no"], row["digest"]) for row in rows]


async def correct(conn: Connection, claims: Claims) -> None:
    """Let known keys stand for other versions."""
    keys = [key.hex() for key in claims.keys.tolist()]
    await conn.execute(_CORRECT, claims.accounts.tolist(), keys, claims.numbers.tolist(), claims.digests.tolist())
