"""Due schedules: claimed once whoever asks, moved on or set aside, and one bad row never stops the others."""

from datetime import UTC, date, datetime, timedelta

import pytest

from store import due
from store.account import Principal
from store.db import Connection, Pool
from store.due import Move
from tests.store.rows import kept_schedule

NOW = datetime(2025, 3, 10, 12, tzinfo=UTC)


async def claimed(conn: Connection, *, now: datetime = NOW, limit: int = 10) -> list[due.StoredSchedule]:
    async with conn.transaction():
        return await due.claim(conn, now=now, limit=limit)


async def test_what_is_due_is_claimed_the_longest_waiting_first(conn: Connection, account: Principal) -> None:
    newer, _ = await kept_schedule(conn, account, start="2025-02-01")
    older, fee = await kept_schedule(conn, account, start="2025-01-01", end="2025-06-30", particulars={"memo": "M"})
    await kept_schedule(conn, account, start="2025-03-11")

    found = await claimed(conn)

    assert [one.id for one in found] == [older.id, newer.id]
    assert found[0].terms.phases[0].prices == (fee.terms,)
    assert (found[0].terms.end, found[0].bill_date) == (date(2025, 7, 1), date(2025, 1, 1))
    assert (found[0].account, found[0].customer) == (account.account, older.customer)
    assert found[0].particulars == {"memo": "M"}


async def test_a_claim_has_its_limit(conn: Connection, account: Principal) -> None:
    for _ in range(3):
        await kept_schedule(conn, account)

    assert len(await claimed(conn, limit=2)) == 2


async def test_what_another_run_holds_is_skipped(pool: Pool, account: Principal) -> None:
    async with pool.acquire() as one, pool.acquire() as other:
        await kept_schedule(one, account)
        await kept_schedule(one, account)
        async with one.transaction():
            first = await due.claim(one, now=NOW, limit=1)
            second = await claimed(other)

    assert {first[0].id, second[0].id} == {first[0].id} | {second[0].id}
    assert (len(first), len(second)) == (1, 1)


async def test_a_schedule_that_moves_on_is_due_again_on_its_day(conn: Connection, account: Principal) -> None:
    made, _ = await kept_schedule(conn, account)
    await conn.execute("update account set time_zone = 'America/New_York'")

    await due.advance(conn, [Move(account=account.account, id=made.id, next_bill_date=date(2025, 4, 1))], now=NOW)

    midnight = datetime(2025, 4, 1, 4, tzinfo=UTC)
    assert not await due.is_due(conn, now=midnight - timedelta(microseconds=1))
    assert await due.is_due(conn, now=midnight)


async def test_a_schedule_that_is_over_is_never_due_again(conn: Connection, account: Principal) -> None:
    made, _ = await kept_schedule(conn, account)

    await due.advance(conn, [Move(account=account.account, id=made.id, next_bill_date=None)], now=NOW)

    assert not await due.is_due(conn, now=NOW + timedelta(days=10_000))


async def test_a_parked_schedule_comes_back_when_its_time_comes(conn: Connection, account: Principal) -> None:
    made, _ = await kept_schedule(conn, account)
    until = NOW + timedelta(hours=1)

    await due.park(conn, [(account.account, made.id)], reason="WHY", detail="because", until=until)

    assert not await due.is_due(conn, now=NOW)
    assert await claimed(conn) == []
    assert [one.id for one in await claimed(conn, now=until)] == [made.id]


async def test_moving_on_clears_why_it_was_parked(conn: Connection, account: Principal) -> None:
    made, _ = await kept_schedule(conn, account)
    await due.park(conn, [(account.account, made.id)], reason="WHY", detail="because", until=NOW)

    await due.advance(conn, [Move(account=account.account, id=made.id, next_bill_date=date(2025, 2, 1))], now=NOW)

    row = await conn.fetchrow("select parked_reason, parked_detail, parked_until from billing_schedule")
    assert row is not None
    assert list(row.values()) == [None, None, None]


async def test_a_schedule_that_cannot_be_read_is_parked_and_the_others_are_claimed(
    conn: Connection, account: Principal
) -> None:
    good, _ = await kept_schedule(conn, account)
    bad, fee = await kept_schedule(conn, account)
    await conn.execute("""update price set structure = '{"pricingType": "GONE"}' where id = $1""", fee.id)

    found = await claimed(conn)

    assert [one.id for one in found] == [good.id]
    row = await conn.fetchrow("select parked_reason, parked_until from billing_schedule where id = $1", bad.id)
    assert row is not None
    assert (row["parked_reason"], row["parked_until"]) == ("UNREADABLE_TERMS", NOW + due.UNREADABLE_RETRY)


@pytest.mark.parametrize(
    "change", ["is_draft = true, next_bill_date = null, next_bill_at = null", "archived_at = now()"]
)
async def test_drafts_and_archived_schedules_are_not_due(conn: Connection, account: Principal, change: str) -> None:
    await kept_schedule(conn, account)
    await conn.execute(f"update billing_schedule set {change}")

    assert not await due.is_due(conn, now=NOW)


async def test_asking_whether_anything_is_due_reads_an_index_only(conn: Connection, account: Principal) -> None:
    made, _ = await kept_schedule(conn, account)
    await conn.execute(
        "insert into billing_schedule (account, id, customer, is_draft, start_date, auto_issue, particulars, "
        "next_bill_date, next_bill_at, parked_reason, parked_until, created_at, updated_at) "
        "select account, gen_random_uuid(), customer, false, start_date, false, '{}', start_date, now(), 'X', "
        "'2030-01-01', now(), now() from billing_schedule, generate_series(1, 5000) where id = $1",
        made.id,
    )
    await conn.execute("analyze billing_schedule")

    plan = "\n".join(row[0] for row in await conn.fetch(f"explain {due._CLAIM}", NOW, 100))

    assert "billing_schedule_due" in plan
    assert "Seq Scan" not in plan
