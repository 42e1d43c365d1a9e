"""The dialects of POST /usage-events, and /v1/events in the manners of other products' clients."""

import gzip
import io
from typing import Any

import msgspec
import pytest
from backports import zstd
from redis.asyncio import Redis

from store.account import Principal
from store.db import Connection
from tests.api.bodies import CLOUD
from tests.server import Reply, Server
from tests.usage import called, make_metric, measured, used

NDJSON, ONE, BATCH = "application/x-ndjson", "application/cloudevents+json", "application/cloudevents-batch+json"


def encode(*events: Any) -> bytes:
    return msgspec.json.encode(events[0] if len(events) == 1 else list(events))


async def send(api: Server, path: str, body: bytes, type_: str, **headers: str) -> Reply:
    return await api.post(path, data=io.BytesIO(body), headers={"Content-Type": type_, **headers})


def cloud(id_: str = "1", **fields: Any) -> dict[str, Any]:
    return CLOUD | {"id": id_} | fields


async def test_lines_are_a_batch(api: Server) -> None:
    lines = [encode(called("a")), b"", b"  ", b"{", encode(called("b")) + b"\r", encode({"customerEventId": "c"})]

    reply = await send(api, "/usage-events", b"\n".join(lines), NDJSON)

    assert (reply.status, reply.body["accepted"]) == (202, 2)
    assert [(one["index"], one["customerEventId"], one["code"]) for one in reply.body["rejected"]] == [
        (1, None, "MALFORMED_JSON"),
        (3, "c", "MISSING_FIELD"),
    ]


async def test_one_line_is_a_batch_too(api: Server) -> None:
    reply = await send(api, "/usage-events", encode(called("a")) + b"\n", NDJSON)

    assert (reply.status, reply.body["accepted"], reply.body["rejected"]) == (202, 1, [])


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"\n\n", 400, "EMPTY_BATCH"),
        (b"{}\n" * 10_001, 413, "BATCH_TOO_LARGE"),
        (b"{}\n[]", 400, "MISSING_FIELD"),
        (b" " * (8 * 1024 * 1024 + 1), 413, "BODY_TOO_LARGE"),
    ],
)
async def test_bad_lines_have_their_codes(api: Server, redis: Redis, body: bytes, status: int, code: str) -> None:
    reply = await send(api, "/usage-events", body, NDJSON)

    assert (reply.status, reply.codes[0]) == (status, code)
    assert await redis.dbsize() == 0


async def test_a_cloud_event_is_answered_as_it_is_stored(api: Server) -> None:
    reply = await send(api, "/usage-events", encode(cloud("7", data={"n": 1})), ONE)

    assert reply.status == 201
    assert reply.body["customerEventId"] == "https://shop.example/api 7"
    assert (reply.body["customerAlias"], reply.body["eventType"]) == ("acme", "call")
    assert reply.body["eventProperties"] == {"n": 1}


async def test_a_batch_of_cloud_events_keeps_the_good_ones(api: Server) -> None:
    reply = await send(api, "/usage-events", encode(cloud("1"), cloud("2", subject=7)), BATCH)

    assert (reply.status, reply.body["accepted"]) == (202, 1)
    assert [(one["index"], one["customerEventId"], one["code"]) for one in reply.body["rejected"]] == [
        (1, "https://shop.example/api 2", "WRONG_TYPE")
    ]


@pytest.mark.parametrize("type_", ["application/json", BATCH, NDJSON])
async def test_a_batch_of_nothing_but_bad_events_is_refused_in_every_dialect(
    api: Server, redis: Redis, type_: str
) -> None:
    body = b"{}\n{}" if type_ == NDJSON else b"[{},{}]"

    reply = await send(api, "/usage-events", body, type_)

    assert (reply.status, reply.codes) == (400, ["MISSING_FIELD", "MISSING_FIELD"])
    assert [key.split(".")[0] for key in reply.keys if key] == ["[0]", "[1]"]
    assert await redis.dbsize() == 0


@pytest.mark.parametrize(
    ("body", "type_", "code"),
    [
        (b"[]", ONE, "WRONG_TYPE"),
        (b"{}", BATCH, "MALFORMED_JSON"),
        (b"[]", BATCH, "EMPTY_BATCH"),
    ],
)
async def test_a_body_must_be_what_its_type_says(api: Server, body: bytes, type_: str, code: str) -> None:
    reply = await send(api, "/usage-events", body, type_)

    assert (reply.status, reply.codes) == (400, [code])


@pytest.mark.parametrize(("encoding", "squeeze"), [("gzip", gzip.compress), ("zstd", zstd.compress)])
async def test_bodies_may_be_compressed(api: Server, encoding: str, squeeze: Any) -> None:
    body = squeeze(encode(called("a"), called("b")))

    reply = await send(api, "/usage-events", body, "application/json", **{"Content-Encoding": encoding})

    assert (reply.status, reply.body["accepted"]) == (202, 2)


@pytest.mark.parametrize(("encoding", "squeeze"), [("gzip", gzip.compress), ("zstd", zstd.compress)])
async def test_half_a_compressed_body_leaves_nothing_behind(
    api: Server, redis: Redis, encoding: str, squeeze: Any
) -> None:
    body = squeeze(encode(*(called(f"e{n}") for n in range(100))))

    for broken in (body[:-5], body + b"junk", body[:20], b""):
        reply = await send(api, "/usage-events", broken, "application/json", **{"Content-Encoding": encoding})
        assert (reply.status, reply.codes) == (400, ["BAD_COMPRESSION"])
    assert await redis.dbsize() == 0


async def test_the_limit_is_on_the_inflated_size(api: Server) -> None:
    body = gzip.compress(b" " * (8 * 1024 * 1024 + 1))

    reply = await send(api, "/usage-events", body, "application/json", **{"Content-Encoding": "gzip"})

    assert (reply.status, reply.codes) == (413, ["BODY_TOO_LARGE"])


# What the clients send, as their documents show it: one event and several, with everything that they may leave out.
SDK_EVENT = {
    "id": "5c10fade-1c9e-4d6c-8275-c52c36731d3c",
    "source": "my-app",
    "specversion": "1.0",
    "type": "prompt",
    "subject": "customer-1",
    "time": "2025-03-10T11:59:59.123456Z",
    "datacontenttype": "application/json",
    "data": {"tokens": "123", "model": "gpt-4", "cached": False, "cost": 0.0125},
}
NODE_EVENT = {
    "specversion": "1.0",
    "id": "00000001",
    "source": "@openmeter/sdk",
    "type": "api-calls",
    "subject": "customer-1",
    "time": "2025-03-10T11:00:00.000Z",
    "data": {"duration_ms": "10", "path": "/hello"},
}
# The Python SDK of CloudEvents in structured mode, whose times end in an offset.
PYTHON_EVENT = {
    "specversion": "1.0",
    "id": "f1b5f5a0-54a1-4a2a-8a2e-6d3a8a6ac7f4",
    "source": "https://example.com/event-producer",
    "type": "com.example.sampletype1",
    "time": "2025-03-10T11:59:00.123456+00:00",
    "subject": "customer-1",
    "data": {"message": "Hello World!"},
}


@pytest.mark.parametrize(
    ("body", "type_"),
    [
        (encode(SDK_EVENT), ONE),
        (encode(SDK_EVENT | {"time": None, "data": None, "datacontenttype": None}), ONE),
        (encode(NODE_EVENT), ONE),
        (encode(PYTHON_EVENT), "application/cloudevents+json; charset=utf-8"),
        (encode(SDK_EVENT, NODE_EVENT, PYTHON_EVENT), BATCH),
        (encode(SDK_EVENT | {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}), ONE),
        (encode(SDK_EVENT), "application/json"),
        (encode(SDK_EVENT, NODE_EVENT), "application/json"),
    ],
)
async def test_what_other_clients_send_is_answered_204_without_a_body(api: Server, body: bytes, type_: str) -> None:
    reply = await send(api, "/v1/events", body, type_)

    assert (reply.status, reply.body) == (204, b"")
    assert reply.headers["Usance-Position"].startswith("0/")


def problem(reply: Reply) -> dict[str, Any]:
    assert reply.headers["Content-Type"] == "application/problem+json"
    found: dict[str, Any] = msgspec.json.decode(reply.body)
    assert found["status"] == reply.status
    assert found["title"]
    assert found["detail"]
    return found


async def test_a_batch_with_a_bad_event_is_a_problem_and_the_good_ones_are_kept(
    api: Server, conn: Connection, account: Principal
) -> None:
    calls = await make_metric(conn, account)
    body = encode(cloud("1"), cloud("2", time="yesterday"), cloud("3"))

    # A retry is harmless.
    replies = [await send(api, "/v1/events", body, BATCH) for _ in range(2)]
    await api.aggregate()

    for reply in replies:
        found = problem(reply)
        assert (reply.status, found["code"]) == (400, "EVENTS_REFUSED")
        assert reply.headers["Usance-Position"].startswith("0/")
        assert [(one["code"], one["key"]) for one in found["errors"]] == [("INVALID_VALUE", "[1].time")]
    assert await measured(conn, account, calls) == used("2", 2)


@pytest.mark.parametrize(
    ("body", "type_", "status", "code"),
    [
        (b"{}", ONE, 400, "MISSING_FIELD"),
        (b"[{}]", BATCH, 400, "NOTHING_ACCEPTED"),
        (b"{", ONE, 400, "MALFORMED_JSON"),
        (b"", ONE, 400, "MALFORMED_JSON"),
        (encode(called("a")), "application/json", 400, "UNKNOWN_FIELD"),
        (b"{}", NDJSON, 415, "UNSUPPORTED_MEDIA_TYPE"),
        (b"{}", "text/plain", 415, "UNSUPPORTED_MEDIA_TYPE"),
    ],
)
async def test_everything_else_is_a_problem(
    api: Server, redis: Redis, body: bytes, type_: str, status: int, code: str
) -> None:
    reply = await send(api, "/v1/events", body, type_)

    assert (reply.status, problem(reply)["code"]) == (status, code)
    assert await redis.dbsize() == 0


async def test_without_a_key_it_is_a_problem_too(api: Server) -> None:
    reply = await send(api, "/v1/events", encode(cloud()), ONE, Authorization="Bearer om_token")

    assert (reply.status, problem(reply)["code"]) == (401, "UNAUTHENTICATED")
