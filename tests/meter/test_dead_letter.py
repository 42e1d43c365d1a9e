"""What cannot be counted is set aside with its reason, everything else counts, and a replay counts it once."""

import asyncio
from array import array
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import asyncpg
import msgspec
import pytest
from redis.asyncio import Redis

from meter import dead_letter, entry, timestamp
from meter.aggregate import Aggregator
from meter.batch import batch, split
from meter.entry import Block
from meter.error import DeadLettersFull, DeadLetterStays
from store import cell
from store.account import Principal
from store.db import Connection, Pool
from store.usage import Usage
from tests.usage import (
    NOW,
    accept,
    aggregator,
    block_of,
    called,
    definition,
    differences,
    drain,
    make_metric,
    measured,
    states,
    used,
)

NAME = "events:{0}"
NOBODY = 4_711


def good(account: Principal, *names: str, **properties: Any) -> Block:
    return entry.decode(entry.join([block_of(account, *(called(name, **properties) for name in names))]))[0]


def spoilt(account: Principal, *names: str) -> Block:
    """A block whose second event has a type that no database takes."""
    block = good(account, *names)
    return msgspec.structs.replace(
        block, type_names=["call", "nul\0"], packed_types=array("H", [0, 1, *[0] * (len(block) - 2)]).tobytes()
    )


async def put(redis: Redis, *blocks: Block) -> str:
    """An entry as only a bug of ours could write it."""
    added: bytes = await redis.xadd(NAME, {"blocks.1": entry.join([entry.encode_block(block) for block in blocks])})
    return added.decode()


async def letters(conn: Connection) -> list[asyncpg.Record]:
    return await conn.fetch("select * from dead_letter order by id")


async def test_an_event_that_cannot_be_counted_is_set_aside_and_the_others_count(
    counting: Aggregator, conn: Connection, redis: Redis, account: Principal
) -> None:
    calls = await make_metric(conn, account)
    await accept(redis, account, called("before"))
    await put(redis, good(account, "a", "b"), spoilt(account, "c", "bad", "d"), good(account, "e"))
    await accept(redis, account, called("after"))

    assert await drain(counting) == 8
    [letter] = await letters(conn)

    assert await measured(conn, account, calls) == used("7", 7)
    assert (letter["account"], letter["entry_index"], letter["code"]) == (account.account, 3, "UNCOUNTABLE")
    assert "CharacterNotInRepertoire" in letter["reason"]
    assert [one["customerEventId"] for one in dead_letter.opened(letter["content"]) or ()] == ["bad"]
    assert await differences(conn) == []


async def test_an_entry_that_cannot_be_read_is_set_aside_as_a_whole(
    counting: Aggregator, conn: Connection, redis: Redis, account: Principal
) -> None:
    calls = await make_metric(conn, account)
    await accept(redis, account, called("a"))
    bad = (await redis.xadd(NAME, {"blocks.1": b"\xc1"})).decode()
    await accept(redis, account, called("b"))

    await drain(counting)
    [letter] = await letters(conn)

    assert await measured(conn, account, calls) == used("2", 2)
    assert (letter["account"], letter["code"], letter["content"]) == (None, "UNREADABLE_ENTRY", b"\xc1")
    assert f"{letter['entry_ms']}-{letter['entry_sequence']}" == bad
    assert dead_letter.opened(letter["content"]) is None


@pytest.mark.parametrize(
    "changes",
    [
        {"keys": b"short"},
        {"keys": b""},
        {"packed_digests": b""},
        {"packed_aliases": bytes(6)},
        # A name of the next block.
        {"packed_aliases": array("H", [0, 1]).tobytes()},
        {"packed_types": array("H", [1, 0]).tobytes()},
        {"packed_timestamps": bytes(8)},
        {"lines": b"{}\n"},
        {"lines": b"{}\n{}"},
        {"lines": b"{}\r{}\n{}\n"},
        {"lines": b"{}\n{}\n{}\n"},
        {"account": -1},
        {"account": 1 << 40},
        {"received_at": -1},
        {"received_at": 1 << 63},
    ],
    ids=str,
)
async def test_an_entry_whose_columns_do_not_belong_together_is_set_aside_as_a_whole(
    counting: Aggregator, conn: Connection, redis: Redis, account: Principal, changes: dict[str, Any]
) -> None:
    await put(redis, msgspec.structs.replace(good(account, "a", "b"), **changes))
    await accept(redis, account, called("c"))

    await drain(counting)

    assert [letter["code"] for letter in await letters(conn)] == ["UNREADABLE_ENTRY"]
    assert await conn.fetchval("select count(*) from usage_event") == 1


async def test_every_event_may_be_poison_and_the_stream_goes_on(
    counting: Aggregator, conn: Connection, redis: Redis, account: Principal
) -> None:
    calls = await make_metric(conn, account)
    bad = good(account, *(f"e{n}" for n in range(20)))
    await put(redis, msgspec.structs.replace(bad, packed_timestamps=array("q", [2**62] * 20).tobytes()))
    await accept(redis, account, called("after"))

    await drain(counting)

    assert [one["entry_index"] for one in await letters(conn)] == list(range(20))
    assert await measured(conn, account, calls) == used("1", 1)


async def test_a_stream_that_is_read_again_makes_no_second_letter(
    pool: Pool, conn: Connection, redis: Redis, account: Principal
) -> None:
    await put(redis, spoilt(account, "a", "bad"))
    await drain(aggregator(pool, redis))
    await conn.execute("update stream_position set position = '0-0'")

    await drain(aggregator(pool, redis))

    assert len(await letters(conn)) == 1


async def test_a_failure_of_the_world_sets_nothing_aside(
    counting: Aggregator, conn: Connection, redis: Redis, account: Principal
) -> None:
    await accept(redis, account, called("a"))
    await conn.execute("alter table usage_event rename to elsewhere")

    with pytest.raises(asyncpg.UndefinedTableError):
        await counting.step(NOW)

    assert await letters(conn) == []


async def test_too_many_dead_letters_stop_counting_and_lose_nothing(
    pool: Pool, conn: Connection, redis: Redis, account: Principal
) -> None:
    calls = await make_metric(conn, account)
    await put(redis, spoilt(account, "a", "bad1"))
    await put(redis, spoilt(account, "b", "bad2"))
    await put(redis, spoilt(account, "c", "bad3"))
    small = aggregator(pool, redis, dead_letters_max=2)

    with pytest.raises(DeadLettersFull):
        await small.step(NOW)

    assert await conn.fetchval("select count(*) from usage_event") == 0
    assert await letters(conn) == []

    await drain(aggregator(pool, redis, dead_letters_max=3))

    assert await measured(conn, account, calls) == used("3", 3)


async def test_the_limit_is_of_all_that_wait(pool: Pool, conn: Connection, redis: Redis, account: Principal) -> None:
    small = aggregator(pool, redis, dead_letters_max=1)
    await put(redis, spoilt(account, "a", "bad1"))
    await drain(small)
    await put(redis, spoilt(account, "b", "bad2"))

    with pytest.raises(DeadLettersFull):
        await small.step(NOW)

    assert len(await letters(conn)) == 1


async def nobodys(redis: Redis, account: Principal, *names: str, **properties: Any) -> None:
    """An event of an account that is not there, yet."""
    await put(redis, msgspec.structs.replace(good(account, *names, **properties), account=NOBODY))


async def born(conn: Connection, account: Principal) -> Principal:
    await conn.execute(
        "insert into account (account, id, company_name, created_at, updated_at) overriding system value"
        " values ($1, gen_random_uuid(), 'Late', $2, $2)",
        NOBODY,
        NOW,
    )
    return msgspec.structs.replace(account, account=NOBODY)


async def test_a_replay_counts_what_can_be_counted_now_once(
    counting: Aggregator, conn: Connection, redis: Redis, account: Principal
) -> None:
    await nobodys(redis, account, "a")
    await drain(counting)
    [letter] = await letters(conn)
    with pytest.raises(DeadLetterStays):
        await dead_letter.replay(conn, None, letter=letter["id"], now=NOW)
    assert [one["attempts"] for one in await letters(conn)] == [2]
    late = await born(conn, account)
    calls = await make_metric(conn, late)

    for _ in range(2):
        replayed = await dead_letter.replay(conn, None, letter=letter["id"], now=NOW)
        assert replayed.replayed_at == NOW

    assert await measured(conn, late, calls) == used("1", 1)
    assert await differences(conn) == []


async def test_a_replay_counts_as_received_then_so_a_later_version_wins(
    counting: Aggregator, conn: Connection, redis: Redis, account: Principal
) -> None:
    await nobodys(redis, account, "a", tokens=1)
    await drain(counting)
    late = await born(conn, account)
    tokens = await make_metric(conn, late, definition("SUM", "tokens"))
    await accept(redis, late, called("a", tokens=2))
    await drain(counting)
    [letter] = await letters(conn)

    await dead_letter.replay(conn, None, letter=letter["id"], now=NOW)

    assert await measured(conn, late, tokens) == used("2", 1)
    assert await states(conn) == ["live", "superseded"]
    assert await differences(conn) == []


async def test_a_whole_entry_is_replayed_event_by_event(
    counting: Aggregator, conn: Connection, redis: Redis, account: Principal
) -> None:
    await redis.xadd(NAME, {"blocks.1": b"\xc1"})
    await drain(counting)
    [letter] = await letters(conn)
    mended = entry.join([entry.encode_block(spoilt(account, "a", "bad", "c"))])
    await conn.execute("update dead_letter set content = $1", mended)

    await dead_letter.replay(conn, None, letter=letter["id"], now=NOW)

    assert await conn.fetchval("select count(*) from usage_event") == 2
    assert [(one["entry_index"], one["replayed_at"]) for one in await letters(conn)] == [(-1, NOW), (1, None)]


def test_halves_are_the_whole_again(account: Principal) -> None:
    blocks = [good(account, "a", "b", "c"), good(account, "d"), good(account, "e", "f")]
    whole = batch([("5-0", blocks[:2]), ("6-1", blocks[2:])])

    left, right = split(whole)

    halves = [(half, place) for half in (left, right) for place in range(half.events)]
    assert [half.candidate(place).order for half, place in halves] == [
        whole.candidate(place).order for place in range(6)
    ]
    assert [half.columns.keys[place] for half, place in halves] == list(whole.columns.keys)
    assert [half.candidate(place).digest for half, place in halves] == whole.digests.tolist()
    assert left.end == right.end == "6-1"


def test_a_cut_keeps_which_events_have_no_timestamp_of_their_own(account: Principal) -> None:
    names = [called(f"e{n}", when="" if n % 2 else "2025-03-01T10:07:00Z") for n in range(6)]
    block = entry.decode(entry.join([block_of(account, *names)]))[0]

    assert entry.cut(block, 2, 6).untimed == [1, 3]
    assert entry.cut(block, 2, 6).ids == {0: "e2", 1: "e3", 2: "e4", 3: "e5"}
    assert timestamp.microseconds(datetime(2025, 3, 1, 10, 7, tzinfo=UTC)) == entry.cut(block, 2, 3).timestamps[0]


async def test_parts_of_a_batch_are_counted_once_however_many_cells_they_have(
    counting: Aggregator, conn: Connection, redis: Redis, account: Principal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cell, "_FEW", 0)
    calls = await make_metric(conn, account)
    await put(redis, spoilt(account, *map(str, range(20))))

    await drain(counting)

    assert await measured(conn, account, calls) == Usage(Decimal(19), 19)
    assert await differences(conn) == []


@pytest.mark.parametrize("stored", [(), ("0",)])
async def test_whoever_says_one_thing_a_hundred_thousand_times_is_counted_once_and_soon(
    counting: Aggregator, conn: Connection, redis: Redis, account: Principal, stored: tuple[str, ...]
) -> None:
    calls = await make_metric(conn, account)
    for one in stored:
        await accept(redis, account, called(one, when=""))
        await drain(counting)
    once = entry.decode(entry.join([block_of(account, called("0", when=""))]))[0]
    many = entry.pack(
        account=once.account,
        received_at=once.received_at,
        keys=once.keys * 50_000,
        digests=[*once.digests] * 50_000,
        ids=dict.fromkeys(range(50_000), "0"),
        aliases=once.alias_names * 50_000,
        types=once.type_names * 50_000,
        timestamps=[*once.timestamps] * 50_000,
        untimed=range(50_000),
        lines=once.lines * 50_000,
    )
    await put(redis, many, many)

    # Well below the time after which Postgres sends a silent transaction away.
    async with asyncio.timeout(20):
        await drain(counting)

    assert await measured(conn, account, calls) == Usage(Decimal(1), 1)
    assert await letters(conn) == []
