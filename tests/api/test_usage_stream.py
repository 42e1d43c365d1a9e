"""GET /usage/stream: what is counted is pushed, from where a client left off, until the process ends."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import msgspec
import pytest
from aiohttp import encode_basic_auth
from redis.asyncio import Redis

from meter.aggregate import Aggregator
from store.db import Pool
from tests import company
from tests.server import CLIENT_ID, SECRET, Server
from tests.usage import aggregator, called, drain

SECONDS_MAX = 5.0
# The clock of these tests stands on 10 March.
PERIOD = {"from": "2025-03-01T00:00:00Z", "to": "2025-04-01T00:00:00Z"}


@pytest.fixture
def counting(pool: Pool, redis: Redis) -> Aggregator:
    return aggregator(pool, redis)


@pytest.fixture
async def asked(api: Server) -> str:
    """The query string of a customer's stream."""
    customer, metric = await company.customer(api, "acme"), await company.metric(api, eventType="call")
    return f"customerId={customer}&metrics={metric}"


class Listener:
    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self.response = response

    async def message(self) -> dict[str, Any]:
        """The next message's fields; comments are skipped."""
        async with asyncio.timeout(SECONDS_MAX):
            while True:
                block = await self.response.content.readuntil(b"\n\n")
                lines = [line.partition(": ") for line in block.decode().splitlines()]
                fields = {name: value for name, _, value in lines if name}
                if fields:
                    return fields | {"data": msgspec.json.decode(fields["data"])}

    async def values(self) -> list[str]:
        return [one["value"] for one in (await self.message())["data"]["items"]]

    async def rest(self) -> bytes:
        async with asyncio.timeout(SECONDS_MAX):
            return await self.response.content.read()


@asynccontextmanager
async def listening(api: Server, query: str, **headers: str) -> AsyncIterator[Listener]:
    signed = {"Authorization": encode_basic_auth(CLIENT_ID, SECRET), **headers}
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"{api.url}/api/usage/stream?{query}", headers=signed) as response,
    ):
        assert response.status == 200, await response.read()
        assert response.content_type == "text/event-stream"
        yield Listener(response)


async def test_the_first_message_is_what_holds_now(api: Server, asked: str) -> None:
    async with listening(api, asked) as stream:
        message = await stream.message()

    [item] = message["data"]["items"]
    assert message["event"] == "usage"
    assert message["id"] == message["data"]["countedUpTo"]
    assert item == PERIOD | {"metricId": item["metricId"], "group": {}, "value": "0", "eventCount": 0}


async def test_usage_is_pushed_within_a_second_of_its_commit(api: Server, asked: str, counting: Aggregator) -> None:
    async with listening(api, asked) as stream:
        assert await stream.values() == ["0"]
        for number in (1, 2):
            await api.post("/usage-events", called(f"e{number}"))
            await drain(counting)
            async with asyncio.timeout(1):
                assert await stream.values() == [str(number)]


async def test_other_usage_is_not_pushed(api: Server, asked: str, counting: Aggregator) -> None:
    async with listening(api, asked) as stream:
        await stream.message()
        await api.post(
            "/usage-events", [called("other", alias="beta"), called("february", when="2025-02-01T00:00:00Z")]
        )
        await drain(counting)
        await api.post("/usage-events", called("mine"))
        await drain(counting)

        assert await stream.values() == ["1"]


async def test_a_client_that_comes_back_gets_the_newest_if_it_missed_any(
    api: Server, asked: str, counting: Aggregator
) -> None:
    await api.post("/usage-events", called("a"))
    await drain(counting)
    async with listening(api, asked) as stream:
        seen = (await stream.message())["id"]
    async with listening(api, asked, **{"Last-Event-ID": seen}) as stream:
        # Nothing was missed, so the next message is about something new.
        await api.post("/usage-events", called("b"))
        await drain(counting)
        assert await stream.values() == ["2"]
    for name in ("c", "d"):
        await api.post("/usage-events", called(name))
    await drain(counting)

    async with listening(api, asked, **{"Last-Event-ID": seen}) as stream:
        assert await stream.values() == ["4"]


async def test_a_stream_ends_with_the_process(api: Server, asked: str) -> None:
    async with listening(api, asked) as stream:
        await stream.message()
        stopping = asyncio.create_task(api.stop())

        assert await stream.rest() == b""
        await stopping


@pytest.mark.parametrize(
    ("query", "code", "key"),
    [
        ("metrics={metric}", "MISSING_FIELD", "customerId"),
        ("customerId={customer}", "MISSING_FIELD", "metrics"),
        ("customerId={customer}&metrics=calls", "INVALID_VALUE", "metrics"),
        ("customerId={customer}&metrics={customer}", "NOT_FOUND", None),
        ("customerId={metric}&metrics={metric}", "NOT_FOUND", "customerId"),
        ("customerId={customer}&metrics={metric}&window=YEAR", "INVALID_VALUE", "window"),
        ("customerId={customer}&metrics={metric}&window=BILLING_PERIOD", "NO_BILLING_PERIOD", "window"),
        ("customerId={customer}&metrics={metric}&timeZone=Mars", "INVALID_VALUE", "timeZone"),
    ],
)
async def test_a_stream_that_makes_no_sense_is_refused(
    api: Server, asked: str, query: str, code: str, key: str | None
) -> None:
    customer, metric = (part.partition("=")[2] for part in asked.split("&"))

    reply = await api.get(f"/usage/stream?{query.format(customer=customer, metric=metric)}")

    assert (reply.codes, reply.keys) == ([code], [key])


async def test_there_is_a_limit_to_streams(api: Server, asked: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("api.usage_stream.STREAMS_MAX", 1)
    async with listening(api, asked) as stream:
        await stream.message()

        reply = await api.get(f"/usage/stream?{asked}")

    assert (reply.status, reply.codes) == (503, ["TOO_MANY_STREAMS"])


async def test_the_usage_of_children_is_pushed_to_who_asks_for_it(
    api: Server, asked: str, counting: Aggregator
) -> None:
    parent = asked.partition("=")[2].partition("&")[0]
    await company.customer(api, "child", parentId=parent)
    async with listening(api, asked + "&includeChildren=true") as both, listening(api, asked) as alone:
        assert (await both.values(), await alone.values()) == (["0"], ["0"])
        await api.made("/usage-events", [called("a", alias="child"), called("b", alias="child")])
        await drain(counting)
        assert await both.values() == ["2"]
        await api.made("/usage-events", called("c"))
        await drain(counting)

        assert (await both.values(), await alone.values()) == (["3"], ["1"])
