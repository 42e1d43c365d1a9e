"""/dead-letters: what could not be counted is seen with its reason, and can be replayed."""

import pytest
from redis.asyncio import Redis

from meter import entry
from meter.error import DeadLettersFull
from store.account import Principal
from store.db import Connection, Pool
from tests.meter.test_dead_letter import good, put, spoilt
from tests.server import CLIENT_ID, Server
from tests.usage import aggregator, drain

NAME = "events:{0}"


async def letter(api: Server, conn: Connection) -> str:
    await api.aggregate()
    return str(await conn.fetchval("select id from dead_letter order by id desc limit 1"))


async def test_a_letter_says_what_it_holds_and_why(
    api: Server, conn: Connection, redis: Redis, account: Principal
) -> None:
    position = await put(redis, spoilt(account, "a", "bad"))
    id_ = await letter(api, conn)

    [listed] = (await api.get("/dead-letters")).body["items"]
    reply = await api.get(f"/dead-letters/{id_}")

    assert reply.status == 200
    assert reply.body == listed
    assert (listed["id"], listed["position"], listed["index"], listed["code"]) == (id_, position, 1, "UNCOUNTABLE")
    assert (listed["attempts"], listed["replayedAt"]) == (1, None)
    assert "CharacterNotInRepertoire" in listed["reason"]
    assert [event["customerEventId"] for event in listed["events"]] == ["bad"]


async def test_what_nobody_can_read_is_shown_without_its_content(api: Server, conn: Connection, redis: Redis) -> None:
    await redis.xadd(NAME, {"blocks.1": b"\xc1"})

    reply = await api.get(f"/dead-letters/{await letter(api, conn)}")

    assert (reply.body["code"], reply.body["events"], reply.body["index"]) == ("UNREADABLE_ENTRY", None, None)


async def test_a_replay_that_fails_says_why_and_one_that_works_counts(
    api: Server, conn: Connection, redis: Redis, account: Principal
) -> None:
    await put(redis, spoilt(account, "a", "bad"))
    id_ = await letter(api, conn)
    refused = await api.post(f"/dead-letters/{id_}/replay")
    mended = good(account, "bad")
    await conn.execute("update dead_letter set content = $1", entry.join([entry.encode_block(mended)]))

    first = await api.post(f"/dead-letters/{id_}/replay")
    again = await api.post(f"/dead-letters/{id_}/replay")

    assert (refused.status, refused.codes) == (409, ["DEAD_LETTER_STAYS"])
    assert "CharacterNotInRepertoire" in refused.body["error"]["message"]
    assert first.status == again.status == 200
    assert first.body == again.body
    assert first.body["replayedAt"] is not None
    assert (await api.get("/usage-events/bad")).status == 200
    assert (await api.get("/dead-letters?replayed=false")).body["items"] == []


async def test_letters_of_others_are_not_there(api: Server, conn: Connection, redis: Redis, account: Principal) -> None:
    await put(redis, spoilt(account, "a", "bad"))
    id_ = await letter(api, conn)
    await conn.execute(
        "with other as (insert into account (id, company_name, created_at, updated_at)"
        " values (gen_random_uuid(), 'O', now(), now()) returning account)"
        " update dead_letter set account = other.account from other"
    )

    assert (await api.get("/dead-letters")).body["items"] == []
    assert (await api.get(f"/dead-letters/{id_}")).status == 404
    assert (await api.post(f"/dead-letters/{id_}/replay")).status == 404


async def test_a_letter_is_discarded_and_who_when_and_why_stays(
    api: Server, conn: Connection, redis: Redis, account: Principal
) -> None:
    await put(redis, spoilt(account, "a", "bad"))
    id_ = await letter(api, conn)

    first = await api.delete(f"/dead-letters/{id_}?reason=sent%20by%20a%20test")
    again = await api.delete(f"/dead-letters/{id_}?reason=another")
    replayed = await api.post(f"/dead-letters/{id_}/replay")

    assert first.status == again.status == 200
    assert first.body == again.body == (await api.get(f"/dead-letters/{id_}")).body
    trace = {name: first.body[name] for name in ("discardedAt", "discardedBy", "discardReason", "replayedAt")}
    assert trace == {
        "discardedAt": "2025-03-10T12:00:00Z",
        "discardedBy": CLIENT_ID,
        "discardReason": "sent by a test",
        "replayedAt": None,
    }
    assert (replayed.status, replayed.codes) == (409, ["DEAD_LETTER_STAYS"])
    assert "discarded" in replayed.body["error"]["message"]
    assert [one["id"] for one in (await api.get("/dead-letters?discarded=true")).body["items"]] == [id_]
    assert (await api.get("/dead-letters?discarded=false")).body["items"] == []
    # Why the event is nowhere is still said.
    assert id_ in (await api.get("/usage-events/bad")).body["error"]["message"]


async def test_what_is_discarded_stops_counting_no_more(
    api: Server, pool: Pool, conn: Connection, redis: Redis, account: Principal
) -> None:
    small = aggregator(pool, redis, dead_letters_max=1)
    await put(redis, spoilt(account, "a", "bad"))
    await drain(small)
    await put(redis, spoilt(account, "b", "worse"))
    with pytest.raises(DeadLettersFull):
        await drain(small)
    id_ = await conn.fetchval("select id from dead_letter")

    await api.delete(f"/dead-letters/{id_}?reason=x")

    assert await drain(small) == 2
    assert len((await api.get("/dead-letters?discarded=false")).body["items"]) == 1


@pytest.mark.parametrize(
    ("query", "code"), [("", "MISSING_FIELD"), ("?reason=", "INVALID_VALUE"), ("?reason=x&by=me", "UNKNOWN_FIELD")]
)
async def test_a_discard_needs_a_reason(
    api: Server, conn: Connection, redis: Redis, account: Principal, query: str, code: str
) -> None:
    await put(redis, spoilt(account, "a", "bad"))
    id_ = await letter(api, conn)

    reply = await api.delete(f"/dead-letters/{id_}{query}")

    assert (reply.status, reply.codes) == (400, [code])
    assert (await api.get(f"/dead-letters/{id_}")).body["discardedAt"] is None


async def test_what_was_replayed_is_not_discarded(
    api: Server, conn: Connection, redis: Redis, account: Principal
) -> None:
    await put(redis, spoilt(account, "a", "bad"))
    id_ = await letter(api, conn)
    await conn.execute("update dead_letter set content = $1", entry.join([entry.encode_block(good(account, "bad"))]))
    replayed = await api.post(f"/dead-letters/{id_}/replay")

    reply = await api.delete(f"/dead-letters/{id_}?reason=x")

    assert (reply.status, reply.body) == (200, replayed.body)


async def test_no_account_discards_what_may_be_anothers(api: Server, conn: Connection, redis: Redis) -> None:
    await redis.xadd(NAME, {"blocks.1": b"\xc1"})
    id_ = await letter(api, conn)

    reply = await api.delete(f"/dead-letters/{id_}?reason=x")

    assert (reply.status, reply.codes) == (409, ["DEAD_LETTER_STAYS"])
    assert (await api.delete("/dead-letters/0193f000-0000-7000-8000-00000000000f?reason=x")).status == 404
