"""Amounts of single events: how many events of a question counted how much.

    amounts(conn, account, questions) -> [{Decimal("25"): 1, Decimal("750"): 2}, ...]     in the order of the questions

Counters know sums only; prices that bound the fee of each event need every event's own amount. So raw events are read,
grouped by equal properties by the database, and counted with the metric's own rule. In the snapshot of `usage.measure`
both say the same.
"""

from collections.abc import Mapping, Sequence
from decimal import Decimal

from rating import metric
from store import usage_alias
from store.db import Connection
from store.usage import Question

# Rows that travel together from a cursor: the events of a month need not fit into memory.
_ROWS_AT_ONCE = 5_000

# Raw events of whole ranges, by usage_event_alias_time.
_EVENTS = """
select part.question, found.properties, found.events
from unnest($2::integer[], $3::text[], $4::integer[], $5::timestamptz[], $6::timestamptz[])
    as part (question, event_type, alias, start, stop),
lateral (
    select properties, count(*) as events from usage_event
    where account = $1 and alias = part.alias and event_timestamp >= part.start and event_timestamp < part.stop
        and event_type = part.event_type and state = 'live'
    group by properties
) as found
"""


async def amounts(conn: Connection, account: int, questions: Sequence[Question]) -> list[dict[Decimal, int]]:
    """Answer the questions, in their order. Call inside a transaction."""
    found: list[dict[Decimal, int]] = [{} for _ in questions]
    names = sorted({segment.alias for question in questions for segment in question.segments})
    if not names:
        return found
    aliases = await usage_alias.numbers(conn, account, aliases=names)
    columns = _columns(questions, aliases)
    async for row in conn.cursor(_EVENTS, account, *columns, prefetch=_ROWS_AT_ONCE):
        of, counts = questions[row["question"]].metric, found[row["question"]]
        counted = metric.counted(of, metric.decode_properties(row["properties"]))
        if isinstance(counted, int | Decimal):
            amount = Decimal(counted)
            counts[amount] = counts.get(amount, 0) + row["events"]
    return found


def _columns(questions: Sequence[Question], aliases: Mapping[str, int]) -> tuple[list[object], ...]:
    parts = [
        (index, question.metric.event_type, aliases[segment.alias], segment.start, segment.end)
        for index, question in enumerate(questions)
        for segment in question.segments
        if segment.alias in aliases
    ]
    return tuple([list(column) for column in zip(*parts, strict=True)] or [[], [], [], [], []])
