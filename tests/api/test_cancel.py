"""DELETE /usage-events/{id}: an event is taken back."""

from urllib.parse import quote

import pytest

from meter import identity
from store.account import Principal
from store.db import Connection
from tests.server import Server
from tests.usage import called, make_metric, measured, used

V7 = "0195813c-4f00-7000-8000-000000000001"


@pytest.mark.parametrize("id_", ["e1", V7, "https://shop.example/api 7", "50% off/ä", "x" * 255])
@pytest.mark.parametrize("by_public_id", [True, False])
async def test_an_event_is_cancelled_by_either_of_its_ids(
    api: Server, conn: Connection, account: Principal, id_: str, *, by_public_id: bool
) -> None:
    calls = await make_metric(conn, account)
    sent = await api.post("/usage-events", called(id_))
    await api.aggregate()

    named = sent.body["id"] if by_public_id else quote(id_, safe="")
    reply = await api.delete(f"/usage-events/{named}")
    await api.aggregate()

    assert reply.status == 202
    assert reply.body == {"id": sent.body["id"], "position": reply.headers["Usance-Position"]}
    assert await measured(conn, account, calls) == used("0", 0)


async def test_an_id_that_nobody_knows_is_accepted(api: Server) -> None:
    reply = await api.delete("/usage-events/nobody")

    assert (reply.status, reply.body["id"]) == (202, str(identity.public_id(identity.key("nobody"))))


@pytest.mark.parametrize("id_", ["x" * 256, "a%00b"])
async def test_what_can_be_no_id_is_refused(api: Server, id_: str) -> None:
    reply = await api.delete(f"/usage-events/{id_}")

    assert (reply.status, reply.codes) == (400, ["INVALID_VALUE"])
