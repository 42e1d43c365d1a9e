"""Parents and children: who belongs to whom, and that nobody is their own ancestor."""

import asyncio
from typing import Any

from tests import company
from tests.api import bodies
from tests.server import Server


async def adopted(api: Server, child: str, parent: str | None) -> Any:
    return await api.put(f"/customers/{child}", bodies.customer(parentId=parent))


async def test_an_organization_is_shown_with_its_owner_and_its_members(api: Server) -> None:
    parent = await company.customer(api, "parent")
    child = await company.customer(api, "child", parentId=parent)

    one, other = (await api.get(f"/customers/{parent}")).body, (await api.get(f"/customers/{child}")).body
    listed = (await api.get("/customers?sortOrder=ASC")).body["items"]

    expected = {
        "id": parent,
        "owner": {"id": parent, "name": "parent Ltd"},
        "members": [{"id": child, "name": "child Ltd"}],
    }
    assert one["organizations"] == other["organizations"] == [expected]
    assert (one["parentId"], other["parentId"]) == (None, parent)
    assert listed == [one, other]


async def test_a_parent_stays_if_it_is_left_out_and_goes_with_null(api: Server) -> None:
    parent = await company.customer(api, "parent")
    child = await company.customer(api, "child", parentId=parent)

    kept = await api.put(f"/customers/{child}", bodies.customer())
    ended = await adopted(api, child, None)

    assert (kept.body["parentId"], ended.body["parentId"]) == (parent, None)
    assert ended.body["organizations"] == []


async def test_nobody_is_their_own_ancestor(api: Server) -> None:
    top = await company.customer(api, "top")
    middle = await company.customer(api, "middle", parentId=top)
    bottom = await company.customer(api, "bottom", parentId=middle)

    replies = [await adopted(api, top, parent) for parent in (top, middle, bottom)]

    assert {(reply.status, *reply.codes, *reply.keys) for reply in replies} == {(409, "CUSTOMER_CYCLE", "parentId")}


async def test_two_parents_set_at_once_make_no_cycle(api: Server) -> None:
    one, other = await company.customer(api, "one"), await company.customer(api, "other")

    replies = await asyncio.gather(adopted(api, one, other), adopted(api, other, one))

    assert sorted(reply.status for reply in replies) == [200, 409]
