"""Sessions that keep others from counting because their client hangs, and how to end them.

    waits(conn) -> names        what such sessions wait for; whatever goes on is another wait
    evict(conn, names) -> int   ends those whose waits are still these

Postgres frees at once what the session of a dead client holds, and after a while what one holds that is silent between
two statements. No time-out of its ends the wait for the rest of a statement: of a COPY, or of one that is parsed and
not run yet. How far it has come is part of the name of the wait.
"""

from collections.abc import Collection

from store.db import Connection

# Of those who hold the lease of a stream, or the lock of all who count (store/counting.py).
_WAITS = """
select activity.pid, format('%s %s %s', activity.pid, activity.query_start, copying.bytes_processed) as wait
from pg_stat_activity activity
left join pg_stat_progress_copy copying on copying.pid = activity.pid
where activity.datname = current_database() and activity.usename = current_user
    and activity.state = 'active' and activity.wait_event = 'ClientRead'
    and exists (
        select from pg_locks where pg_locks.pid = activity.pid and granted and (
            relation = 'stream_position'::regclass and mode = 'RowShareLock'
            or locktype = 'advisory' and objsubid = 1
                and (classid::bigint << 32) | objid::bigint = hashtext('usance.counting')
        )
    )
"""

# A role may end its own backends.
_EVICT = f"""
select pg_terminate_backend(pid) from ({_WAITS}) as waiting where wait = any($1::text[])
"""  # noqa: S608 built from constants


async def waits(conn: Connection) -> list[str]:
    """The waits of those who keep others from counting."""
    return [row["wait"] for row in await conn.fetch(_WAITS)]


async def evict(conn: Connection, stale: Collection[str]) -> int:
    """End the sessions whose waits are still these; answers how many."""
    return len(await conn.fetch(_EVICT, stale))
