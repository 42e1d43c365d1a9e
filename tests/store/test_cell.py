"""Cells add up the same whether they travel as arrays or through a table of the session, and whoever else adds."""

import asyncio
import random
from collections.abc import AsyncIterator
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from store import cell
from store.cell import Cells
from store.db import Connection, Pool

# The second of them is at half past: its days begin in the middle of an hour.
ZONES = {1: ZoneInfo("Europe/Berlin"), 2: ZoneInfo("Asia/Kolkata")}
TOTALS = st.integers(-(10**37), 10**37) | st.decimals(-(10**9), 10**9, places=18)
KEYS = st.tuples(
    st.sampled_from([1, 2]), st.integers(1, 2), st.integers(1, 3), st.integers(1_920_000, 1_920_200), st.integers(0, 2)
)
DIFFERENCES = st.lists(
    st.dictionaries(KEYS, st.tuples(st.integers(0, 3), TOTALS).map(list), max_size=12), min_size=1, max_size=3
)


async def stored(conn: Connection, differences: list[Cells], *, is_contended: bool = False) -> list[tuple[Any, ...]]:
    transaction = conn.transaction()
    await transaction.start()
    for one in differences:
        await cell.merge(conn, one, zones=ZONES, is_contended=is_contended)
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
        contended = await stored(conn, differences, is_contended=True)

    assert many == few
    assert contended == few


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


@pytest.mark.parametrize("few", [-1, 60, 500])
async def test_two_who_add_to_the_same_cells_in_other_orders_wait_for_each_other(
    pool: Pool, conn: Connection, monkeypatch: pytest.MonkeyPatch, few: int
) -> None:
    monkeypatch.setattr(cell, "_FEW", few)
    keys = [(1, metric, alias, 1_920_000 + slot, 0) for metric in (1, 2) for alias in range(1, 41) for slot in (0, 99)]

    async def add(seed: int) -> None:
        for turn in range(10):
            # Some of the rows are made by one while the other adds to them.
            some = random.Random(seed * 100 + turn).sample(keys, 30 + turn * 10)  # noqa: S311
            async with pool.acquire() as own, own.transaction():
                await cell.merge(own, {key: [1, key[2]] for key in some}, zones=ZONES)

    async with asyncio.timeout(30):
        await asyncio.gather(*(add(seed) for seed in range(3)))

    for table in ("usage_slot", "usage_day"):
        assert await conn.fetchval(f"select sum(events) from {table}") == 3 * sum(range(30, 130, 10))
        assert await conn.fetchval(f"select count(*) from {table} where total <> events * alias") == 0


WAITS = "select exists (select from pg_locks where pid = $1 and not granted)"


@pytest.fixture
async def other(pool: Pool) -> AsyncIterator[Connection]:
    async with pool.acquire() as other:
        yield other


OLD, NEW = (1, 1, 1, 1_920_000, 0), (1, 1, 2, 1_920_000, 0)
# What the first of two does to a cell of (1, 10), or to none; and what then comes of (4, 40) more in both.
MEANWHILE: dict[str, tuple[Cells, list[tuple[int, int]]]] = {
    "makes it": ({NEW: [2, 20]}, [(5, 50), (6, 60)]),
    "changes it": ({OLD: [2, 20]}, [(7, 70), (4, 40)]),
    "takes it back": ({OLD: [-1, -10]}, [(4, 40), (4, 40)]),
}


@pytest.mark.parametrize("first", MEANWHILE)
@pytest.mark.parametrize("is_committed", [True, False])
async def test_a_cell_that_somebody_else_changes_meanwhile_gets_both(
    conn: Connection, other: Connection, monkeypatch: pytest.MonkeyPatch, first: str, *, is_committed: bool
) -> None:
    monkeypatch.setattr(cell, "_FEW", -1)
    async with conn.transaction():
        await cell.merge(conn, {OLD: [1, 10]}, zones=ZONES)
    differences, both = MEANWHILE[first]
    ahead = conn.transaction()
    await ahead.start()
    await cell.merge(conn, differences, zones=ZONES)

    async def follow() -> None:
        async with other.transaction():
            await cell.merge(other, {NEW: [4, 40], OLD: [4, 40]}, zones=ZONES)

    async with asyncio.timeout(30):
        following = asyncio.create_task(follow())
        while not await conn.fetchval(WAITS, other.get_server_pid()):  # noqa: ASYNC110 - the event is the server's
            await asyncio.sleep(0)
        await (ahead.commit() if is_committed else ahead.rollback())
        await following

    expected = both if is_committed else [(5, 50), (4, 40)]
    for table in ("usage_slot", "usage_day"):
        assert await conn.fetch(f"select events, total from {table} order by alias") == expected


@pytest.mark.parametrize("statement", [cell._MERGE_STAGED_SLOTS, cell._MERGE_STAGED_DAYS])
@pytest.mark.parametrize("staged", [1, 20_000])
@pytest.mark.parametrize("rows", [0, 1, 20_000])
async def test_staged_cells_are_merged_along_the_primary_key_however_many_there_are(
    conn: Connection, statement: str, staged: int, rows: int
) -> None:
    async with conn.transaction():
        await conn.execute(cell.STAGE)
        await conn.execute(
            "insert into pg_temp.cell_difference select 1, 1, alias, 1, date '2025-01-01', 0, 1, '1'"
            f" from generate_series(1, {staged}) as alias"
        )
        for table, at in (("usage_slot", "1"), ("usage_day", "date '2025-01-01'")):
            await conn.execute(
                f"insert into {table} select 1, 1, alias, {at}, 0, 1, 1 from generate_series(1, {rows}) alias"
            )
            await conn.execute(f"analyze {table}")
        await conn.execute(cell._ALONG_KEYS)
        plan = "\n".join(row[0] for row in await conn.fetch(f"explain (costs off) {statement}"))

        # The outer side of a left join that loops is the order in which rows are touched.
        assert "Nested Loop Left Join" in plan, plan
        outer, inner = plan.split("Index Scan using ")
        assert "Sort Key: cell_difference.alias, cell_difference.metric" in outer, plan
        assert inner.startswith(("usage_slot_pkey", "usage_day_pkey")), plan
        assert "Index Cond: ((alias = " in inner, plan


async def test_a_merge_leaves_the_settings_of_the_session_at_their_defaults(
    conn: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cell, "_FEW", -1)
    settings = "select name, setting from pg_settings where name like 'enable_%' or name = 'jit' order by name"
    before = await conn.fetch(settings)

    async with conn.transaction():
        await cell.merge(conn, {(1, 1, 1, 1_920_000, 0): [1, None]}, zones=ZONES)

        assert await conn.fetch(settings) == before
