"""Cells add up the same whether they travel as arrays or through a table of the session."""

from decimal import Decimal
from zoneinfo import ZoneInfo

import asyncpg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from store import cell
from store.cell import Cells
from store.db import Connection

# The second of them is at half past: its days begin in the middle of an hour.
ZONES = {1: ZoneInfo("Europe/Berlin"), 2: ZoneInfo("Asia/Kolkata")}
TOTALS = st.integers(-(10**37), 10**37) | st.decimals(-(10**9), 10**9, places=18)
KEYS = st.tuples(
    st.sampled_from([1, 2]), st.integers(1, 2), st.integers(1, 3), st.integers(1_920_000, 1_920_200), st.integers(0, 2)
)
DIFFERENCES = st.lists(
    st.dictionaries(KEYS, st.tuples(st.integers(0, 3), TOTALS).map(list), max_size=12), min_size=1, max_size=3
)


async def stored(conn: Connection, differences: list[Cells]) -> list[asyncpg.Record]:
    transaction = conn.transaction()
    await transaction.start()
    for one in differences:
        await cell.merge(conn, one, zones=ZONES)
    found = await conn.fetch("select 'slot', slot::text, * from usage_slot order by 3, 4, 5, 6, 7")
    found += await conn.fetch("select 'day', day::text, * from usage_day order by 3, 4, 5, 6, 7")
    await transaction.rollback()
    return [tuple(row.values()) for row in found]


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(differences=DIFFERENCES)
async def test_both_ways_come_to_the_same(
    conn: Connection, monkeypatch: pytest.MonkeyPatch, differences: list[Cells]
) -> None:
    with monkeypatch.context() as patched:
        few = await stored(conn, differences)
        patched.setattr(cell, "_FEW", -1)
        many = await stored(conn, differences)

    assert many == few


@pytest.mark.parametrize("few", [-1, 500])
async def test_a_cell_whose_events_were_taken_back_is_gone(
    conn: Connection, monkeypatch: pytest.MonkeyPatch, few: int
) -> None:
    monkeypatch.setattr(cell, "_FEW", few)
    kept, gone = (1, 1, 1, 1_920_000, 0), (1, 1, 1, 1_920_096, 0)

    async with conn.transaction():
        await cell.merge(conn, {kept: [1, Decimal("0.5")], gone: [2, 7]}, zones=ZONES)
    async with conn.transaction():
        await cell.merge(conn, {kept: [1, Decimal("1.5")], gone: [-2, -7]}, zones=ZONES)

    for table in ("usage_slot", "usage_day"):
        assert await conn.fetch(f"select events, total from {table}") == [(2, Decimal("2.0"))]


async def test_a_session_may_stage_again_and_again(conn: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cell, "_FEW", -1)

    for _ in range(3):
        async with conn.transaction():
            await cell.merge(conn, {(1, 1, 1, 1_920_000, 0): [1, None]}, zones=ZONES)

    assert await conn.fetchval("select sum(events) from usage_day") == 3
