"""A load is invisible until it is closed, counts as a whole, and can be taken back as if it had never been there."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from redis.asyncio import Redis

from meter.backfill import Backfiller
from meter.history import History
from runtime.settings import Settings
from store import backfill as backfills
from store import cell
from store.account import Principal
from store.db import Connection, Pool
from store.metric import StoredMetric
from store.usage import Usage
from tests import company
from tests.backfill import Loading, counts
from tests.server import Server
from tests.usage import NOW, called, definition, differences, drain, make_metric, measured, used

# Many databases or processes: left out of the inner loop.
pytestmark = pytest.mark.slow

NOTHING = used("0", 0)


@pytest.fixture(autouse=True, params=[500, 0], ids=["few cells", "many cells"])
def few(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Differences travel in another way when they are many; a backfill merges several times in one transaction."""
    monkeypatch.setattr(cell, "_FEW", request.param)


@pytest.fixture
async def loading(api: Server, pool: Pool, redis: Redis) -> Loading:
    return Loading(api, pool, redis)


@pytest.fixture
async def tokens(conn: Connection, account: Principal) -> StoredMetric:
    return await make_metric(conn, account, definition("SUM", "tokens"), name="tokens")


@pytest.fixture
async def value(conn: Connection, account: Principal, tokens: StoredMetric) -> Callable[..., Any]:
    async def read(*aliases: str) -> Usage:
        assert await differences(conn) == []
        return await measured(conn, account, tokens, *aliases)

    return read


async def test_a_load_is_invisible_until_it_is_closed(loading: Loading, value: Any, conn: Connection) -> None:
    backfill = await loading.open()
    await loading.load(backfill, *(called(f"e{n}", tokens=n) for n in range(7)))
    await drain(loading.counting)
    await loading.backfiller.step(NOW)

    assert await value() == NOTHING
    assert await conn.fetchval("select count(*) from usage_event") == 0
    assert (await loading.api.get("/usage-events")).body["items"] == []
    assert (await loading.shown(backfill))["loadedCount"] == 7

    closed = await loading.close(backfill)

    assert await value() == used("21", 7)
    assert (closed["status"], closed["progress"], counts(closed)) == ("CLOSED", 7, (7, 7, 0, 0, 0))
    assert await conn.fetchval("select count(*) from usage_backfill_event") == 0


async def test_a_revert_takes_the_whole_load_back_and_its_ids_may_be_sent_again(
    loading: Loading, value: Any, conn: Connection
) -> None:
    await loading.live(called("mine", tokens=100))
    backfill = await loading.open()
    await loading.load(backfill, *(called(f"e{n}", tokens=n) for n in range(7)))
    await loading.close(backfill)

    reverted = await loading.revert(backfill)

    assert await value() == used("100", 1)
    assert (reverted["status"], counts(reverted)) == ("REVERTED", (7, 7, 0, 0, 0))
    assert await conn.fetchval("select count(*) from event_key") == 1

    await loading.live(called("e1", tokens=1))
    again = await loading.open()
    await loading.load(again, called("e2", tokens=2), called("e1", tokens=1))
    closed = await loading.close(again)

    assert await value() == used("103", 3)
    assert counts(closed) == (2, 1, 1, 0, 0)


async def test_the_last_version_within_a_load_wins_and_repeats_are_duplicates(loading: Loading, value: Any) -> None:
    backfill = await loading.open()
    # Pieces are of three events, so versions of one id fall into several.
    await loading.load(backfill, *(called(f"e{n % 2}", tokens=n // 4) for n in range(10)))

    closed = await loading.close(backfill)

    assert await value() == used("4", 2)
    assert counts(closed)[:2] == (10, 6)

    await loading.revert(backfill)

    assert await value() == NOTHING


async def test_a_close_corrects_what_is_live_and_a_revert_restores_it(loading: Loading, value: Any) -> None:
    await loading.live(called("a", tokens=1), called("b", tokens=2), called("c", tokens=4))
    backfill = await loading.open()
    await loading.load(backfill, called("a", tokens=10), called("b", tokens=2), called("d", tokens=20))

    closed = await loading.close(backfill)

    assert await value() == used("36", 4)
    assert counts(closed) == (3, 2, 1, 1, 0)

    await loading.revert(backfill)

    assert await value() == used("7", 3)


async def test_ids_of_open_backfills_are_their_own(loading: Loading, value: Any) -> None:
    first, second = await loading.open(), await loading.open()
    await loading.load(first, called("a", tokens=1))
    await loading.load(second, called("a", tokens=2))
    await loading.live(called("a", tokens=4))

    assert await value() == used("4", 1)

    await loading.close(second)
    assert await value() == used("2", 1)

    await loading.close(first)
    assert await value() == used("1", 1)


async def test_replacing_takes_back_what_the_range_has_and_the_load_has_not(loading: Loading, value: Any) -> None:
    await loading.live(
        *(called(f"in{n}", tokens=1) for n in range(7)),
        called("kept", tokens=2),
        called("changed", tokens=4),
        called("first instant", when="2025-03-01T00:00:00Z", tokens=8),
        called("end", when="2025-03-08T00:00:00Z", tokens=16),
        called("before", when="2025-02-28T23:59:59.999999Z", tokens=32),
        called("other", alias="beta", tokens=64),
    )
    backfill = await loading.open(replace=True)
    await loading.load(backfill, called("kept", tokens=2), called("changed", tokens=128), called("new", tokens=256))

    closed = await loading.close(backfill)

    assert await value() == used("402", 4)
    assert counts(closed) == (3, 2, 1, 1, 8)
    assert closed["progress"] == 11

    # A late retry of what was replaced changes nothing.
    await loading.live(called("in0", tokens=1))
    assert await value() == used("402", 4)

    await loading.revert(backfill)

    assert await value() == used("37", 11)


async def test_replacing_spares_what_was_accepted_after_the_close(loading: Loading, value: Any) -> None:
    await loading.live(called("old", tokens=1))
    backfill = await loading.open(replace=True)
    await loading.load(backfill, called("new", tokens=2))
    await loading.api.made("/usage-events", [called("under way", tokens=4)])
    reply = await loading.api.post(f"/usage-backfills/{backfill}/close")
    await loading.api.made("/usage-events", [called("later", tokens=8), called("new", tokens=16)])

    # What was accepted before is not counted yet.
    assert await loading.backfiller.step(NOW) == 0
    assert reply.body["status"] == "CLOSING"

    await drain(loading.counting)
    await loading.backfiller.step(NOW)

    assert await value() == used("24", 2)


async def test_what_was_corrected_or_cancelled_since_the_close_stays_so(loading: Loading, value: Any) -> None:
    backfill = await loading.open()
    await loading.live(called("was there", tokens=1))
    await loading.load(
        backfill, called("was there", tokens=2), *(called(id_, tokens=4) for id_ in ("corrected", "cancelled", "plain"))
    )
    await loading.close(backfill)
    await loading.live(called("corrected", tokens=8))
    await loading.cancel("cancelled")
    await loading.cancel("was there")
    assert await value() == used("12", 2)

    await loading.revert(backfill)

    assert await value() == used("8", 1)
    await loading.live(called("plain", tokens=4), called("was there", tokens=1))
    assert await value() == used("12", 2)


async def test_backfills_over_one_another_revert_in_any_order(loading: Loading, value: Any) -> None:
    await loading.live(called("a", tokens=1), called("z", tokens=1_000))
    backfills = [await loading.open(replace=number == 1) for number in range(3)]
    for number, backfill in enumerate(backfills):
        await loading.load(backfill, called("a", tokens=10 + number), called(f"own{number}", tokens=100))
        await loading.close(backfill)
    assert await value() == used("212", 3)

    await loading.revert(backfills[1])
    assert await value() == used("1212", 4)

    await loading.revert(backfills[2])
    assert await value() == used("1110", 3)

    await loading.revert(backfills[0])
    assert await value() == used("1001", 2)


@pytest.mark.parametrize("aggregation", ["COUNT", "UNIQUE", "MAX", "MIN", "LATEST", "AVERAGE", "WEIGHTED"])
async def test_every_aggregation_comes_and_goes(
    loading: Loading, conn: Connection, account: Principal, aggregation: str
) -> None:
    of = await make_metric(conn, account, definition(aggregation, None if aggregation == "COUNT" else "tokens"))
    await loading.live(*(called(f"e{n}", when=f"2025-03-0{1 + n}T10:07:00Z", tokens=n % 4) for n in range(7)))
    before = await measured(conn, account, of)
    backfill = await loading.open(replace=True)
    await loading.load(backfill, *(called(f"e{n}", when="2025-03-02T10:07:00Z", tokens=9 - n) for n in range(2, 10)))

    await loading.close(backfill)

    assert await differences(conn) == []
    assert await measured(conn, account, of) != before

    await loading.revert(backfill)

    assert await differences(conn) == []
    assert await measured(conn, account, of) == before


async def test_a_customer_stands_for_its_aliases_each_in_its_time(loading: Loading, value: Any) -> None:
    acme = await company.customer(loading.api, "acme", customerAliases=["acme", "acme-eu"])
    backfill = await loading.open(customerId=acme, customerAliases=None)
    await loading.live(called("a", alias="acme-eu", tokens=1), called("b", alias="nobody", tokens=2))
    await loading.load(backfill, called("c", alias="acme-eu", tokens=4), called("d", alias=acme, tokens=8))

    shown = await loading.close(backfill)

    assert await value("acme", "acme-eu", acme, "nobody") == used("15", 4)
    assert (shown["customerId"], shown["customerAliases"]) == (acme, sorted([acme, "acme", "acme-eu"]))


async def test_a_metric_made_while_a_backfill_is_closed_counts_it_and_its_revert_takes_it_back(
    loading: Loading, conn: Connection, account: Principal
) -> None:
    backfill = await loading.open()
    await loading.load(backfill, *(called(f"e{n}") for n in range(7)))
    await loading.close(backfill)
    calls = await make_metric(conn, account)
    assert await measured(conn, account, calls) == used("7", 7)

    await loading.revert(backfill)

    assert await measured(conn, account, calls) == NOTHING
    assert await differences(conn) == []


async def test_history_that_is_folded_meanwhile_misses_and_doubles_nothing(
    loading: Loading, pool: Pool, conn: Connection, account: Principal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("meter.history.FIRST_EVENTS_MAX", 2)
    folding = History(pool, piece_events_max=2)
    await loading.live(*(called(f"e{n}", tokens=1) for n in range(9)))
    first, second = await loading.open(), await loading.open(replace=True)
    await loading.load(first, *(called(f"e{n}", tokens=10) for n in range(6, 12)))
    await loading.close(first)
    await loading.load(second, *(called(f"e{n}", tokens=100) for n in range(4, 14)))
    young = await make_metric(conn, account, definition("SUM", "tokens"))

    for finish in (loading.close(second), loading.revert(first), loading.revert(second)):
        await folding.step()
        await finish
        assert await differences(conn) == []
    while await folding.step():
        pass

    assert await measured(conn, account, young) == used("9", 9)
    assert await differences(conn) == []


async def test_a_close_that_fails_in_the_middle_has_done_nothing(
    loading: Loading, value: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    await loading.live(called("a", tokens=1))
    backfill = await loading.open(replace=True)
    await loading.load(backfill, *(called(f"e{n}", tokens=n) for n in range(7)))

    async def die(*_: Any, **__: Any) -> None:
        raise ConnectionError

    with monkeypatch.context() as patch:
        patch.setattr("store.backfill.finish_close", die)
        with pytest.raises(ConnectionError):
            await loading.close(backfill)

    assert await value() == used("1", 1)
    shown = await loading.shown(backfill)
    # Progress is told on the way, so it is seen although nothing has come of it.
    assert (shown["status"], shown["progress"], counts(shown)) == ("CLOSING", 8, (7, 0, 0, 0, 0))

    await loading.backfiller.step(NOW)

    assert await value() == used("21", 7)


async def test_a_backfill_that_fails_holds_up_nobody_else(
    loading: Loading, value: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad, good = await loading.open(), await loading.open()
    await loading.load(bad, called("a", tokens=1))
    await loading.load(good, called("b", tokens=2))
    finish = backfills.finish_close

    async def die(*arguments: Any, **named: Any) -> None:
        if str(named["backfill"]) == bad:
            raise ConnectionError
        await finish(*arguments, **named)

    monkeypatch.setattr("store.backfill.finish_close", die)
    for one in (bad, good):
        await loading.api.post(f"/usage-backfills/{one}/close")
    with pytest.raises(ConnectionError):
        await loading.backfiller.step(NOW)

    assert [(await loading.shown(one))["status"] for one in (bad, good)] == ["CLOSING", "CLOSED"]
    assert await value() == used("2", 1)


async def test_two_processes_close_a_backfill_once(loading: Loading, pool: Pool, redis: Redis, value: Any) -> None:
    backfill = await loading.open()
    await loading.load(backfill, *(called(f"e{n}", tokens=n) for n in range(7)))
    await loading.api.post(f"/usage-backfills/{backfill}/close")

    done = await asyncio.gather(*(Backfiller(pool, redis, settings=Settings()).step(NOW) for _ in range(3)))

    assert sum(done) == 1
    assert await value() == used("21", 7)


async def test_what_would_replace_too_much_is_given_up_with_the_reason(
    api: Server, pool: Pool, redis: Redis, value: Any
) -> None:
    loading = Loading(api, pool, redis, backfill_events_max=5)
    await loading.live(*(called(f"e{n}", tokens=1) for n in range(6)))
    backfill = await loading.open(replace=True)

    shown = await loading.close(backfill)

    assert (shown["status"], "5 live events" in shown["problem"]) == ("OPEN", True)
    assert await value() == used("6", 6)

    await loading.live(*(called(f"e{n}", tokens=1, when="2025-03-09T00:00:00Z") for n in range(2)))
    closed = await loading.close(backfill)

    assert (closed["status"], closed["problem"], closed["replacedCount"]) == ("CLOSED", None, 4)


async def test_a_revert_without_raw_events_is_given_up_with_the_reason(loading: Loading, conn: Connection) -> None:
    backfill = await loading.open()
    await loading.load(backfill, called("a", tokens=1), called("b", tokens=2))
    await loading.close(backfill)
    await conn.execute("delete from usage_event where customer_event_id = 'a'")

    shown = await loading.revert(backfill)

    assert (shown["status"], "1 of its 2 events" in shown["problem"]) == ("CLOSED", True)


async def test_an_open_backfill_is_reverted_at_once(loading: Loading, value: Any) -> None:
    backfill = await loading.open()
    await loading.load(backfill, called("a", tokens=1))

    reply = await loading.api.post(f"/usage-backfills/{backfill}/revert")

    assert (reply.status, reply.body["status"]) == (200, "REVERTED")
    assert await value() == NOTHING
