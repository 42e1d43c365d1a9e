"""POST /usage-events: what is accepted is on disk, what is not is refused by index and reason."""

import asyncio
import io
from decimal import Decimal

import msgspec
import pytest
from redis.asyncio import Redis

from meter import entry, event, identity, ingest, properties
from store.account import Principal
from store.db import Connection, Pool
from tests.server import Reply, Server
from tests.usage import aggregator, called, drain, make_metric, measured, used

NAME = "events:{0}"
V7 = "0195813c-4f00-7000-8000-000000000001"


async def stored(redis: Redis) -> list[str]:
    """The property `n` of every event in the stream, in its order."""
    found = []
    for _, fields in await redis.xrange(NAME):
        for block in entry.decode(fields[b"blocks.1"]):
            found += [msgspec.json.decode(properties)["n"] for properties in block.properties]
    return found


async def send(api: Server, body: bytes, **headers: str) -> Reply:
    return await api.post(
        "/usage-events", data=io.BytesIO(body), headers={"Content-Type": "application/json", **headers}
    )


async def test_one_event_is_answered_as_it_is_stored(api: Server, account: Principal) -> None:
    reply = await api.post("/usage-events", called("e1", when="2025-03-01T10:07:00.5+02:00", tokens=5, model="large"))

    assert reply.status == 201
    assert reply.body == {
        "id": str(identity.public_id(identity.key("e1"))),
        "customerEventId": "e1",
        "customerAlias": "acme",
        "eventType": "call",
        "sequenceAccountId": str(account.account_id),
        "eventTimestamp": "2025-03-01T08:07:00.500000Z",
        "eventProperties": {"model": "large", "tokens": 5},
    }


async def test_an_event_needs_no_id_and_no_timestamp(api: Server) -> None:
    reply = await api.post("/usage-events", {"customerAlias": "acme", "eventType": "call"})

    assert reply.status == 201
    assert reply.body["eventTimestamp"] == "2025-03-10T12:00:00Z"
    assert reply.body["id"] == reply.body["customerEventId"]


async def test_a_repeat_is_answered_with_the_same_id(api: Server) -> None:
    first, second = [await api.post("/usage-events", called(V7)) for _ in range(2)]

    assert first.body == second.body
    assert first.body["id"] == V7


async def test_numbers_are_answered_in_all_their_digits(api: Server) -> None:
    number = "12345678901234567890.123456789012345678"
    body = b'{"customerAlias":"a","eventType":"t","eventProperties":{"n":%b}}' % number.encode()

    reply = await api.post("/usage-events", data=io.BytesIO(body), headers={"Content-Type": "application/json"})

    assert reply.body["eventProperties"] == {"n": Decimal(number)}


async def test_a_batch_is_accepted_with_its_position(api: Server, redis: Redis) -> None:
    reply = await api.post("/usage-events", [called(f"e{n}", n=n) for n in range(3)])

    last = (await redis.xinfo_stream(NAME))["last-generated-id"].decode()
    assert reply.status == 202
    assert reply.body == {"accepted": 3, "duplicates": 0, "position": f"0/{last}", "rejected": []}
    assert reply.headers["Usance-Position"] == f"0/{last}"
    assert await stored(redis) == [0, 1, 2]


async def test_good_events_of_a_batch_are_kept_although_others_are_bad(api: Server, redis: Redis) -> None:
    bad = called("b", n=1) | {"eventTimestamp": "yesterday"}

    reply = await api.post("/usage-events", [called("a", n=0), bad, {"customerEventId": 7}, called("d", n=3)])

    assert reply.status == 202
    assert reply.body["accepted"] == 2
    assert [(one["index"], one["customerEventId"], one["code"]) for one in reply.body["rejected"]] == [
        (1, "b", "INVALID_VALUE"),
        (2, None, "MISSING_FIELD"),
    ]
    assert all(one["message"] for one in reply.body["rejected"])
    assert await stored(redis) == [0, 3]


async def test_a_batch_of_several_turns_keeps_order_and_indices(api: Server, redis: Redis) -> None:
    events = [called(str(n), n=n) for n in range(2 * ingest.TURN_EVENTS + 1)]
    place = ingest.TURN_EVENTS + 1
    events[place] |= {"eventTimestamp": "yesterday"}

    first, second = await asyncio.gather(api.post("/usage-events", events), api.post("/usage-events", events))

    assert [first.body["accepted"], second.body["accepted"]] == [2 * ingest.TURN_EVENTS] * 2
    assert [one["index"] for one in first.body["rejected"]] == [place]
    wanted = [n for n in range(len(events)) if n != place]
    assert await stored(redis) == wanted * 2


async def test_an_event_of_a_batch_may_even_be_broken_text(api: Server, redis: Redis) -> None:
    good = msgspec.json.encode(called("a", n=0))

    reply = await send(api, b'[{"customerAlias":"\xff","eventType":"t"},%b]' % good)

    assert [one["code"] for one in reply.body["rejected"]] == ["MALFORMED_JSON"]
    assert await stored(redis) == [0]


async def test_a_batch_of_nothing_but_bad_events_leaves_nothing_behind(api: Server, redis: Redis) -> None:
    reply = await api.post("/usage-events", [{}, {"customerAlias": ""}])

    assert reply.status == 400
    assert await redis.exists(NAME) == 0


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"", 400, "MALFORMED_JSON"),
        (b"[", 400, "MALFORMED_JSON"),
        (b"[1,", 400, "MALFORMED_JSON"),
        (b"{}{}", 400, "MALFORMED_JSON"),
        (b"[]", 400, "EMPTY_BATCH"),
        (b"7", 400, "WRONG_TYPE"),
        (b"{}", 400, "MISSING_FIELD"),
        (b'{"customerAlias":"a","eventType":"t","color":1}', 400, "UNKNOWN_FIELD"),
        (b'{"customerAlias":"a","eventType":"t","eventProperties":{"n":1e20}}', 400, "INEXACT_NUMBER"),
        (b" " * (8 * 1024 * 1024 + 1), 413, "BODY_TOO_LARGE"),
        (b"[%b]" % b",".join([b"{}"] * 10_001), 413, "BATCH_TOO_LARGE"),
    ],
)
async def test_bad_bodies_have_their_codes(api: Server, redis: Redis, body: bytes, status: int, code: str) -> None:
    reply = await send(api, body)

    assert (reply.status, reply.codes) == (status, [code])
    assert await redis.exists(NAME) == 0


@pytest.mark.parametrize(
    "headers",
    [
        {"Content-Type": "text/plain"},
        {"Content-Type": "application/json; charset=utf-8", "Content-Encoding": "br"},
        {"Content-Encoding": "deflate"},
        {"Content-Encoding": "gzip, zstd"},
    ],
)
async def test_other_types_and_encodings_are_refused(api: Server, headers: dict[str, str]) -> None:
    reply = await send(api, b"{}", **headers)

    assert (reply.status, reply.codes) == (415, ["UNSUPPORTED_MEDIA_TYPE"])


async def test_a_charset_and_blanks_before_the_array_do_no_harm(api: Server) -> None:
    body = b" \r\n\t" + msgspec.json.encode([called("a")])

    reply = await send(api, body, **{"Content-Type": "application/json; charset=utf-8"})

    assert reply.status == 202


async def test_requests_at_once_share_entries_and_lose_nothing(api: Server, redis: Redis) -> None:
    replies = await asyncio.gather(*(api.post("/usage-events", called(f"e{n}", n=n)) for n in range(200)))

    assert {reply.status for reply in replies} == {201}
    assert sorted(await stored(redis)) == list(range(200))
    assert await redis.xlen(NAME) < 200


async def test_what_was_accepted_is_counted(
    api: Server, pool: Pool, conn: Connection, redis: Redis, account: Principal
) -> None:
    calls = await make_metric(conn, account)
    for _ in range(2):
        await api.post("/usage-events", [called("a"), called("b")])
        await api.post("/usage-events", called("c"))

    await drain(aggregator(pool, redis))

    assert await measured(conn, account, calls) == used("3", 3)


async def test_events_ahead_of_the_clock_are_refused(api: Server) -> None:
    reply = await api.post("/usage-events", called("a", when="2025-03-10T12:05:01Z"))

    assert (reply.status, reply.codes, reply.keys) == (400, ["INVALID_VALUE"], ["eventTimestamp"])


async def test_ingest_goes_on_while_postgres_is_away(api: Server, pool: Pool) -> None:
    assert (await api.post("/usage-events", called("a"))).status == 201
    await pool.close()

    assert (await api.post("/usage-events", called("b"))).status == 201


async def test_a_bad_event_is_named_also_where_events_are_read_by_their_names(api: Server, redis: Redis) -> None:
    events = [called(str(n), n=n, text="x" * 100) for n in range(60)]
    events[7]["eventProperties"] |= {"n": 10**20, "text": []}

    replies = [await api.post("/usage-events", events) for _ in range(4)]

    assert {reply.body["accepted"] for reply in replies} == {59}
    [said] = {tuple((one["index"], one["code"], one["message"]) for one in reply.body["rejected"]) for reply in replies}
    assert [one[:2] for one in said] == [(7, "INEXACT_NUMBER")]
    assert await stored(redis) == [n for n in range(60) if n != 7] * 4


def test_limits_are_those_that_are_documented() -> None:
    assert (event.EVENT_BYTES_MAX, properties.PROPERTIES_MAX, event.TEXT_CHARACTERS_MAX) == (8_192, 50, 255)


@pytest.mark.parametrize(
    ("tokens", "expected"),
    [
        # One id with these contents in turn: only what repeats the one right before it has no effect for sure.
        ([1], 0),
        ([1, 1], 1),
        ([1, 1, 1], 2),
        ([1, 2], 0),
        ([1, 2, 1], 0),
        ([1, 2, 2, 1, 1], 2),
    ],
)
async def test_what_one_request_says_twice_is_said_in_its_reply(
    api: Server, conn: Connection, tokens: list[int], expected: int
) -> None:
    events = [called("a", tokens=value) for value in tokens]
    mixed = [one for n, event in enumerate(events) for one in (event, called(f"between {n}"))]

    reply = await api.post("/usage-events", mixed)
    await api.aggregate()

    assert (reply.status, reply.body["accepted"], reply.body["duplicates"]) == (202, len(mixed), expected)
    stored = await conn.fetchval("select count(*) from usage_event where customer_event_id = 'a'")
    assert stored >= len(set(tokens))


async def test_a_duplicate_without_a_timestamp_is_one_however_its_properties_are_written(api: Server) -> None:
    one, other = called("a", when="", x=1, y=2), called("a", when="", y=2, x=1)

    reply = await api.post("/usage-events", [one, other, called("b", when="")])

    assert reply.body["duplicates"] == 1


async def test_a_repeat_of_another_request_is_not_known_here(api: Server) -> None:
    await api.post("/usage-events", [called("a")])

    assert (await api.post("/usage-events", [called("a")])).body["duplicates"] == 0
