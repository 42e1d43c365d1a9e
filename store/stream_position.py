"""How far each stream is counted. The row is the lease too: whoever holds its lock counts, a dead process frees it by
itself.

Positions are stream entry ids, "milliseconds-sequence"; everything up to and including them is counted.
"""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime

import msgspec

from store.db import Connection

START = "0-0"
# More events than an entry can hold; 1,024 times that is an integer of Postgres.
INDEXES_PER_STREAM = 1 << 20

# A stream that nobody has counted yet starts before its first entry.
_ENSURE = "insert into stream_position (stream) select unnest($1::text[]) on conflict (stream) do nothing"

# The lease: a locked row is somebody else's and is skipped, by the primary key. With it, which server and database
# this is: after a crash, a failover or a restore the numbers that were learnt before may mean nothing.
_LOCK = """
select position,
    format('%s %s', pg_postmaster_start_time(), (select oid from pg_database where datname = current_database()))
        as incarnation,
    (select count(*) from stream_position) > 1 as is_one_of_many
from stream_position where stream = $1 for update skip locked
"""

# Who holds leases and waits for its client in the middle of a statement: a COPY, or one that is parsed and not run yet.
# No time-out of Postgres ends such a wait. How far a statement has come is part of the name of the wait.
_WAITS = """
select activity.pid, format('%s %s %s', activity.pid, activity.query_start, copying.bytes_processed) as wait
from pg_stat_activity activity
join pg_locks on pg_locks.pid = activity.pid
left join pg_stat_progress_copy copying on copying.pid = activity.pid
where pg_locks.relation = 'stream_position'::regclass and pg_locks.mode = 'RowShareLock' and pg_locks.granted
    and activity.datname = current_database() and activity.usename = current_user
    and activity.state = 'active' and activity.wait_event = 'ClientRead'
"""

# Those whose waits are still the same; a role may end its own backends.
_EVICT = f"""
select pg_terminate_backend(pid) from ({_WAITS}) as waiting where wait = any($1::text[])
"""  # noqa: S608 built from constants

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


async def lock(conn: Connection, stream: str) -> Lease | None:
    """Take the lease until the transaction ends. None: somebody else has it."""
    row = await conn.fetchrow(_LOCK, stream)
    return Lease(row["position"], row["incarnation"], row["is_one_of_many"]) if row else None


async def waits(conn: Connection) -> list[str]:
    """The waits of sessions that hold leases and owe the rest of a statement; one that goes on is another wait."""
    return [row["wait"] for row in await conn.fetch(_WAITS)]


async def evict(conn: Connection, stale: Collection[str]) -> int:
    """End the sessions whose waits are still these; answers how many."""
    return len(await conn.fetch(_EVICT, stale))


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
