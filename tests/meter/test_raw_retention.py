"""Raw events that are dropped: what was counted stays, and what only they could tell is refused, never guessed."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from redis.asyncio import Redis

from meter import timestamp
from meter.aggregate import Aggregator
from runtime.settings import Settings
from store import metric as metrics
from store import partition
from store.account import Principal
from store.db import Connection, Pool
from store.metric import StoredMetric
from tests import company
from tests.backfill import Loading
from tests.server import Clock, Server, serving
from tests.usage import accept, aggregator, at, called, definition, differences, drain, make_metric, measured, used
from usance.loop import Servers

JANUARY, FEBRUARY, MARCH = at("2025-01-20"), at("2025-02-20"), at("2025-03-10T12:00")
YEAR = {"start": "2025-01-01", "end": "2026-01-01"}
OLD = "2025-01-10T10:07:00Z"


@pytest.fixture
def keeping(pool: Pool, redis: Redis) -> Aggregator:
    """Keeps the events of one whole month and of this one."""
    return aggregator(pool, redis, raw_event_retention_months=1)


@pytest.fixture
async def tokens(
    counting: Aggregator, keeping: Aggregator, conn: Connection, redis: Redis, account: Principal
) -> StoredMetric:
    """A SUM over events of January, which are dropped, and of February, which are kept."""
    of = await make_metric(conn, account, definition("SUM", "tokens", group_by=("model",)), name="tokens")
    old = called("old", when=OLD, tokens=1, model="small")
    taken_back = called("taken", when=OLD, tokens=500)
    await accept(redis, account, old, called("older", when=OLD, tokens=2), taken_back, now=JANUARY)
    await accept(redis, account, called("taken", when=OLD, tokens=4), now=JANUARY)
    await drain(counting, JANUARY)
    # Received in February, of January.
    await accept(redis, account, called("late", when="2025-01-10T10:08:00Z", tokens=8), now=FEBRUARY)
    await accept(redis, account, called("new", when="2025-02-10T10:07:00Z", tokens=16, model="small"), now=FEBRUARY)
    await drain(counting, FEBRUARY)
    assert await drain(keeping, MARCH) == 0
    return of


@pytest.fixture
async def reader(pool: Pool, redis: Redis, conn: Connection, account: Principal, clock: Clock) -> AsyncIterator[Server]:
    async with serving(Servers(pool, redis), conn=conn, account=account, clock=clock) as server:
        yield server


async def names(conn: Connection) -> list[str]:
    rows = await conn.fetch("select customer_event_id as name from usage_event order by 1")
    return [row["name"] for row in rows]


async def letters(conn: Connection) -> list[str]:
    return [row["code"] for row in await conn.fetch("select code from dead_letter order by id")]


async def test_whole_months_go_and_what_was_counted_stays(
    conn: Connection, account: Principal, tokens: StoredMetric
) -> None:
    assert await names(conn) == ["late", "new"]
    assert await measured(conn, account, tokens, **YEAR) == used("31", 5)
    assert await conn.fetchval("select count(*) from event_key") == 5
    assert await partition.kept_from(conn) == at("2025-02-01T00:05")
    assert await differences(conn) == []


@pytest.mark.usefixtures("tokens")
async def test_what_is_missing_of_what_is_kept_is_still_seen(conn: Connection) -> None:
    await conn.execute("delete from usage_event where customer_event_id = 'new'")

    # The key, the quarter hour and the day.
    assert len(await differences(conn)) == 3


async def test_raw_events_stay_for_ever_unless_a_setting_says_otherwise(
    counting: Aggregator, conn: Connection, redis: Redis, account: Principal
) -> None:
    await accept(redis, account, called("a", when="2010-01-01T00:00:00Z"), now=at("2010-01-01"))
    await drain(counting, at("2010-01-01"))

    await drain(counting, MARCH)

    assert (Settings().raw_event_retention_months, await names(conn)) == (None, ["a"])
    assert await partition.kept_from(conn) is None


def test_no_event_is_further_ahead_of_its_receipt_than_the_border_says() -> None:
    assert partition.AHEAD_MAX == timestamp.AHEAD_MAX


async def test_several_months_go_in_one_day_and_this_one_never(
    counting: Aggregator, conn: Connection, redis: Redis, account: Principal, keeping: Aggregator
) -> None:
    for month in ("2024-11", "2024-12", "2025-01", "2025-02", "2025-03"):
        await accept(redis, account, called(month, when=f"{month}-01T00:00:00Z"), now=at(f"{month}-05"))
        await drain(counting, at(f"{month}-05"))

    await drain(keeping, MARCH)

    assert await names(conn) == ["2025-02", "2025-03"]
    assert await partition.kept_from(conn) == at("2025-02-01T00:05")
    assert await differences(conn) == []


@pytest.mark.slow
async def test_a_table_that_is_busy_is_left_alone_until_another_day(
    counting: Aggregator, conn: Connection, pool: Pool, redis: Redis, account: Principal, keeping: Aggregator
) -> None:
    await accept(redis, account, called("a", when=OLD), now=JANUARY)
    await drain(counting, JANUARY)
    await accept(redis, account, called("b"), now=MARCH)
    async with pool.acquire() as other, other.transaction():
        await other.execute("select from usage_event")

        assert await drain(keeping, MARCH) == 1
        assert await names(conn) == ["a", "b"]
    await drain(keeping, at("2025-03-11"))

    assert await names(conn) == ["b"]
    assert await conn.fetchval("select to_regclass('usage_event_2025_05') is not null")


async def test_a_metric_that_counts_its_history_keeps_every_month(
    counting: Aggregator, conn: Connection, redis: Redis, account: Principal, keeping: Aggregator
) -> None:
    calls = await make_metric(conn, account)
    await accept(redis, account, called("a", when=OLD), now=JANUARY)
    await drain(counting, JANUARY)
    await conn.execute("update usage_metric_version set folded_to = 0, born_no = 1::bigint << 40")

    await drain(keeping, MARCH)
    assert await names(conn) == ["a"]
    await conn.execute("update usage_metric_version set folded_to = born_no where metric = $1", calls.number)
    await drain(keeping, at("2025-03-11"))

    assert await names(conn) == []


@pytest.mark.parametrize("streams", [1, 2])
async def test_what_is_gone_cannot_be_corrected_or_cancelled_and_that_is_said(
    pool: Pool,
    conn: Connection,
    redis: Redis,
    account: Principal,
    tokens: StoredMetric,
    reader: Server,
    *,
    streams: int,
) -> None:
    counting = aggregator(pool, redis, streams=streams, dead_letters_max=1)
    await reader.post("/usage-events", called("old", when=OLD, tokens=100))
    await reader.post("/usage-events", [called("older", when=OLD, tokens=100), called("fresh", when=OLD, tokens=32)])
    assert (await reader.delete("/usage-events/taken")).status == 202
    # The same again is a duplicate, whether its row is there or not.
    await reader.post("/usage-events", called("old", when=OLD, tokens=1, model="small"))

    assert await drain(counting, MARCH) == 5

    assert await letters(conn) == ["RAW_EVENT_DROPPED"] * 3
    assert await measured(conn, account, tokens, **YEAR) == used("63", 6)
    assert await differences(conn) == []
    listed = (await reader.get("/dead-letters?sortOrder=ASC")).body["items"]
    assert [one["events"][0]["customerEventId"] for one in listed[:2]] == ["old", "older"]
    assert "stays counted" in listed[0]["reason"]
    again = await reader.post(f"/dead-letters/{listed[0]['id']}/replay")
    assert (again.status, again.codes) == (409, ["DEAD_LETTER_STAYS"])
    assert await measured(conn, account, tokens, **YEAR) == used("63", 6)


async def test_an_id_that_was_cancelled_before_it_went_can_be_revived(
    counting: Aggregator, keeping: Aggregator, conn: Connection, redis: Redis, account: Principal, reader: Server
) -> None:
    calls = await make_metric(conn, account, definition("SUM", "tokens"))
    await accept(redis, account, called("a", when=OLD, tokens=1), now=JANUARY)
    await drain(counting, JANUARY)
    await reader.delete("/usage-events/a")
    await drain(counting, JANUARY)
    await drain(keeping, MARCH)

    await reader.post("/usage-events", called("a", when=OLD, tokens=7))
    await drain(keeping, MARCH)

    assert await letters(conn) == []
    assert await measured(conn, account, calls, **YEAR) == used("7", 1)
    versions = (await reader.get("/usage-events/a/versions")).body["items"]
    assert [(one["version"], one["eventProperties"]) for one in versions] == [(2, {"tokens": 7})]


@pytest.mark.parametrize("rest", ["", "/versions", "/trace"])
@pytest.mark.usefixtures("tokens")
async def test_an_event_that_is_gone_is_known_to_be_gone(reader: Server, rest: str) -> None:
    gone = await reader.get(f"/usage-events/old{rest}")

    assert (gone.status, gone.codes, gone.keys) == (410, ["RAW_EVENT_DROPPED"], ["id"])
    assert (await reader.get(f"/usage-events/late{rest}")).status == 200
    assert (await reader.get(f"/usage-events/nobody{rest}")).codes == ["NOT_FOUND"]


async def asked(api: Server, of: StoredMetric, start: str, end: str, **fields: Any) -> tuple[int, list[str]]:
    body = {"metrics": [str(of.id)], "customerAliases": ["acme"], "from": f"{start}Z", "to": f"{end}Z", **fields}
    reply = await api.post("/usage/query", body)
    return reply.status, [one["value"] for one in reply.body["items"]] if reply.status == 200 else reply.codes


GONE = (410, ["RAW_EVENT_DROPPED"])


@pytest.mark.parametrize(
    ("start", "end", "fields", "expected"),
    [
        ("2025-01-10T10:00:00", "2025-01-10T10:15:00", {}, (200, ["15"])),
        ("2025-01-10T10:07:30", "2025-01-11T00:00:00", {}, GONE),
        ("2025-01-01T00:00:00", "2025-01-10T10:07:30", {}, GONE),
        ("2025-01-10T10:07:10", "2025-01-10T10:07:30", {}, GONE),
        # Nothing was counted in these quarter hours.
        ("2025-01-09T23:59:59", "2025-01-10T10:15:01", {}, (200, ["15"])),
        ("2025-01-01T00:00:00", "2025-02-10T10:07:30", {}, (200, ["31"])),
        ("2025-02-10T10:07:01", "2025-02-11T00:00:00", {}, (200, ["0"])),
        ("2025-01-01T00:00:00", "2025-03-01T00:00:00", {"groupBy": ["model"]}, (200, ["17", "14"])),
        ("2025-01-01T00:00:00", "2025-03-01T00:00:00", {"groupBy": ["region"]}, GONE),
        ("2025-01-01T00:00:00", "2025-03-01T00:00:00", {"filters": {"region": ["eu"]}}, GONE),
        ("2025-02-02T00:00:00", "2025-03-01T00:00:00", {"filters": {"region": ["eu"]}}, (200, ["0"])),
    ],
)
async def test_a_range_is_answered_exactly_or_not_at_all(
    reader: Server, tokens: StoredMetric, start: str, end: str, fields: dict[str, Any], expected: tuple[int, list[str]]
) -> None:
    assert await asked(reader, tokens, start, end, **fields) == expected


async def test_the_level_of_a_weighted_metric_carries_over_what_is_gone(
    counting: Aggregator, keeping: Aggregator, conn: Connection, redis: Redis, account: Principal, reader: Server
) -> None:
    level = await make_metric(conn, account, definition("WEIGHTED", "tokens", group_by=("model",)))
    await accept(redis, account, called("a", when=OLD, tokens=2, model="small"), now=JANUARY)
    await drain(counting, JANUARY)
    await drain(keeping, MARCH)

    assert await asked(reader, level, "2025-03-01T00:00:00", "2025-03-02T00:00:00") == (200, ["48"])
    by_region = await asked(reader, level, "2025-03-01T00:00:00", "2025-03-02T00:00:00", groupBy=["region"])
    assert by_region == GONE


async def test_calculate_says_no_first_event_where_it_cannot_know_it(reader: Server, tokens: StoredMetric) -> None:
    path = f"/usage-metrics/{tokens.id}/calculate?customerAliases=acme&periodEnd=2025-03-01"

    over = (await reader.get(f"{path}&periodStart=2025-01-01")).body
    behind = (await reader.get(f"{path}&periodStart=2025-02-02")).body

    assert (over["value"], over["minEventId"], over["maxEventId"]) == (31, None, behind["maxEventId"])
    assert behind["minEventId"] == behind["maxEventId"] == (await reader.get("/usage-events/new")).body["id"]


async def test_a_new_metric_counts_what_is_kept_and_says_since_when(
    reader: Server, conn: Connection, account: Principal, tokens: StoredMetric
) -> None:
    young = await make_metric(conn, account, definition("SUM", "tokens"), name="young")

    histories = [(await reader.get(f"/usage-metrics/{one.id}")).body["history"] for one in (tokens, young)]

    assert [one["receivedFrom"] for one in histories] == [None, "2025-02-01T00:00:00Z"]
    assert await measured(conn, account, young, **YEAR) == used("24", 2)
    changed = await metrics.get(conn, account.account, metric=young.id)
    assert changed.history.received_from == at("2025-02-01")
    assert await differences(conn) == []


@pytest.mark.parametrize(("aggregation", "before"), [("MAX", "20"), ("LATEST", "20"), ("WEIGHTED", None)])
async def test_an_extreme_is_never_told_from_what_is_left(
    counting: Aggregator,
    keeping: Aggregator,
    conn: Connection,
    redis: Redis,
    account: Principal,
    aggregation: str,
    before: str | None,
) -> None:
    of = await make_metric(conn, account, definition(aggregation, "tokens"))
    total = await make_metric(conn, account, definition("SUM", "tokens"), name="total")
    await accept(redis, account, called("gone", when=OLD, tokens=9), now=JANUARY)
    await drain(counting, JANUARY)
    for name, value in (("answer", 20), ("other", 1)):
        at_ = "2025-01-10T10:09:00Z" if name == "answer" else "2025-01-10T10:06:00Z"
        await accept(redis, account, called(name, when=at_, tokens=value), now=FEBRUARY)
        await drain(counting, FEBRUARY)
    await drain(keeping, MARCH)
    range_ = {"start": "2025-01-10", "end": "2025-01-11"}
    was = await measured(conn, account, of, **range_)

    await accept(redis, account, called("answer", when="2025-01-10T10:09:00Z", tokens=5), now=MARCH)
    assert await drain(keeping, MARCH) == 1

    assert await letters(conn) == ["RAW_EVENT_DROPPED"]
    assert await measured(conn, account, of, **range_) == was
    assert before is None or was == used(before, 3)
    # All or nothing: no metric has seen the correction.
    assert await measured(conn, account, total, **range_) == used("30", 3)


async def test_a_bill_that_needs_what_is_gone_is_set_aside_and_the_others_are_made(
    reader: Server, counting: Aggregator, keeping: Aggregator, conn: Connection, redis: Redis, account: Principal
) -> None:
    calls = await company.metric(reader, eventType="call")
    # One whose name was its own until the middle of a quarter hour in which it was used.
    ragged = await company.contract(reader, [company.linear("1", calls)], start="2025-01-01")
    await conn.execute("update customer_alias set valid_to = '2025-01-10T10:07:30Z' where value = 'acme'")
    await company.contract(reader, [company.linear("1", calls)], start="2025-01-01", alias="beta")
    await accept(redis, account, called("a", when=OLD), called("b", alias="beta", when=OLD), now=JANUARY)
    await drain(counting, JANUARY)
    await drain(keeping, MARCH)

    await reader.invoice(MARCH)

    assert [one["netTotal"] for one in await company.invoices(reader)] == ["1.00", "0.00"]
    parked = (await reader.get(f"/billing-schedules/{ragged}")).body["parked"]
    assert (parked["reason"], parked["until"]) == ("RAW_EVENT_DROPPED", "2025-03-10T13:00:00Z")


async def test_what_is_kept_and_no_answer_is_corrected_as_ever(
    counting: Aggregator, keeping: Aggregator, conn: Connection, redis: Redis, account: Principal
) -> None:
    most = await make_metric(conn, account, definition("MAX", "tokens"))
    await accept(redis, account, called("gone", when=OLD, tokens=9), now=JANUARY)
    await drain(counting, JANUARY)
    await accept(redis, account, called("small", when=OLD, tokens=1), now=FEBRUARY)
    await drain(counting, FEBRUARY)
    await drain(keeping, MARCH)

    await accept(redis, account, called("small", when=OLD, tokens=2), now=MARCH)
    await drain(keeping, MARCH)

    assert await letters(conn) == []
    assert await measured(conn, account, most, **YEAR) == used("9", 2)


async def test_a_backfill_cannot_replace_or_give_back_what_is_gone(
    reader: Server, pool: Pool, redis: Redis, conn: Connection, account: Principal, tokens: StoredMetric
) -> None:
    loading = Loading(reader, pool, redis)
    january = {"from": "2025-01-01T00:00:00Z", "to": "2025-02-01T00:00:00Z"}
    backfill = await loading.open(**january)
    await loading.load(backfill, called("old", when=OLD, tokens=1_000))

    shown = await loading.close(backfill)

    assert shown["status"] == "OPEN"
    assert "not kept" in shown["problem"]
    assert await measured(conn, account, tokens, **YEAR) == used("31", 5)


async def test_a_backfill_that_replaced_what_is_gone_cannot_be_reverted(
    reader: Server,
    pool: Pool,
    redis: Redis,
    conn: Connection,
    account: Principal,
    counting: Aggregator,
    keeping: Aggregator,
) -> None:
    calls = await make_metric(conn, account, definition("SUM", "tokens"))
    await accept(redis, account, called("a", when=OLD, tokens=1), now=JANUARY)
    await drain(counting, JANUARY)
    loading = Loading(reader, pool, redis)
    january = {"from": "2025-01-01T00:00:00Z", "to": "2025-02-01T00:00:00Z"}
    backfill = await loading.open(**january)
    await loading.load(backfill, called("a", when=OLD, tokens=10))
    assert (await loading.close(backfill))["status"] == "CLOSED"
    await drain(keeping, MARCH)

    shown = await loading.revert(backfill)

    assert (shown["status"], "not kept" in shown["problem"]) == ("CLOSED", True)
    assert await measured(conn, account, calls, **YEAR) == used("10", 1)
    assert await differences(conn) == []
