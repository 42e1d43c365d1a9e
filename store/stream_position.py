"""How far each stream is counted. The row is the lease too: whoever holds its lock counts, a dead process frees it by
itself.

Positions are stream entry ids, "milliseconds-sequence"; everything up to and including them is counted.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime

import msgspec

from store.db import Connection

START = "0-0"
# More events than an entry can hold; 1,024 times that is an integer of Postgres.
INDEXES_PER_STREAM = 1 << 20

# A stream that nobody has counted yet starts before its first entry.
_ENSURE = "insert into stream_position (stream) select unnest($1::text[]) on conflict (stream) do nothing"

# Shared: a batch that is begun and the one before it are one aggregator's.
_BEGIN_AHEAD = "select pg_advisory_xact_lock_shared(hashtext('usance.ahead'), hashtext($1))"

# The lease: a locked row is somebody else's and is skipped, by the primary key; so is one behind which somebody else
# has begun. With it, which server and database this is: after a crash, a failover or a restore the numbers that were
# learnt before may mean nothing.
_LOCK = """
select position,
    format('%s %s', pg_postmaster_start_time(), (select oid from pg_database where datname = current_database()))
        as incarnation,
    (select count(*) from stream_position) > 1 as is_one_of_many
from stream_position
where stream = $1 and not exists (
    select from pg_locks
    where locktype = 'advisory' and objsubid = 2 and granted and pid <> pg_backend_pid()
        and database = (select oid from pg_database where datname = current_database())
        and classid = hashtext('usance.ahead')::oid and objid = hashtext($1)::oid
)
for update skip locked
"""

# The lease, whoever has it now.
_WAIT = "select position from stream_position where stream = $1 for update"

_MOVE = "update stream_position set position = $2, moved_at = $3 where stream = $1"

# All of them: there are as many rows as streams.
_READ = "select stream, position from stream_position"


class Lease(msgspec.Struct, frozen=True):
    """A stream that is ours until the transaction ends: how far it is counted, and in which life of the database."""

    position: str
    incarnation: str
    # Whether there ever was another stream: this process's settings may not know yet, or no longer.
    is_one_of_many: bool = False


def order(position: str) -> tuple[int, int]:
    """A position as numbers that compare."""
    milliseconds, sequence = position.split("-")
    return int(milliseconds), int(sequence)


def after(position: str) -> str:
    """The smallest id above a position."""
    milliseconds, sequence = order(position)
    return f"{milliseconds}-{sequence + 1}"


def first_index(stream: str) -> int:
    """Where the indexes of a stream's events begin.

    Entries of several streams can bear the same id, and one event must not stand where another does: so what was
    received at the same moment is in the order of the streams.
    """
    return int(stream[stream.index("{") + 1 : -1]) * INDEXES_PER_STREAM


async def ensure(conn: Connection, streams: Sequence[str]) -> None:
    """Make the rows of new streams."""
    await conn.execute(_ENSURE, streams)


async def begin_ahead(conn: Connection, stream: str) -> None:
    """Say that what follows is begun in the caller's transaction, by whoever has the lease."""
    await conn.execute(_BEGIN_AHEAD, stream)


async def lock(conn: Connection, stream: str) -> Lease | None:
    """Take the lease until the transaction ends. None: somebody else has it, or has begun with what follows."""
    row = await conn.fetchrow(_LOCK, stream)
    return Lease(row["position"], row["incarnation"], row["is_one_of_many"]) if row else None


async def wait(conn: Connection, stream: str) -> str:
    """Wait for the lease, and hold it until the transaction ends; answers how far the stream is counted.

    A stream that nobody counted has no lease.
    """
    position: str | None = await conn.fetchval(_WAIT, stream)
    return position or START


async def move(conn: Connection, stream: str, *, position: str, now: datetime) -> None:
    """Say that everything up to this entry is counted, if the transaction commits."""
    await conn.execute(_MOVE, stream, position, now)


async def read(conn: Connection) -> Mapping[str, str]:
    """The committed position of every stream."""
    return {row["stream"]: row["position"] for row in await conn.fetch(_READ)}
