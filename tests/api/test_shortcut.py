"""The short way of good events: the same answers as the long way, and only for what is right in every respect."""

import asyncio
import gzip
from typing import Any

import msgspec
import pytest
from aiohttp import web
from aiohttp.http import RawRequestMessage
from redis.asyncio import Redis

from meter import entry
from runtime import telemetry
from runtime.connection import SHORTCUT, Answer
from runtime.settings import Settings
from store import account as accounts
from store.account import Principal
from store.db import Connection, Pool
from tests.server import CLIENT_ID, SECRET, Clock, Server, serving
from tests.usage import aggregator, another_account, called, drain, make_metric, measured, used
from usance import app
from usance.loop import Servers

TYPE = {"Content-Type": "application/json"}
EVENT = msgspec.json.encode(called("e1"))


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """What the shortcut of the next application answered, request by request; only what it was asked."""
    found: list[bool] = []
    make = app.make_app

    def watched(**arguments: Any) -> web.Application:
        made = make(**arguments)
        take = made[SHORTCUT]

        def shortcut(message: RawRequestMessage, body: bytes, answer: Answer) -> bool:
            found.append(take(message, body, answer))
            return found[-1]

        made[SHORTCUT] = shortcut
        return made

    monkeypatch.setattr(app, "make_app", watched)
    return found


@pytest.fixture
async def known(taken: list[bool], api: Server) -> Server:
    """The application, after a first request that made the key known to it."""
    assert (await api.post("/usage-events", called("first"))).status == 201
    assert taken == [False]
    taken.clear()
    return api


ARRAY = msgspec.json.encode([called("e1"), called("e2"), called("e2")])


@pytest.mark.parametrize(("body", "status"), [(EVENT, 201), (ARRAY, 202)])
async def test_the_short_way_answers_what_the_long_way_answers(
    known: Server, taken: list[bool], body: bytes, status: int
) -> None:
    short = await known.post("/usage-events", data=body, headers=TYPE)
    long = await known.post("/usage-events", data=body, headers={"Content-Type": "application/json; charset=utf-8"})

    assert taken == [True, False]
    assert short.status == long.status == status
    assert unplaced(short.body) == unplaced(long.body)
    assert set(short.headers) == set(long.headers)
    same = set(short.headers) - {"Date", "Usance-Position"}
    assert {name: short.headers[name] for name in same} == {name: long.headers[name] for name in same}


def unplaced(body: dict[str, Any]) -> dict[str, Any]:
    """A reply without the position, which is another one for each request."""
    return {name: value for name, value in body.items() if name != "position"}


async def test_what_it_takes_is_counted(
    known: Server, taken: list[bool], pool: Pool, redis: Redis, conn: Connection, account: Principal
) -> None:
    calls = await make_metric(conn, account)

    singles = [called(f"e{n}") for n in range(50)]
    arrays = [[called(f"a{n}"), called(f"b{n}"), called(f"e{n}")] for n in range(20)]
    replies = await asyncio.gather(*(known.post("/usage-events", body) for body in (*singles, *arrays)))

    assert taken == [True] * 70
    assert {reply.status for reply in replies} == {201, 202}
    await drain(aggregator(pool, redis), now=known.clock.now)
    assert await measured(conn, account, calls) == used("91", 91)


async def test_what_comes_together_shares_a_block(known: Server, redis: Redis) -> None:
    await redis.delete("events:{0}")

    replies = await asyncio.gather(*(known.post("/usage-events", called(f"e{n}")) for n in range(50)))

    entries = await redis.xrange("events:{0}")
    assert {id_ for id_, _ in entries} == {reply.headers["Usance-Position"][2:].encode() for reply in replies}
    assert all(len(entry.decode(fields[b"blocks.1"])) == 1 for _, fields in entries)
    assert len(entries) < 25


async def test_events_of_several_accounts_come_together_and_stay_apart(
    known: Server, taken: list[bool], pool: Pool, redis: Redis, conn: Connection, account: Principal
) -> None:
    other = await another_account(conn)
    await accounts.create_key(conn, other.account, client_id="other", secret="other-secret", now=known.clock())
    bearers = [{"Authorization": f"Bearer {pair}"} for pair in (f"{CLIENT_ID}:{SECRET}", "other:other-secret")]
    metrics = [await make_metric(conn, one) for one in (account, other)]
    for headers in bearers:
        await known.post("/usage-events", called("first"), headers=headers)

    sent = [known.post("/usage-events", called(f"e{n}"), headers=bearers[n % 3 == 0]) for n in range(30)]
    replies = await asyncio.gather(*sent)

    assert taken[-30:] == [True] * 30
    ids = [str(account.account_id), str(other.account_id)]
    assert [reply.body["sequenceAccountId"] for reply in replies] == [ids[n % 3 == 0] for n in range(30)]
    await drain(aggregator(pool, redis), now=known.clock.now)
    assert await measured(conn, account, metrics[0]) == used("21", 21)
    assert await measured(conn, other, metrics[1]) == used("11", 11)


BACKFILL = {"Usance-Backfill": "0195813c-4f00-7000-8000-000000000001"}


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        (b"[]", {}, 400),
        (b"[" + EVENT + b",1]", {}, 202),
        (b"[" + EVENT + b',{"customerAlias":"","eventType":"call"}]', {}, 202),
        (msgspec.json.encode([called(f"e{n}") for n in range(1_001)]), {}, 202),
        (b" " + EVENT, {}, 201),
        (EVENT, {"Content-Type": "application/x-ndjson"}, 202),
        (EVENT, {"Content-Type": "text/plain"}, 415),
        (gzip.compress(EVENT), {"Content-Encoding": "gzip"}, 201),
        (EVENT, {"Content-Encoding": "nonsense"}, 415),
        (EVENT, {"Expect": "100-continue"}, 201),
        (EVENT, BACKFILL, 404),
        (EVENT, {"Authorization": "Bearer test:wrong"}, 401),
        (EVENT, {"Authorization": ""}, 401),
        (b'{"customerAlias": "acme"}', {}, 400),
        (b"{", {}, 400),
        (b"{" + b" " * 9_000 + b"}", {}, 400),
        (msgspec.json.encode(called("e2", when="2099-01-01T00:00:00Z")), {}, 400),
    ],
)
async def test_everything_else_goes_the_long_way(
    known: Server, taken: list[bool], body: bytes, headers: dict[str, str], status: int
) -> None:
    reply = await known.post("/usage-events", data=body, headers=TYPE | headers)

    assert (reply.status, any(taken)) == (status, False)


@pytest.mark.parametrize("path", ["/usage-events?x=1", "/usage-events/", "/v1/events"])
async def test_other_paths_go_the_long_way(known: Server, taken: list[bool], path: str) -> None:
    await known.post(path, data=EVENT, headers=TYPE)

    assert taken == [False]


async def test_a_key_that_may_not_send_usage_is_not_let_in(
    known: Server, taken: list[bool], conn: Connection, account: Principal
) -> None:
    await accounts.create_key(
        conn, account.account, client_id="reader", secret="reader-secret", now=known.clock(), scopes=["read"]
    )
    headers = {"Authorization": "Bearer reader:reader-secret"}
    assert (await known.get("/products", headers=headers)).status == 200
    taken.clear()

    reply = await known.post("/usage-events", called("e1"), headers=headers)

    assert (reply.status, taken) == (403, [False])


async def test_a_full_stream_is_said_in_the_same_words(
    taken: list[bool], pool: Pool, redis: Redis, conn: Connection, account: Principal, clock: Clock
) -> None:
    settings = Settings(stream_entries_max=1)
    async with serving(Servers(pool, redis), conn=conn, account=account, clock=clock, settings=settings) as api:
        await api.post("/usage-events", called("first"))
        short = await api.post("/usage-events", data=EVENT, headers=TYPE)
        long = await api.post("/usage-events", data=b" " + EVENT, headers=TYPE)

    assert taken == [False, True, False]
    assert (short.status, short.body) == (long.status, long.body) == (503, short.body)
    assert short.headers == long.headers | {"Date": short.headers["Date"]}


async def test_whoever_counts_requests_sees_all_of_them(
    pool: Pool, redis: Redis, conn: Connection, account: Principal, clock: Clock
) -> None:
    settings = Settings(rate_limit_ingest="2/hour")
    async with serving(Servers(pool, redis), conn=conn, account=account, clock=clock, settings=settings) as api:
        statuses = [(await api.post("/usage-events", called("e1"))).status for _ in range(3)]

    assert statuses == [201, 201, 429]


async def test_it_is_measured_like_the_others(known: Server, taken: list[bool]) -> None:
    before = told()

    await known.post("/usage-events", called("e1"))
    await known.post("/usage-events", [called("e2")])

    assert taken == [True, True]
    assert told() == {name: before[name] + 1 for name in before} | {ACCEPTED: before[ACCEPTED] + 2}


ACCEPTED = "usance_events_accepted_total"
LABELS = 'usance_request_seconds_count{method="POST",route="/api/usage-events",status="%d"}'


def told() -> dict[str, float]:
    """What is told of requests and events."""
    lines = dict(line.rsplit(" ", 1) for line in telemetry.exposition().decode().splitlines() if line[0] != "#")
    return {name: float(lines.get(name, 0)) for name in (ACCEPTED, LABELS % 201, LABELS % 202)}
