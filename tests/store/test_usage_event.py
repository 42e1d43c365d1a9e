"""A page of events is read along ranges of indexes, whatever the planner thinks of averages."""

import pytest

from store import usage_event
from store.db import Connection
from store.usage_event import FIRST, LAST

FIVE = list(range(1, 6))
EVENTS = 300_000
STATEMENTS = {
    "page": (usage_event._PAGE[True], [None, None, False, 21, 0, 20_000, None, None]),
    "filtered page": (usage_event._PAGE[False], [None, "rare", True, 21, 0, 20_000, None, None]),
    "stop": (usage_event._STOP[True], [20_000]),
    "alias page": (usage_event._ALIAS_PAGE[True], [FIVE, None, False, 21, 0, 4_000, None, None]),
    "filtered alias page": (usage_event._ALIAS_PAGE[False], [FIVE, "rare", True, 21, 0, 4_000, None, None]),
    "alias stop": (usage_event._ALIAS_STOP[True], [4_000, FIVE]),
}
# Every third event is of the first alias: what is true of the average is not true of it.
MANY = f"""
    create table usage_event_2025_03 partition of usage_event for values from ('2025-03-01') to ('2025-04-01');
    create table usage_event_2025_04 partition of usage_event for values from ('2025-04-01') to ('2025-05-01');
    insert into usage_alias (account, value) select account, 'a' || n from account, generate_series(1, 1000) as n;
    insert into usage_event (account, alias, event_no, event_timestamp, received_at, entry_ms, entry_sequence,
        entry_index, key, event_type, properties)
    select account, case n % 3 when 0 then 1 else 1 + n % 1000 end, n, at, at, n, 0, 0, gen_random_uuid(),
        'call', '{{}}'
    from account, generate_series(1, {EVENTS}) as n,
        lateral (select timestamptz '2025-03-01 UTC' + n * interval '15 seconds') as t (at);
    analyze;
"""


@pytest.mark.slow
@pytest.mark.usefixtures("account")
async def test_a_page_reads_ranges_of_indexes_only(conn: Connection) -> None:
    await conn.execute(MANY)
    who = await conn.fetchval("select account from account")
    edges = [FIRST.at, FIRST.number, LAST.at, LAST.number]

    for mode in ("force_custom_plan", "force_generic_plan"):
        await conn.execute(f"set plan_cache_mode = {mode}")
        for name, (statement, more) in STATEMENTS.items():
            async with conn.transaction():
                await conn.execute(usage_event._ALONG_INDEXES)
                rows = await conn.fetch(f"explain (analyze, costs off, timing off) {statement}", who, *edges, *more)
            plan = "\n".join([f"{name}, {mode}", *(row[0] for row in rows)])
            scans = [line for line in plan.splitlines() if " Scan " in line and "usage_event" in line]

            assert scans, plan
            assert all("Index" in line for line in scans), plan
            assert max(rows_of(line) for line in scans) <= 20_000, plan
            # Nothing is sorted but the rows of the page, and runs of equal instants.
            assert max([0, *(rows_of(line) for line in plan.splitlines() if "> Sort " in line)]) <= 5 * 21, plan


def rows_of(line: str) -> float:
    return float(line.partition(" rows=")[2].partition(" ")[0])
