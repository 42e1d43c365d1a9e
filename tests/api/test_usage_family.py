"""`includeChildren`: the usage of a customer and of everyone below it, each aggregation by its nature."""

from typing import Any

import pytest

from tests import company
from tests.api import bodies
from tests.server import Reply, Server
from tests.usage import called

MARCH = {"from": "2025-03-01T00:00:00Z", "to": "2025-04-01T00:00:00Z"}
# Two of the parent, two of the child, one of the grandchild; the neighbour is nobody's child.
EVENTS = [
    called("p1", alias="parent", when="2025-03-01T00:10:00Z", tokens=2, user="ann", region="eu"),
    called("p2", alias="parent", when="2025-03-05T00:10:00Z", tokens=4, user="bob", region="us"),
    called("c1", alias="child", when="2025-03-02T00:00:00Z", tokens=9, user="ann", region="eu"),
    called("c2", alias="child", when="2025-03-09T06:00:00Z", tokens=1, user="cyd", region="eu"),
    called("g1", alias="grandchild", when="2025-03-03T00:00:00Z", tokens=5, user="dan", region="us"),
    called("n1", alias="neighbour", when="2025-03-09T09:00:00Z", tokens=100, user="eve", region="eu"),
]


@pytest.fixture
async def family(api: Server) -> dict[str, str]:
    """A family of three generations with their events, and a neighbour."""
    parent = await company.customer(api, "parent")
    child = await company.customer(api, "child", parentId=parent)
    grandchild = await company.customer(api, "grandchild", parentId=child)
    neighbour = await company.customer(api, "neighbour")
    await api.made("/usage-events", EVENTS)
    await api.aggregate()
    return {"parent": parent, "child": child, "grandchild": grandchild, "neighbour": neighbour}


async def metric(api: Server, aggregation: str, of: str | None, **changes: Any) -> str:
    terms = {"aggregationType": aggregation} | ({"aggregationProperty": of} if of else {})
    return await company.metric(api, aggregation, eventType="call", **terms, **changes)


async def ask(api: Server, metric_id: str, customer: str, **fields: Any) -> Reply:
    body = {"metrics": [metric_id], "customerId": customer, "includeChildren": True, **MARCH, **fields}
    return await api.post("/usage/query", body)


async def value(api: Server, metric_id: str, customer: str, **fields: Any) -> tuple[str, int]:
    [one] = (await ask(api, metric_id, customer, **fields)).body["items"]
    return one["value"], one["eventCount"]


@pytest.mark.parametrize(
    ("aggregation", "of", "alone", "together"),
    [
        ("COUNT", None, "2", "5"),
        ("SUM", "tokens", "6", "21"),
        # ann is the parent's and the child's.
        ("UNIQUE", "user", "2", "4"),
        ("MAX", "tokens", "4", "9"),
        ("MIN", "tokens", "2", "1"),
        ("LATEST", "tokens", "4", "1"),
        # 6 / 2 and 21 / 5: by events, not a mean of means.
        ("AVERAGE", "tokens", "3", "4.2"),
        # Until the end of 9 March: 2 for 96 h and 4 for 119 h 50 min; 9 for 174 h and 1 for 18 h; 5 for 168 h.
        ("WEIGHTED", "tokens", "671.333333333333333333333333", "3095.333333333333333333333333"),
    ],
)
async def test_each_aggregation_adds_the_family_up_by_its_nature(
    api: Server, family: dict[str, str], aggregation: str, of: str | None, alone: str, together: str
) -> None:
    metric_id, until = await metric(api, aggregation, of), {"to": "2025-03-10T00:00:00Z"}

    assert await value(api, metric_id, family["parent"], includeChildren=False, **until) == (alone, 2)
    assert await value(api, metric_id, family["parent"], **until) == (together, 5)


async def test_everyone_below_is_included_and_nobody_above_or_beside(api: Server, family: dict[str, str]) -> None:
    tokens = await metric(api, "SUM", "tokens")

    assert await value(api, tokens, family["child"]) == ("15", 3)
    assert await value(api, tokens, family["grandchild"]) == ("5", 1)
    assert await value(api, tokens, family["neighbour"]) == ("100", 1)


async def test_a_child_brings_its_names_while_they_are_its_own(api: Server, family: dict[str, str]) -> None:
    tokens = await metric(api, "SUM", "tokens")
    [mapping] = (await api.get("/customer-aliases?value=child")).body["items"]
    # The clock stands on 10 March.
    await api.delete(f"/customer-aliases/{mapping['id']}")
    await api.made("/customer-aliases", {"customerId": family["neighbour"], "value": "child"})
    await api.made("/usage-events", called("late", alias="child", when="2025-03-10T12:03:00Z", tokens=1_000))
    await api.aggregate()

    assert await value(api, tokens, family["parent"]) == ("21", 5)
    assert await value(api, tokens, family["neighbour"]) == ("1100", 2)


async def test_windows_groups_and_filters_hold_for_the_whole_family(api: Server, family: dict[str, str]) -> None:
    users = await metric(api, "UNIQUE", "user", metricType="GROUPED", groupBy=["region"])

    async def shown(**fields: Any) -> list[tuple[str, str, str]]:
        items = (await ask(api, users, family["parent"], **fields)).body["items"]
        return [(one["from"][:10], str(one["group"].get("region")), one["value"]) for one in items]

    assert await shown(groupBy=["region"]) == [("2025-03-01", "eu", "2"), ("2025-03-01", "us", "2")]
    assert await shown(filters={"region": ["eu"]}) == [("2025-03-01", "None", "2")]
    weeks = await shown(window="WEEK", to="2025-03-17T00:00:00Z")
    assert weeks == [("2025-03-01", "None", "1"), ("2025-03-03", "None", "3"), ("2025-03-10", "None", "0")]


async def test_billing_periods_are_those_of_the_parent(api: Server, family: dict[str, str]) -> None:
    tokens = await metric(api, "SUM", "tokens")
    price = await company.price(api, company.fixed("1"))
    await company.schedule(api, family["parent"], [price], start="2025-01-05", recurrenceDayOfMonth=5)

    found = (await ask(api, tokens, family["parent"], window="BILLING_PERIOD")).body["items"]

    assert [(one["from"][:10], one["value"]) for one in found] == [("2025-03-01", "16"), ("2025-03-05", "5")]


@pytest.mark.usefixtures("family")
async def test_aliases_have_no_children(api: Server) -> None:
    tokens = await metric(api, "SUM", "tokens")
    body = {"metrics": [tokens], "customerAliases": ["parent"], "includeChildren": True, **MARCH}

    reply = await api.post("/usage/query", body)

    assert (reply.status, reply.codes, reply.keys) == (400, ["INVALID_VALUE"], ["includeChildren"])


async def token(api: Server, customer: str, **fields: Any) -> str:
    body = {"customerId": customer, "expiresAt": "2025-03-10T12:10:00Z", **fields}
    return str((await api.made("/usage-tokens", body))["token"])


async def test_a_usage_token_reads_children_only_if_it_was_made_for_them(api: Server, family: dict[str, str]) -> None:
    tokens, parent = await metric(api, "SUM", "tokens"), family["parent"]
    plain, wide = await token(api, parent), await token(api, parent, includeChildren=True)
    body = {"metrics": [tokens], "customerId": parent, "includeChildren": True, **MARCH}

    replies = {
        name: await api.post("/usage/query", body, headers={"Authorization": f"Bearer {one}"})
        for name, one in {"plain": plain, "wide": wide}.items()
    }
    streamed = await api.get(
        f"/usage/stream?customerId={parent}&metrics={tokens}&includeChildren=true",
        headers={"Authorization": f"Bearer {plain}"},
    )
    alone = await api.post(
        "/usage/query", body | {"includeChildren": False}, headers={"Authorization": f"Bearer {wide}"}
    )
    child = await api.post(
        "/usage/query", body | {"customerId": family["child"]}, headers={"Authorization": f"Bearer {wide}"}
    )

    assert (replies["plain"].status, replies["plain"].codes) == (403, ["FORBIDDEN_SCOPE"])
    assert [one["value"] for one in replies["wide"].body["items"]] == ["21"]
    assert (streamed.status, streamed.codes) == (403, ["FORBIDDEN_SCOPE"])
    assert [one["value"] for one in alone.body["items"]] == ["6"]
    assert (child.status, child.codes) == (403, ["FORBIDDEN_SCOPE"])


async def test_a_family_of_nobody_is_the_customer_alone(api: Server) -> None:
    lonely = (await api.made("/customers", bodies.customer()))["id"]
    calls = await metric(api, "COUNT", None)

    assert await value(api, calls, lonely) == ("0", 0)
    assert (await ask(api, calls, "0193f000-0000-7000-8000-00000000000f")).codes == ["NOT_FOUND"]
