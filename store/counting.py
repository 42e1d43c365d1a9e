"""When a version of a metric begins to count, and how its history follows.

Every transaction that counts holds `hold` (shared); whoever makes a version holds `stop` (exclusive) until it
commits. So what was counted before a version bears event numbers below its `born_no`, and every later batch sees the
version and bears higher ones.

History is folded in pieces, in the order of event numbers, each in a transaction of its own that moves `folded_to`.
Events between `folded_to` and `born_no` are not counted yet, so nothing of theirs is taken back, and nothing added:
whoever counts looks at those two numbers (rating.Metric has them). To know them for the whole of its transaction, a
batch of an account with unfinished history holds `hold_history`; a piece takes `stop_history`. Both are fair: who
comes later waits longer.
"""

from collections.abc import Collection
from zoneinfo import ZoneInfo

import msgspec

from rating.metric import Metric
from store import definition
from store.db import Connection


class Counting(msgspec.Struct, frozen=True):
    """What counting must know of an account: its zone, and all versions of its metrics."""

    zone: ZoneInfo
    metrics: tuple[Metric, ...]


# Shared by all who count, held until their transaction ends.
_HOLD = "select pg_advisory_xact_lock_shared(hashtext('usance.counting'))"
# Waits for all who count, and lets none begin.
_STOP = "select pg_advisory_xact_lock(hashtext('usance.counting'))"
# The same for those whose batch meets unfinished history, and for a piece of it.
_HOLD_HISTORY = "select pg_advisory_xact_lock_shared(hashtext('usance.history'))"
_STOP_HISTORY = "select pg_advisory_xact_lock(hashtext('usance.history'))"

# Everything that counts for these accounts. A deleted metric counts no more.
# ruff: noqa: S608 - built from constants
_COUNTING = f"""
select account.account, account.time_zone, version.metric, version.id, version.version, {definition.COLUMNS}
from account
left join (usage_metric_version as version join usage_metric as metric
    on metric.account = version.account and metric.id = version.id and metric.deleted_at is null)
    on version.account = account.account
where account.account = any($1::integer[])
order by version.metric
"""


async def hold(conn: Connection, accounts: Collection[int]) -> dict[int, Counting]:
    """Let no metric be born and no history move until the caller's transaction ends; answers what counts for these
    accounts. Comes before reading or writing counters.
    """
    await conn.execute(_HOLD)
    found = await read(conn, accounts)
    if all(one.is_complete for counting in found.values() for one in counting.metrics):
        return found
    await conn.execute(_HOLD_HISTORY)
    return await read(conn, accounts)


async def stop(conn: Connection) -> None:
    """Let nobody count until the caller's transaction ends. Whatever is read afterwards has all that was counted."""
    await conn.execute(_STOP)


async def stop_history(conn: Connection) -> None:
    """Let nobody count who meets unfinished history, until the caller's transaction ends."""
    await conn.execute(_HOLD)
    await conn.execute(_STOP_HISTORY)


async def read(conn: Connection, accounts: Collection[int]) -> dict[int, Counting]:
    """What counts for each of these accounts."""
    zones: dict[int, ZoneInfo] = {}
    metrics: dict[int, list[Metric]] = {account: [] for account in accounts}
    for row in await conn.fetch(_COUNTING, list(accounts)):
        zones[row["account"]] = ZoneInfo(row["time_zone"])
        if row["metric"] is not None:
            terms = definition.terms(
                definition.definition(row),
                id_=row["id"],
                version=row["version"],
                number=row["metric"],
                history=definition.history(row),
            )
            metrics[row["account"]].append(terms)
    return {account: Counting(zones[account], tuple(metrics[account])) for account in accounts}


# The version that waits longest for its history, by usage_metric_version_unfolded; nobody reads a deleted one's.
_UNFINISHED = """
select version.account, version.metric
from usage_metric_version as version
join usage_metric as metric on metric.account = version.account and metric.id = version.id
where version.folded_to < version.born_no and metric.deleted_at is null
order by version.created_at, version.metric limit 1
"""

# Moves the border between what is folded and what is not, by the primary key.
_MOVE = "update usage_metric_version set folded_to = $3 where account = $1 and metric = $2"


async def unfinished(conn: Connection) -> tuple[int, int] | None:
    """Account and number of a version whose history is not folded to its end."""
    row = await conn.fetchrow(_UNFINISHED)
    return None if row is None else (row["account"], row["metric"])


async def move(conn: Connection, account: int, *, metric: int, folded_to: int) -> None:
    """Say that history is folded up to this event number, if the transaction commits."""
    await conn.execute(_MOVE, account, metric, folded_to)
