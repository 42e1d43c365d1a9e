"""The history of a metric that is born after its events, folded behind its back.

    begin(conn, account, born)      in the transaction that makes a version: a short history is folded at once
    History(pool).step()            one bounded piece of the history that waits longest

The caller of `begin` has stopped counting (store/counting.py) before, so what lies below the new version's `born_no`
is everything that was ever counted, and every batch committed later sees the version. A piece moves the version's
`folded_to` in its own transaction: a process that dies leaves it where it was. Through the same fold as live events.
"""

import msgspec
import structlog

from meter import fold
from rating.metric import Metric
from store import counter, counting, event
from store.counter import Deltas
from store.counting import Counting
from store.db import Connection, Pool
from store.metric import StoredMetric

log = structlog.get_logger(__name__)

# While a piece is folded nobody counts who must know how far it is, so a piece takes a fraction of a second.
PIECE_EVENTS_MAX = 10_000
# What is folded before the answer to whoever makes the metric.
FIRST_EVENTS_MAX = 5_000


class History:
    """Folds the history of young metrics. `step` is one bounded piece; `runtime.process.serve` repeats it."""

    def __init__(self, pool: Pool, *, piece_events_max: int = PIECE_EVENTS_MAX) -> None:
        self._pool = pool
        self._piece_events_max = piece_events_max

    async def step(self) -> int:
        """Fold one piece; 0 when no history waits."""
        async with self._pool.acquire() as conn:
            if await counting.unfinished(conn) is None:
                return 0
            async with conn.transaction():
                await counting.stop_history(conn)
                # Asked again: somebody else may have folded it meanwhile.
                young = await counting.unfinished(conn)
                if young is None:
                    return 0
                account, number = young
                known = (await counting.read(conn, [account]))[account]
                [of] = [one for one in known.metrics if one.number == number]
                after = await _fold_piece(conn, account, of, known=known, limit=self._piece_events_max)
        log.info("history folded", action="fold", metric=of.id, version=of.version, complete=after.is_complete)
        return 1


async def begin(conn: Connection, account: int, born: StoredMetric) -> StoredMetric:
    """Fold the first piece of a new version's history; answers the version as it then is."""
    known = (await counting.read(conn, [account]))[account]
    after = await _fold_piece(conn, account, born.terms, known=known, limit=FIRST_EVENTS_MAX)
    return msgspec.structs.replace(born, history=msgspec.structs.replace(born.history, folded_to=after.folded_to))


async def _fold_piece(conn: Connection, account: int, of: Metric, *, known: Counting, limit: int) -> Metric:
    """Fold the next events of a version's history; answers the version as it then is."""
    events, go_on = await event.history(
        conn, account, event_type=of.event_type, start=of.folded_to, stop=of.born_no, limit=limit
    )
    after = msgspec.structs.replace(of, folded_to=of.born_no if go_on is None else go_on)
    deltas = Deltas()
    fold.fold(deltas, fold.rules([after]), account=account, events=fold.occurrences(events))
    # A quarter hour that is counted again must see this piece, and nothing behind it.
    await counter.merge(conn, deltas, counting={account: Counting(known.zone, (after,))})
    await counting.move(conn, account, metric=of.number, folded_to=after.folded_to)
    return after
