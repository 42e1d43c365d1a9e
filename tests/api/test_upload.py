"""POST /usage-events/csv: a file of events, with its bad rows in the reply."""

import gzip
import io
from collections.abc import AsyncIterator

import aiohttp
import pytest
from redis.asyncio import Redis

from meter import stream, upload
from meter.error import StreamFull
from meter.stream import Stream
from store.account import Principal
from store.db import Connection
from tests.server import Reply, Server
from tests.usage import definition, make_metric, measured, used

HEADER = "eventType,eventTimestamp,customerAlias,customerEventId,eventProperties#tokens\n"


def rows(count: int, *, id_: str = "e{}") -> str:
    return HEADER + "".join(f"call,2025-03-01T10:07:00Z,acme,{id_.format(n)},2\n" for n in range(count))


async def send(api: Server, body: bytes | str, **headers: str) -> Reply:
    content = body.encode() if isinstance(body, str) else body
    return await api.post(
        "/usage-events/csv", data=io.BytesIO(content), headers={"Content-Type": "text/csv", **headers}
    )


async def test_the_rows_of_a_file_count_and_the_bad_ones_are_told(
    api: Server, conn: Connection, account: Principal
) -> None:
    tokens = await make_metric(conn, account, definition("SUM", "tokens"))

    reply = await send(api, rows(2_500) + "call,yesterday,acme,bad,1\ncall\n")
    await api.aggregate()

    assert (reply.status, reply.body["accepted"], reply.body["rejectedCount"]) == (202, 2_500, 2)
    assert [(one["row"], one["customerEventId"], one["code"]) for one in reply.body["rejected"]] == [
        (2502, "bad", "INVALID_VALUE"),
        (2503, None, "BAD_ROW"),
    ]
    assert reply.headers["Usance-Position"] == reply.body["position"]
    assert await measured(conn, account, tokens) == used("5000", 2_500)


async def test_the_same_file_again_changes_nothing(api: Server, conn: Connection, account: Principal) -> None:
    tokens = await make_metric(conn, account, definition("SUM", "tokens"))

    for _ in range(2):
        await send(api, rows(3, id_=""))
        await api.aggregate()

    assert await measured(conn, account, tokens) == used("6", 3)


async def test_a_file_comes_as_a_form_too(api: Server) -> None:
    form = aiohttp.FormData()
    form.add_field("note", "march")
    form.add_field("file", io.BytesIO(rows(2).encode()), filename="usage.csv", content_type="text/csv")

    reply = await api.post("/usage-events/csv", data=form)

    assert (reply.status, reply.body["accepted"]) == (202, 2)


async def test_a_form_without_a_file_is_refused(api: Server) -> None:
    with aiohttp.MultipartWriter("form-data") as form:
        form.append("text")

    reply = await api.post("/usage-events/csv", data=form)

    assert (reply.status, reply.codes) == (400, ["BAD_FILE"])


async def test_a_file_may_be_compressed(api: Server) -> None:
    reply = await send(api, gzip.compress(rows(2).encode()), **{"Content-Encoding": "gzip"})

    assert (reply.status, reply.body["accepted"]) == (202, 2)


@pytest.mark.parametrize(
    ("body", "headers", "status", "code"),
    [
        (rows(0), {}, 400, "EMPTY_BATCH"),
        (b"", {}, 400, "BAD_FILE"),
        (b"a,b\n1,2\n", {}, 400, "BAD_FILE"),
        (HEADER + "call\ncall\n", {}, 400, "BAD_ROW"),
        (rows(1), {"Content-Type": "application/json"}, 415, "UNSUPPORTED_MEDIA_TYPE"),
        (rows(1), {"Content-Encoding": "br"}, 415, "UNSUPPORTED_MEDIA_TYPE"),
        (gzip.compress(rows(2_000).encode())[:-9], {"Content-Encoding": "gzip"}, 400, "BAD_COMPRESSION"),
    ],
)
async def test_bad_files_have_their_codes_and_leave_nothing_behind(
    api: Server, redis: Redis, body: str | bytes, headers: dict[str, str], status: int, code: str
) -> None:
    reply = await send(api, body, **headers)

    assert (reply.status, reply.codes[0]) == (status, code)
    assert await redis.dbsize() == 0


async def test_a_file_that_is_too_large_leaves_nothing_behind(
    api: Server, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upload, "FILE_BYTES_MAX", 100_000)

    for body, encoding in ((rows(5_000).encode(), "identity"), (gzip.compress(rows(5_000).encode()), "gzip")):
        reply = await send(api, body, **{"Content-Encoding": encoding})
        assert (reply.status, reply.codes) == (413, ["BODY_TOO_LARGE"])
    assert await redis.dbsize() == 0


async def test_an_upload_that_breaks_off_leaves_nothing_behind(api: Server, redis: Redis) -> None:
    async def half() -> AsyncIterator[bytes]:
        yield rows(2_000).encode()
        raise ConnectionAbortedError

    with pytest.raises((aiohttp.ClientError, ConnectionAbortedError)):
        await api.post("/usage-events/csv", data=half(), headers={"Content-Type": "text/csv"})
    # A request after it: the server has dealt with the one that broke off.
    await api.get("/products")

    assert await redis.dbsize() == 0


async def test_a_stream_that_fills_up_half_way_says_from_which_row_to_go_on(
    api: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    append = Stream.append
    appended: list[bytes] = []

    async def once(self: Stream, block: bytes) -> str:
        if appended:
            raise StreamFull
        appended.append(block)
        return await append(self, block)

    monkeypatch.setattr(stream.Stream, "append", once)

    reply = await send(api, rows(1_500))

    assert (reply.status, reply.codes) == (503, ["STREAM_FULL"])
    assert "Rows before 1002 were taken" in reply.body["error"]["message"]
    assert reply.headers["Retry-After"] == "1"
