"""The history of a metric that is born after its events: folded in the transaction that makes it.

The caller has stopped counting (store/metric.py) before, so what is read here is everything that was ever counted,
and every batch committed later sees the metric. Through the same fold as live events, in bounded pieces.
"""

from meter import fold
from store import counter, event, metric
from store.db import Connection
from store.metric import StoredMetric


async def fold_history(conn: Connection, account: int, born: StoredMetric) -> int:
    """Count all live events of a new version's type; answers how many there were."""
    zone = (await metric.counting(conn, [account]))[account].zone
    rules = fold.rules([born.terms])
    seen = 0
    async for events in event.history(conn, account, event_type=born.definition.event_type):
        deltas = fold.Deltas()
        fold.fold(deltas, rules, account=account, events=events)
        await counter.merge(conn, deltas.cells, deltas.members, zones={account: zone})
        seen += len(events)
    return seen
