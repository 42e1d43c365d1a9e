"""/usage-backfills: how they are made, what they take, and what they refuse."""

import gzip
from typing import Any

import msgspec
import pytest
from redis.asyncio import Redis

from runtime.settings import Settings
from store.account import Principal
from store.db import Connection, Pool
from tests import company
from tests.server import Clock, Reply, Server, serving
from tests.usage import called
from usance.loop import Servers

ASKED = {"customerAliases": ["acme"], "from": "2025-03-01T00:00:00Z", "to": "2025-03-08T00:00:00Z"}
NOWHERE = "00000000-0000-7000-8000-000000000007"
CLOUD = {
    "specversion": "1.0",
    "source": "test",
    "id": "a",
    "subject": "acme",
    "type": "call",
    "time": "2025-03-01T10:07:00Z",
    "data": {"tokens": 1},
}
CSV = b"""eventType,eventTimestamp,customerAlias
call,2025-03-01T10:07:00Z,acme
call,2025-03-01T10:07:00Z,beta
"""


@pytest.fixture
async def backfill(api: Server) -> str:
    return str((await api.made("/usage-backfills", ASKED))["id"])


async def load(api: Server, backfill: str, body: Any) -> Reply:
    return await api.post("/usage-events", body, headers={"Usance-Backfill": backfill})


async def loaded(api: Server, backfill: str) -> int:
    count: int = (await api.get(f"/usage-backfills/{backfill}")).body["loadedCount"]
    return count


async def test_a_backfill_is_shown_with_its_counts(api: Server) -> None:
    made = await api.made("/usage-backfills", ASKED | {"name": "March again", "replace": True})

    assert made == ASKED | {
        "id": made["id"],
        "sequenceAccountId": "0193f000-0000-7000-8000-000000000001",
        "name": "March again",
        "customerId": None,
        "replace": True,
        "status": "OPEN",
        "loadedCount": 0,
        "progress": 0,
        "countedCount": 0,
        "duplicateCount": 0,
        "correctionCount": 0,
        "replacedCount": 0,
        "problem": None,
        "createdAt": "2025-03-10T12:00:00Z",
        "closedAt": None,
        "revertedAt": None,
    }
    assert (await api.get(f"/usage-backfills/{made['id']}")).body == made


@pytest.mark.parametrize(
    ("changes", "code", "key"),
    [
        ({"customerAliases": None}, "INVALID_VALUE", "customerId"),
        ({"customerId": NOWHERE}, "INVALID_VALUE", "customerId"),
        ({"customerId": NOWHERE, "customerAliases": None}, "NOT_FOUND", "customerId"),
        ({"customerAliases": []}, "INVALID_VALUE", "customerAliases"),
        ({"customerAliases": [""]}, "INVALID_VALUE", "customerAliases[0]"),
        ({"customerAliases": ["a"] * 101}, "INVALID_VALUE", "customerAliases"),
        ({"to": "2025-03-01T00:00:00Z"}, "INVALID_VALUE", "to"),
        ({"from": "2025-03-01"}, "INVALID_VALUE", "from"),
        ({"name": ""}, "INVALID_VALUE", "name"),
        ({"status": "OPEN"}, "UNKNOWN_FIELD", "status"),
    ],
)
async def test_what_cannot_be_is_refused(api: Server, changes: dict[str, Any], code: str, key: str) -> None:
    reply = await api.post("/usage-backfills", ASKED | changes)

    assert (reply.codes, reply.keys) == ([code], [key])


async def test_lists_are_filtered_by_status_and_cut_into_pages(api: Server) -> None:
    first, second, third = [(await api.made("/usage-backfills", ASKED))["id"] for _ in range(3)]
    await api.post(f"/usage-backfills/{second}/revert")

    async def ids(query: str) -> list[str]:
        return [one["id"] for one in (await api.get(f"/usage-backfills?{query}")).body["items"]]

    assert await ids("") == [third, second, first]
    assert await ids("status=REVERTED") == [second]
    assert await ids("status=OPEN,REVERTED&limit=2") == [third, second]
    assert (await api.get("/usage-backfills?status=GONE")).codes == ["INVALID_VALUE"]


async def test_one_event_is_answered_as_it_was_loaded(api: Server, backfill: str) -> None:
    reply = await load(api, backfill, called("a", tokens=1))

    assert (reply.status, reply.body["customerEventId"]) == (201, "a")
    assert "Usance-Position" not in reply.headers
    assert await loaded(api, backfill) == 1


@pytest.mark.parametrize(
    ("event", "code", "key"),
    [
        (called("a", alias="beta"), "OUTSIDE_BACKFILL", "customerAlias"),
        (called("a", when="2025-02-28T23:59:59.999999Z"), "OUTSIDE_BACKFILL", "eventTimestamp"),
        (called("a", when="2025-03-08T00:00:00Z"), "OUTSIDE_BACKFILL", "eventTimestamp"),
        (called("a", when=""), "MISSING_FIELD", "eventTimestamp"),
        (called("", tokens=1), "INVALID_VALUE", "customerEventId"),
    ],
)
async def test_what_does_not_belong_to_a_backfill_is_refused_and_the_rest_is_kept(
    api: Server, backfill: str, event: dict[str, Any], code: str, key: str
) -> None:
    alone = await load(api, backfill, event)
    among = await load(api, backfill, [called("good"), event, called("good too", when="2025-03-01T00:00:00Z")])

    assert (alone.codes, alone.keys) == ([code], [key])
    assert (among.status, among.body["accepted"], among.body["position"]) == (202, 2, None)
    assert [(one["index"], one["code"]) for one in among.body["rejected"]] == [(1, code)]
    assert await loaded(api, backfill) == 2


@pytest.mark.parametrize(
    ("path", "content_type", "body", "status"),
    [
        ("/usage-events", "application/x-ndjson", msgspec.json.encode(called("a")), 202),
        ("/usage-events", "application/cloudevents+json", msgspec.json.encode(CLOUD), 201),
        ("/usage-events", "application/cloudevents-batch+json", msgspec.json.encode([CLOUD]), 202),
        ("/v1/events", "application/cloudevents+json", msgspec.json.encode(CLOUD), 204),
        ("/usage-events/csv", "text/csv", CSV, 202),
    ],
)
async def test_every_dialect_loads_into_a_backfill(
    api: Server, backfill: str, path: str, content_type: str, body: bytes, status: int
) -> None:
    headers = {"Usance-Backfill": backfill, "Content-Type": content_type, "Content-Encoding": "gzip"}

    reply = await api.post(path, data=gzip.compress(body), headers=headers)

    assert reply.status == status, reply.body
    assert await loaded(api, backfill) == 1
    assert await api.aggregate() == 0


@pytest.mark.parametrize("name", [NOWHERE, "mine", ""])
async def test_a_backfill_that_is_not_there_takes_nothing(api: Server, name: str) -> None:
    reply = await load(api, name, [called("a")])

    assert (reply.status, reply.codes) == (404, ["NOT_FOUND"])


async def test_a_backfill_that_is_not_open_takes_nothing_and_cannot_be_closed(api: Server, backfill: str) -> None:
    await api.post(f"/usage-backfills/{backfill}/revert")

    refused = [await load(api, backfill, [called("a")]), await api.post(f"/usage-backfills/{backfill}/close")]

    assert [(reply.status, reply.codes) for reply in refused] == [(409, ["BACKFILL_NOT_OPEN"])] * 2
    assert await loaded(api, backfill) == 0


async def test_asking_again_changes_nothing(api: Server, backfill: str) -> None:
    closing = [await api.post(f"/usage-backfills/{backfill}/close") for _ in range(2)]

    assert [(reply.status, reply.body["status"]) for reply in closing] == [(202, "CLOSING")] * 2
    assert (await api.post(f"/usage-backfills/{backfill}/revert")).codes == ["BACKFILL_CLOSING"]
    assert (await load(api, backfill, [called("a")])).codes == ["BACKFILL_NOT_OPEN"]


async def test_a_load_beyond_the_limit_is_refused_as_a_whole(
    pool: Pool, redis: Redis, conn: Connection, account: Principal, clock: Clock
) -> None:
    settings = Settings(backfill_events_max=3)
    async with serving(Servers(pool, redis), conn=conn, account=account, clock=clock, settings=settings) as api:
        backfill = (await api.made("/usage-backfills", ASKED))["id"]
        await load(api, backfill, [called("a"), called("b")])

        reply = await load(api, backfill, [called("c"), called("d")])

        assert (reply.status, reply.codes) == (413, ["BACKFILL_TOO_LARGE"])
        assert await loaded(api, backfill) == 2
        assert await conn.fetchval("select count(*) from usage_backfill_event") == 2
        assert (await load(api, backfill, called("c"))).status == 201


async def test_aliases_of_a_customer_are_those_it_had_when_the_backfill_was_made(api: Server) -> None:
    acme = await company.customer(api, "acme")
    asked = {key: value for key, value in ASKED.items() if key != "customerAliases"} | {"customerId": acme}
    backfill = (await api.made("/usage-backfills", asked))["id"]
    await api.made("/customer-aliases", {"customerId": acme, "value": "late"})

    assert (await load(api, backfill, called("a"))).status == 201
    assert (await load(api, backfill, called("b", alias="late"))).codes == ["OUTSIDE_BACKFILL"]


async def test_a_backfill_of_nowhere_is_not_found(api: Server) -> None:
    replies = [
        await api.get(f"/usage-backfills/{NOWHERE}"),
        await api.post(f"/usage-backfills/{NOWHERE}/close"),
        await api.post(f"/usage-backfills/{NOWHERE}/revert"),
    ]

    assert [reply.codes for reply in replies] == [["NOT_FOUND"]] * 3
