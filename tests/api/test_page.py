"""Lists in pages, seen from outside."""

from typing import Any

import pytest

from tests.api import bodies
from tests.server import Server


@pytest.fixture
async def five(api: Server) -> list[str]:
    return [(await api.made("/products", bodies.product(name=f"P{n}")))["name"] for n in range(5)]


def names(reply: Any) -> list[str]:
    return [item["name"] for item in reply.body["items"]]


async def walk(api: Server, query: str, *, by: str) -> list[list[str]]:
    """All pages from one end to the other, by the cursor of that name."""
    pages, cursor = [], ""
    while True:
        reply = await api.get(f"/products?{query}{cursor}")
        pages.append(names(reply))
        if reply.body["pagination"][by] is None:
            return pages
        cursor = f"&{by}={reply.body['pagination'][by]}"


@pytest.mark.parametrize(
    ("order", "pages"),
    [("DESC", [["P4", "P3"], ["P2", "P1"], ["P0"]]), ("ASC", [["P0", "P1"], ["P2", "P3"], ["P4"]])],
)
@pytest.mark.usefixtures("five")
async def test_after_leads_through_the_whole_list_once(api: Server, order: str, pages: list[list[str]]) -> None:
    assert await walk(api, f"limit=2&sortOrder={order}", by="after") == pages


@pytest.mark.usefixtures("five")
async def test_before_leads_back_the_same_way(api: Server) -> None:
    last = (await api.get("/products?limit=2&sortOrder=ASC")).body["pagination"]["after"]
    third = (await api.get(f"/products?limit=2&sortOrder=ASC&after={last}")).body["pagination"]["before"]

    back = await api.get(f"/products?limit=2&sortOrder=ASC&before={third}")

    assert names(back) == ["P0", "P1"]
    assert back.body["pagination"]["before"] is None


@pytest.mark.usefixtures("five")
async def test_the_newest_come_first_and_all_are_counted(api: Server) -> None:
    reply = await api.get("/products?limit=1")

    assert names(reply) == ["P4"]
    assert reply.body["pagination"]["totalResultSize"] == 5


@pytest.mark.usefixtures("five")
async def test_rows_that_appear_meanwhile_move_nothing(api: Server) -> None:
    first = await api.get("/products?limit=2")
    await api.made("/products", bodies.product(name="new"))

    second = await api.get(f"/products?limit=2&after={first.body['pagination']['after']}")

    assert names(second) == ["P2", "P1"]


async def test_an_empty_list_has_no_cursors(api: Server) -> None:
    reply = await api.get("/products")

    assert reply.body == {"items": [], "pagination": {"after": None, "before": None, "totalResultSize": 0}}


# A query, and the code and parameter of its refusal.
BAD = [
    ("limit=0", "INVALID_VALUE", "limit"),
    ("limit=101", "INVALID_VALUE", "limit"),
    ("limit=x", "WRONG_TYPE", "limit"),
    ("sortOrder=UP", "INVALID_VALUE", "sortOrder"),
    ("after=!", "INVALID_CURSOR", "after"),
    ("before=AAAA", "INVALID_CURSOR", "before"),
    ("after=" + "A" * 22 + "&before=" + "A" * 22, "INVALID_CURSOR", "before"),
    ("colour=red", "UNKNOWN_FIELD", "colour"),
    ("limit=1&limit=2", "INVALID_VALUE", None),
]


async def test_a_bad_parameter_is_named(api: Server) -> None:
    for query, code, key in BAD:
        reply = await api.get(f"/products?{query}")

        assert (reply.status, reply.codes, reply.keys) == (400, [code], [key]), query
