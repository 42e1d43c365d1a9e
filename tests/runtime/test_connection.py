"""The short way: only for requests that are whole and alone, in order, waited for by a shutdown; all else as ever."""

import asyncio
import socket
from collections.abc import AsyncIterator

import pytest
from aiohttp import web
from aiohttp.http import RawRequestMessage

from runtime import connection
from runtime.connection import SHORTCUT, Answer, Runner

SECONDS_MAX = 5.0
KEEPALIVE_SECONDS = 0.8
SHORT = b"POST /short HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n"
LONG = b"POST /long HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n"


class Asked:
    """A shortcut for one path that answers when the test says so."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        self.answers: asyncio.Queue[Answer] = asyncio.Queue()

    def __call__(self, message: RawRequestMessage, body: bytes, answer: Answer) -> bool:
        if message.path != "/short":
            return False
        self.bodies.append(body)
        self.answers.put_nowait(answer)
        return True

    async def answer(self, body: bytes) -> None:
        """Answer the oldest request that waits."""
        answer = await asyncio.wait_for(self.answers.get(), SECONDS_MAX)
        answer(connection.reply(connection.head(201, {"A": "b"}), body))


class Client:
    """A connection that shows every byte."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self.writer = reader, writer

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    async def reply(self) -> tuple[int, bytes]:
        """Status and body of the next reply."""
        head = await asyncio.wait_for(self._reader.readuntil(b"\r\n\r\n"), SECONDS_MAX)
        length = int(head.partition(b"Content-Length: ")[2].partition(b"\r\n")[0])
        return int(head[9:12]), await asyncio.wait_for(self._reader.readexactly(length), SECONDS_MAX)

    async def is_closed(self) -> bool:
        return not await asyncio.wait_for(self._reader.read(), SECONDS_MAX)


async def long_way(request: web.Request) -> web.Response:
    return web.Response(body=b"long " + await request.read())


@pytest.fixture
def asked() -> Asked:
    return Asked()


@pytest.fixture
async def runner(asked: Asked) -> AsyncIterator[Runner]:
    app = web.Application()
    app[SHORTCUT] = asked
    app.router.add_post("/{any}", long_way)
    runner = Runner(app, access_log=None, shutdown_timeout=SECONDS_MAX, keepalive_timeout=KEEPALIVE_SECONDS)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield runner
    await runner.cleanup()


@pytest.fixture
async def client(runner: Runner) -> AsyncIterator[Client]:
    client = Client(*await asyncio.open_connection(*runner.addresses[0][:2]))
    yield client
    client.writer.close()


async def test_a_request_of_the_shortcut_never_reaches_the_application(client: Client, asked: Asked) -> None:
    for body in (b"aa", b"bb"):
        client.send(SHORT + body)
        await asked.answer(b"short " + body)
        assert await client.reply() == (201, b"short " + body)

    assert asked.bodies == [b"aa", b"bb"]


async def test_what_it_leaves_is_the_applications_whole(client: Client, asked: Asked) -> None:
    for _ in range(2):
        client.send(LONG + b"aa")
        assert await client.reply() == (200, b"long aa")
        client.send(SHORT + b"bb")
        await asked.answer(b"short bb")
        assert await client.reply() == (201, b"short bb")


@pytest.mark.parametrize(
    "request_",
    [
        b"POST /short HTTP/1.0\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\naa",
        b"POST /short HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 2\r\n\r\naa",
        b"POST /short HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\naa\r\n0\r\n\r\n",
    ],
)
async def test_other_ways_to_speak_http_are_left_to_the_application(
    client: Client, asked: Asked, request_: bytes
) -> None:
    client.send(request_)

    assert await client.reply() == (200, b"long aa")
    assert asked.bodies == []


async def test_a_request_in_parts_is_left_to_the_application(runner: Runner, client: Client, asked: Asked) -> None:
    client.send(SHORT)
    await until_read(runner)
    client.send(b"aa")

    assert await client.reply() == (200, b"long aa")
    assert asked.bodies == []


async def test_replies_keep_the_order_of_pipelined_requests(runner: Runner, client: Client, asked: Asked) -> None:
    client.send(SHORT + b"aa")
    answer = await asyncio.wait_for(asked.answers.get(), SECONDS_MAX)
    client.send(LONG + b"bb" + SHORT + b"cc")
    await until_read(runner)

    answer(connection.reply(connection.head(201, {}), b"first"))

    assert [await client.reply() for _ in range(3)] == [(201, b"first"), (200, b"long bb"), (200, b"long cc")]


async def test_requests_that_come_with_the_connection_keep_their_order(runner: Runner, asked: Asked) -> None:
    # Everything lies in the socket before the server accepts it.
    with socket.create_connection(runner.addresses[0][:2]) as sending:
        sending.sendall(SHORT + b"aa")
        client = Client(*await asyncio.open_connection(sock=sending.dup()))
        answer = await asyncio.wait_for(asked.answers.get(), SECONDS_MAX)
        client.send(LONG + b"bb")
        await until_read(runner)
        answer(connection.reply(connection.head(201, {}), b"first"))

        assert [await client.reply() for _ in range(2)] == [(201, b"first"), (200, b"long bb")]
        client.writer.close()


async def until_read(runner: Runner) -> None:
    """Until the server has read what was sent so far: it answers what was sent later, on another connection."""
    other = Client(*await asyncio.open_connection(*runner.addresses[0][:2]))
    other.send(LONG + b"xx")
    await other.reply()
    other.writer.close()


async def test_garbage_is_answered_as_ever(client: Client) -> None:
    client.send(b"\x00\x01garbage\r\n\r\n")

    assert (await client.reply())[0] == 400


async def test_a_shutdown_waits_for_the_answer(client: Client, asked: Asked, runner: Runner) -> None:
    client.send(SHORT + b"aa")
    answer = await asyncio.wait_for(asked.answers.get(), SECONDS_MAX)
    ending = asyncio.create_task(runner.cleanup())
    done, _ = await asyncio.wait({ending}, timeout=0.1)
    assert not done

    answer(connection.reply(connection.head(201, {}), b"late"))

    assert await client.reply() == (201, b"late")
    assert await client.is_closed()
    await asyncio.wait_for(ending, SECONDS_MAX)


async def test_an_answer_for_somebody_who_left_harms_nobody(runner: Runner, client: Client, asked: Asked) -> None:
    client.send(SHORT + b"aa")
    answer = await asyncio.wait_for(asked.answers.get(), SECONDS_MAX)
    client.writer.transport.abort()
    assert runner.server is not None
    async with asyncio.timeout(SECONDS_MAX):
        while runner.server.connections:  # noqa: ASYNC110 aiohttp tells nobody
            await asyncio.sleep(0)

    answer(b"HTTP/1.1 201 Created\r\n\r\n")

    await until_read(runner)


async def test_a_connection_is_closed_when_it_asked_nothing_for_long(client: Client, asked: Asked) -> None:
    # Together longer than the time that one may be idle.
    for _ in range(4):
        await asyncio.sleep(0.3 * KEEPALIVE_SECONDS)
        client.send(SHORT + b"aa")
        await asked.answer(b"short")
        assert await client.reply() == (201, b"short")

    assert await client.is_closed()
