"""Milestones: completed once, when their phase runs, on a day that is not billed over."""

from datetime import UTC, datetime
from typing import Any

from tests import company
from tests.api import bodies
from tests.server import Server

NOWHERE = "00000000-0000-7000-8000-000000000007"


async def pilot(api: Server, **changes: Any) -> dict[str, Any]:
    """A monthly fee until the first milestone, another until the second."""
    fee = await company.price(api, company.fixed("100"))
    who = await api.made("/customers", bodies.customer())
    phases = [company.phase([fee], "2025-01-01", milestone={"name": name}) for name in ("First", "Second")]
    return await api.made("/billing-schedules", bodies.schedule(who["id"]) | {"phases": phases} | changes)


async def complete(api: Server, schedule: dict[str, Any], place: int, on: str | None = None) -> Any:
    phase = schedule["phases"][place]["id"]
    return await api.post(f"/billing-schedules/{schedule['id']}/phases/{phase}/complete", {"completedOn": on})


async def test_a_milestone_is_completed_today_unless_a_day_is_given(api: Server) -> None:
    made = await pilot(api)

    reply = await complete(api, made, 0)

    assert reply.body["phases"][0]["milestone"] == {"name": "First", "completedOn": "2025-03-10"}
    assert (await api.get(f"/billing-schedules/{made['id']}")).body == reply.body


async def test_a_milestone_is_completed_once_and_in_order(api: Server) -> None:
    made = await pilot(api)

    early = await complete(api, made, 1)
    first = await complete(api, made, 0, "2025-03-01")
    again = await complete(api, made, 0, "2025-03-02")
    second = await complete(api, made, 1, "2025-03-05")

    assert [one.status for one in (early, first, again, second)] == [409, 200, 409, 200]
    assert early.codes == again.codes == ["MILESTONE_CLOSED"]


async def test_a_draft_has_no_milestone_to_complete(api: Server) -> None:
    assert (await complete(api, await pilot(api, isDraft=True), 0)).codes == ["MILESTONE_CLOSED"]


async def test_a_milestone_is_not_completed_before_what_is_billed_nor_in_the_future(api: Server) -> None:
    made = await pilot(api)
    await api.invoice(datetime(2025, 3, 10, 12, tzinfo=UTC))

    replies = [await complete(api, made, 0, day) for day in ("2025-02-28", "2025-03-11", "2025-03-01")]

    assert [reply.codes for reply in replies[:2]] == [["END_DATE_BILLED"], ["INVALID_VALUE"]]
    assert replies[2].status == 200


async def test_a_milestone_is_not_completed_before_its_phase_begins(api: Server) -> None:
    reply = await complete(api, await pilot(api), 0, "2024-12-30")

    assert reply.codes == ["INVALID_SCHEDULE"]


async def test_a_phase_without_a_milestone_has_none_to_complete(api: Server) -> None:
    made = await bodies.contracted(api)

    assert (await complete(api, made, 0)).codes == ["NOT_FOUND"]
    assert (await api.post(f"/billing-schedules/{made['id']}/phases/{NOWHERE}/complete", {})).codes == ["NOT_FOUND"]
