"""Events that wait for the stream: bounded, and answered whatever happens."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from uuid import UUID

import msgspec
import pytest
from aiohttp import HttpVersion11, web
from aiohttp.http import RawRequestMessage
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from meter import entry, shortcut
from meter.shortcut import Shortcut
from store.account import Principal

NOW = datetime(2025, 3, 10, 12, tzinfo=UTC)
SENDERS = {
    name: Principal(account=number, account_id=UUID(int=number), client_id=name, time_zone="UTC")
    for number, name in enumerate(("one", "other"), start=1)
}
BODY = msgspec.json.encode({"customerAlias": "acme", "eventType": "call"})


class Stream:
    """Takes blocks when the test says so; what it was given."""

    def __init__(self) -> None:
        self.blocks: list[entry.Block] = []
        self.failure: Exception | None = None

    async def append(self, block: bytes) -> str:
        self.blocks += entry.decode(entry.join([block]))
        await asyncio.sleep(0)
        if self.failure is not None:
            raise self.failure
        return f"0/{len(self.blocks)}-0"


@pytest.fixture
def stream() -> Stream:
    return Stream()


def shortcut_to(stream: Stream, *, keep: Callable[[int, float], None] = lambda _status, _seconds: None) -> Shortcut:
    return Shortcut(
        stream.append,
        path="/events",
        clock=lambda: NOW,
        sender=SENDERS.get,
        refuse=lambda exc: web.Response(status=503, text=exc.code),
        keep=keep,
    )


@pytest.fixture
def send(stream: Stream) -> Callable[..., Awaitable[list[bytes]]]:
    """Send events at once; the statuses of the replies, empty where the long way has to answer."""
    way = shortcut_to(stream)

    async def send(count: int, *, senders: tuple[str, ...] = ("one",)) -> list[bytes]:
        replies = [asyncio.get_running_loop().create_future() for _ in range(count)]
        for number, reply in enumerate(replies):
            if not way.take(message(senders[number % len(senders)]), BODY, reply.set_result):
                reply.set_result(b"")
        return [whole[9:12] for whole in await asyncio.gather(*replies)]

    return send


def message(sender: str) -> RawRequestMessage:
    headers = CIMultiDictProxy(CIMultiDict({"Authorization": sender, "Content-Type": "application/json"}))
    return RawRequestMessage(
        "POST",
        "/events",
        HttpVersion11,
        headers,
        (),
        False,
        None,
        False,
        False,
        URL("/events"),
    )


async def test_an_append_holds_a_bounded_number(
    send: Callable[..., Awaitable[list[bytes]]], stream: Stream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shortcut, "TOGETHER_MAX", 4)

    assert await send(10) == [b"201"] * 10
    assert [len(block) for block in stream.blocks] == [4, 4, 2]


async def test_those_who_wait_are_bounded_too(
    send: Callable[..., Awaitable[list[bytes]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shortcut, "WAITING_MAX", 3)

    assert await send(5) == [b"201"] * 3 + [b""] * 2
    assert await send(1) == [b"201"]


async def test_each_account_has_a_block(send: Callable[..., Awaitable[list[bytes]]], stream: Stream) -> None:
    assert await send(5, senders=("one", "other")) == [b"201"] * 5
    assert [(block.account, len(block)) for block in stream.blocks] == [(1, 3), (2, 2)]


async def test_everybody_is_answered_when_something_unforeseen_happens(
    send: Callable[..., Awaitable[list[bytes]]], stream: Stream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shortcut, "TOGETHER_MAX", 2)
    stream.failure = ZeroDivisionError()

    assert await send(5) == [b"503"] * 5

    stream.failure = None
    assert await send(1) == [b"201"]


async def test_an_answer_that_cannot_be_given_keeps_nobody_from_theirs(stream: Stream) -> None:
    kept: list[int] = []
    way = shortcut_to(stream, keep=lambda status, _seconds: kept.append(status))
    answered = asyncio.get_running_loop().create_future()

    def fail(_: bytes) -> None:
        raise ConnectionResetError

    assert way.take(message("one"), BODY, fail)
    assert way.take(message("one"), BODY, answered.set_result)

    assert (await answered)[9:12] == b"201"
    assert kept == [201]


async def test_an_array_that_nobody_foresaw_is_left_to_the_long_way(
    stream: Stream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shortcut, "_block", lambda _body, _asked: 1 // 0)

    assert not shortcut_to(stream).take(message("one"), b"[" + BODY + b"]", lambda _: None)
    assert stream.blocks == []
