"""Usage events as they are read: lists in pages, one, its versions, and the trace that says why it was counted."""

import asyncio
from datetime import timedelta
from itertools import count

import pytest
from redis.asyncio import Redis

from meter import identity
from store import usage_event
from store.account import Principal
from store.db import Connection, Pool
from tests import company
from tests.server import Server
from tests.usage import NOW, accept, aggregator, called, drain

NAME = "events:{0}"


def id_of(name: str) -> str:
    return str(identity.public_id(identity.key(name)))


async def names(api: Server, query: str = "") -> list[str]:
    """The sender's ids on the first page."""
    reply = await api.get(f"/usage-events{query}")
    assert reply.status == 200, reply.body
    return [one["customerEventId"] for one in reply.body["items"]]


async def walked(api: Server, query: str) -> list[str]:
    """The same over all pages."""
    found, after = [], ""
    for _ in count():
        reply = await api.get(f"/usage-events?{query}{after}")
        assert reply.status == 200, reply.body
        found += [one["customerEventId"] for one in reply.body["items"]]
        if reply.body["pagination"]["after"] is None:
            break
        after = f"&after={reply.body['pagination']['after']}"
    return found


@pytest.fixture
async def ten(api: Server) -> list[str]:
    """Ten events, sent in the order of their names; the later ones happened earlier."""
    for n in range(10):
        event = called(f"e{n}", alias=("acme", "beta")[n % 2], when=f"2025-03-01T10:{30 - n}:00Z", n=n)
        await api.made("/usage-events", event | {"eventType": ("call", "chat")[n % 5 == 0]})
    await api.aggregate()
    return [f"e{n}" for n in range(10)]


async def test_an_event_is_read_as_it_was_answered(api: Server) -> None:
    made = await api.made("/usage-events", called("a", n=1.5, text="x"))
    await api.aggregate()

    reply = await api.get(f"/usage-events/{made['id']}")

    assert reply.status == 200
    assert reply.body == made | {"receivedAt": "2025-03-10T12:00:00Z", "state": "LIVE"}


@pytest.mark.usefixtures("ten")
async def test_an_event_is_found_by_the_senders_id_too(api: Server) -> None:
    assert (await api.get("/usage-events/e3")).body["id"] == id_of("e3")


async def test_an_event_that_is_not_counted_yet_is_404_and_says_what_to_do(api: Server) -> None:
    await api.made("/usage-events", called("a"))

    for path in ("", "/versions", "/trace"):
        reply = await api.get(f"/usage-events/{id_of('a')}{path}")
        assert (reply.status, reply.codes) == (404, ["NOT_FOUND"])
        assert "Usance-Position" in reply.body["error"]["message"]


async def test_after_waits_until_the_event_is_counted(api: Server) -> None:
    sent = await api.post("/usage-events", called("a"))

    asked = asyncio.create_task(api.get(f"/usage-events/a?after={sent.headers['Usance-Position']}"))
    await asyncio.wait({asked}, timeout=0.05)
    assert not asked.done()
    await api.aggregate()

    assert (await asked).body["customerEventId"] == "a"


async def test_after_does_not_wait_for_ever(api: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("meter.position.wait.__kwdefaults__", {"seconds": 0.05})
    sent = await api.post("/usage-events", called("a"))

    reply = await api.get(f"/usage-events/a?after={sent.headers['Usance-Position']}")

    assert (reply.status, reply.codes) == (504, ["NOT_COUNTED_YET"])


@pytest.mark.parametrize("after", ["x", "0/1", "7/1-1", "0/1-1%20", "-1/1-1"])
async def test_after_is_a_position(api: Server, after: str) -> None:
    reply = await api.get(f"/usage-events/a?after={after}")

    assert (reply.status, reply.codes, reply.keys) == (400, ["INVALID_VALUE"], ["after"])


async def test_the_list_is_in_the_order_of_receipt_newest_first(api: Server, ten: list[str]) -> None:
    assert await names(api) == ten[::-1]
    assert await names(api, "?sortOrder=ASC&limit=3") == ten[:3]


async def test_of_aliases_the_list_is_by_event_time(api: Server, ten: list[str]) -> None:
    assert await names(api, "?customerAlias=acme") == ["e0", "e2", "e4", "e6", "e8"]
    assert await names(api, "?customerAlias=acme,beta") == ten
    assert await names(api, "?customerAlias=acme&customerAlias=beta&sortOrder=ASC&limit=2") == ["e9", "e8"]
    assert await names(api, "?customerAlias=acme&sortBy=receivedAt") == ["e8", "e6", "e4", "e2", "e0"]
    assert await names(api, "?customerAlias=nobody") == []


@pytest.mark.usefixtures("ten")
async def test_filters_of_the_reference(api: Server) -> None:
    assert await names(api, "?eventType=chat") == ["e5", "e0"]
    assert await names(api, "?customerAlias=beta&eventType=chat") == ["e5"]
    assert await names(api, "?eventId=e4") == await names(api, f"?eventId={id_of('e4')}") == ["e4"]
    assert await names(api, "?eventId=e4&customerAlias=beta") == []
    after, before = "eventTimestampAfter=2025-03-01T10:25:00Z", "eventTimestampBefore=2025-03-01T10:29:00%2B00:00"
    assert await names(api, f"?{after}&{before}") == ["e4", "e3", "e2"]
    assert await names(api, f"?customerAlias=acme&{after}&{before}") == ["e2", "e4"]
    assert await names(api, "?offset=3&limit=2") == ["e6", "e5"]


@pytest.mark.parametrize(
    "query",
    [
        "limit=3",
        "limit=3&sortOrder=ASC",
        "limit=1&customerAlias=acme",
        "limit=3&customerAlias=acme,beta",
        "limit=3&customerAlias=beta,acme&sortOrder=ASC",
        "limit=1&eventType=chat",
        "limit=2&customerAlias=acme,beta&eventType=call",
        "limit=2&unmappedAliasesOnly=true",
        "limit=2&sortBy=receivedAt&customerAlias=acme&eventTimestampAfter=2025-03-01T10:23:00Z",
    ],
)
@pytest.mark.usefixtures("ten")
async def test_pages_put_together_are_the_list(api: Server, query: str) -> None:
    whole = await names(
        api, "?" + query.replace("limit=1", "limit=100").replace("limit=2", "limit=100").replace("limit=3", "limit=100")
    )

    assert await walked(api, query) == whole
    assert whole


@pytest.mark.usefixtures("ten")
async def test_a_page_is_left_the_way_it_was_entered(api: Server) -> None:
    for query in ("limit=3", "limit=2&customerAlias=acme,beta"):
        first = await api.get(f"/usage-events?{query}")
        second = await api.get(f"/usage-events?{query}&after={first.body['pagination']['after']}")
        back = await api.get(f"/usage-events?{query}&before={second.body['pagination']['before']}")

        assert back.body["items"] == first.body["items"]
        assert first.body["pagination"]["before"] is back.body["pagination"]["before"] is None


async def test_events_with_the_same_instant_are_on_one_page_each(api: Server) -> None:
    await api.post("/usage-events", [called(f"e{n}") for n in range(7)])
    await api.aggregate()

    assert sorted(await walked(api, "limit=2&customerAlias=acme")) == [f"e{n}" for n in range(7)]


@pytest.mark.usefixtures("ten")
async def test_a_walk_is_bounded_and_goes_on(api: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(usage_event, "WALK_MAX", 4)
    monkeypatch.setattr(usage_event, "_ALIAS_WALK_MIN", 2)

    first = await api.get("/usage-events?eventType=chat")
    assert (first.body["items"], first.body["pagination"]["after"] is None) == ([], False)
    for query in (
        "eventType=chat",
        "customerAlias=acme,beta&eventType=chat",
        "unmappedAliasesOnly=true&eventType=chat",
    ):
        assert sorted(await walked(api, query)) == ["e0", "e5"]
        assert sorted(await walked(api, f"{query}&sortOrder=ASC")) == ["e0", "e5"]


@pytest.mark.usefixtures("ten")
async def test_the_total_is_known_where_the_list_fits_on_a_page(api: Server) -> None:
    assert (await api.get("/usage-events")).body["pagination"] == {"after": None, "before": None, "totalResultSize": 10}
    assert (await api.get("/usage-events?limit=3")).body["pagination"]["totalResultSize"] is None


async def test_all_events_are_listed_by_event_time_as_long_as_their_aliases_are_few(
    api: Server, ten: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert await names(api, "?sortBy=eventTimestamp") == ten
    assert await walked(api, "sortBy=eventTimestamp&sortOrder=ASC&limit=3") == ten[::-1]
    within = "eventTimestampAfter=2025-03-01T10:25:00Z&eventTimestampBefore=2025-03-01T10:29:00Z"
    assert await walked(api, f"sortBy=eventTimestamp&limit=1&{within}") == ["e2", "e3", "e4"]
    monkeypatch.setattr(usage_event, "WALKED_ALIASES_MAX", 1)

    reply = await api.get("/usage-events?sortBy=eventTimestamp")

    assert (reply.status, reply.codes, reply.keys) == (422, ["NOT_OFFERED_YET"], ["sortBy"])
    assert await names(api, "?sortBy=eventTimestamp&customerAlias=acme,beta") == ten


async def test_unmapped_aliases_are_those_that_nobody_had_at_that_time(api: Server, ten: list[str]) -> None:
    assert await names(api, "?unmappedAliasesOnly=true") == ten
    customer = await company.customer(api, "acme")
    assert await names(api, "?unmappedAliasesOnly=true") == ["e1", "e3", "e5", "e7", "e9"]
    [mapping] = (await api.get(f"/customers/{customer}/aliases")).body["items"]
    await api.delete(f"/customer-aliases/{mapping['id']}")
    await api.made("/usage-events", called("later", when="2025-03-10T12:01:00Z"))
    await api.aggregate()

    assert await names(api, "?unmappedAliasesOnly=true&customerAlias=acme") == ["later"]
    assert await names(api, "?unmappedAliasesOnly=true&sortBy=receivedAt&limit=2") == ["later", "e9"]


@pytest.mark.parametrize(
    ("query", "code", "key"),
    [
        ("sortBy=eventType", "INVALID_VALUE", "sortBy"),
        ("after=x", "INVALID_CURSOR", "after"),
        ("after=bm90L2EvY3Vyc29y", "INVALID_CURSOR", "after"),
        ("offset=10001", "INVALID_VALUE", "offset"),
        ("eventTimestampAfter=yesterday", "INVALID_VALUE", "eventTimestampAfter"),
        ("color=red", "UNKNOWN_FIELD", "color"),
        ("limit=5&limit=6", "INVALID_VALUE", None),
        ("eventId=a&after=x", "INVALID_VALUE", "eventId"),
        (
            "&".join(["customerAlias=x,y"] + [f"customerAlias=a{n}" for n in range(99)]),
            "INVALID_VALUE",
            "customerAlias",
        ),
    ],
)
async def test_what_cannot_be_listed_is_refused(api: Server, query: str, code: str, key: str | None) -> None:
    reply = await api.get(f"/usage-events?{query}")

    assert (reply.codes, reply.keys) == ([code], [key])


@pytest.mark.usefixtures("ten")
async def test_a_cursor_belongs_to_its_order(api: Server) -> None:
    first = await api.get("/usage-events?limit=2")

    reply = await api.get(f"/usage-events?customerAlias=acme&after={first.body['pagination']['after']}")

    assert reply.codes == ["INVALID_CURSOR"]


async def test_versions_are_listed_newest_first(api: Server) -> None:
    for n in (1, 2, 2, 3):
        await api.made("/usage-events", called("a", n=n))
        await api.aggregate()

    items = (await api.get("/usage-events/a/versions")).body["items"]

    assert [(one["version"], one["state"], one["eventProperties"]["n"]) for one in items] == [
        (3, "LIVE", 3),
        (2, "SUPERSEDED", 2),
        (1, "SUPERSEDED", 1),
    ]
    assert await names(api) == ["a"]
    assert (await api.get("/usage-events/a")).body["eventProperties"] == {"n": 3}


async def test_a_cancelled_event_stays_listed(api: Server) -> None:
    await api.made("/usage-events", called("a"))
    cancelled = await api.delete("/usage-events/a")
    assert cancelled.status < 300
    await api.aggregate()

    listed = (await api.get("/usage-events")).body["items"]
    versions = (await api.get("/usage-events/a/versions")).body["items"]
    trace = (await api.get("/usage-events/a/trace")).body

    assert [one["state"] for one in listed] == [one["state"] for one in versions] == ["CANCELLED"]
    assert (trace["isCounted"], trace["message"]) == (False, "The event is cancelled, so it counts for nothing.")


async def test_the_trace_says_what_each_metric_made_of_the_event(api: Server) -> None:
    small = {"propertyFilters": {"model": ["small"]}}
    await company.metric(api, "call")
    await company.metric(api, "chats", eventType="chat")
    await company.metric(api, "small", eventType="call", **small)
    await company.metric(api, "missing", eventType="call", aggregationType="SUM", aggregationProperty="tokens")
    await company.metric(api, "wordy", eventType="call", aggregationType="SUM", aggregationProperty="model")
    await company.metric(api, "cost", eventType="call", aggregationType="SUM", aggregationProperty="cost")
    await api.made("/usage-events", called("a", model="large", cost="2.50"))
    await api.aggregate()

    trace = (await api.get("/usage-events/a/trace")).body

    assert {
        one["name"]: (one["isCounted"], one["adds"], one["reason"], one["property"]) for one in trace["metrics"]
    } == {
        "call": (True, "1", None, None),
        "chats": (False, None, "EVENT_TYPE", None),
        "small": (False, None, "FILTER", "model"),
        "missing": (False, None, "PROPERTY_MISSING", "tokens"),
        "wordy": (False, None, "NOT_A_NUMBER", "model"),
        "cost": (True, "2.5", None, None),
    }
    assert all(one["message"] for one in trace["metrics"] if not one["isCounted"])
    assert (trace["isCounted"], trace["customer"]) == (True, None)
    assert "belonged to nobody" in trace["message"]


async def test_the_trace_of_what_a_young_metric_has_not_come_to_says_so(api: Server, conn: Connection) -> None:
    await company.metric(api, "young", eventType="call")
    await api.post("/usage-events", called("a"))
    await api.aggregate()
    await conn.execute("update usage_metric_version set folded_to = 0, born_no = 1::bigint << 40")

    trace = (await api.get("/usage-events/a/trace")).body
    await conn.execute("update usage_metric_version set folded_to = born_no")
    done = (await api.get("/usage-events/a/trace")).body

    [one], [after] = trace["metrics"], done["metrics"]
    assert (one["isCounted"], one["adds"], one["reason"]) == (False, None, "HISTORY")
    assert one["message"] == "The metric is still counting what came before it."
    assert (after["isCounted"], after["reason"]) == (True, None)


async def test_the_trace_names_the_owner_of_the_alias_at_that_time(api: Server) -> None:
    first = await company.customer(api, "acme")
    [mapping] = (await api.get(f"/customers/{first}/aliases")).body["items"]
    await api.delete(f"/customer-aliases/{mapping['id']}")
    second = await company.customer(api, "acme", legalName="Second Ltd")
    await api.made("/usage-events", called("a", when="2025-03-01T00:00:00Z"))
    await api.made("/usage-events", called("b", when="2025-03-10T12:02:00Z"))
    await api.aggregate()

    owners = [(await api.get(f"/usage-events/{name}/trace")).body["customer"] for name in "ab"]

    assert [owner["customerId"] for owner in owners] == [first, second]
    assert owners[1]["legalName"] == "Second Ltd"


async def test_the_trace_leads_to_the_invoice_line(api: Server) -> None:
    metric = await company.metric(api, "call")
    schedule = await company.contract(api, [company.linear("0.10", metric)], start="2025-02-01")
    await api.made("/usage-events", called("a", when="2025-02-28T23:59:59.999999Z"))
    await api.made("/usage-events", called("b", when="2025-03-01T00:00:00Z"))
    await api.aggregate()
    api.clock.now += timedelta(minutes=1)
    await api.invoice(api.clock.now)
    api.clock.now += timedelta(minutes=1)
    await api.made("/usage-events", called("late", when="2025-02-28T12:00:00Z"))
    await api.aggregate()

    billed, unbilled, late = [
        (await api.get(f"/usage-events/{name}/trace")).body["metrics"][0]["prices"][0] for name in ("a", "b", "late")
    ]

    assert billed["billingScheduleId"] == unbilled["billingScheduleId"] == schedule
    [line] = (await api.get(f"/invoices/{billed['invoice']['id']}/line-items")).body["items"]
    assert [one["id"] for one in billed["invoice"]["lineItems"]] == [line["id"]]
    assert (billed["invoice"]["isIncluded"], late["invoice"]["isIncluded"]) == (True, False)
    assert (unbilled["invoice"], unbilled["message"]) == (None, "No invoice has charged this day yet.")


async def test_an_event_that_cannot_be_counted_says_where_it_lies(
    api: Server, conn: Connection, redis: Redis, account: Principal
) -> None:
    from tests.meter.test_dead_letter import put, spoilt  # noqa: PLC0415

    await put(redis, spoilt(account, "good", "bad"))
    await api.aggregate()

    reply = await api.get("/usage-events/bad")

    letter = await conn.fetchval("select id from dead_letter")
    assert reply.status == 404
    assert f"/dead-letters/{letter}" in reply.body["error"]["message"]


async def test_other_accounts_see_nothing(
    api: Server, conn: Connection, pool: Pool, redis: Redis, account: Principal
) -> None:
    other = await conn.fetchval(
        "insert into account (id, company_name, created_at, updated_at) values (gen_random_uuid(), 'O', now(), now())"
        " returning account"
    )
    await accept(redis, Principal(other, account.account_id, "o", "UTC"), called("theirs"))
    await drain(aggregator(pool, redis), NOW)

    assert await names(api) == await names(api, "?eventId=theirs") == await names(api, "?customerAlias=acme") == []
    assert (await api.get("/usage-events/theirs")).status == 404
