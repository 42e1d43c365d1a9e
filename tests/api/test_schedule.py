"""/billing-schedules: from a draft to an archived contract, and every way to be refused."""

from datetime import UTC, date, datetime
from typing import Any

import pytest
from redis.asyncio import Redis

from runtime.settings import Settings
from store.account import Principal
from store.db import Connection, Pool
from tests.api import bodies
from tests.server import Server
from usance import loop

NOWHERE = "00000000-0000-7000-8000-000000000007"


async def next_bill(conn: Connection) -> tuple[date | None, datetime | None]:
    row = await conn.fetchrow("select next_bill_date, next_bill_at from billing_schedule")
    assert row is not None
    return row["next_bill_date"], row["next_bill_at"]


async def test_a_schedule_is_shown_with_every_field_of_the_reference(api: Server) -> None:
    made = await bodies.contracted(api, recurrenceDayOfMonth=1, label="L", reference="R", memo="M")
    phase = made["phases"][0]

    assert phase == {
        "id": phase["id"],
        "name": None,
        "externalContractRef": None,
        "createdAt": "2025-03-10T12:00:00Z",
        "billingScheduleId": made["id"],
        "priceIds": [made["prices"][0]["id"]],
        "startDate": "2025-01-01",
        "endDate": None,
        "discounts": [],
        "minimums": [],
        "creditGrants": [],
        "recurrencePreference": "CONTINUE_FROM_PREVIOUS_PHASE",
        "phasePriceMetadata": [],
        "planMinimum": None,
        "milestone": None,
    }
    assert made == {
        "id": made["id"],
        "customerId": made["customerId"],
        "status": "ACTIVE",
        "startDate": "2025-01-01",
        "endDate": None,
        "taxRates": [],
        "firstBillingDate": "2025-01-01",
        "autoIssueInvoices": False,
        "purchaseOrderNumber": None,
        "reference": "R",
        "label": "L",
        "recurrenceDayOfMonth": 1,
        "prices": made["prices"],
        "createdAt": "2025-03-10T12:00:00Z",
        "updatedAt": "2025-03-10T12:00:00Z",
        "lastInvoiceId": None,
        "phases": [phase],
        "archivedAt": None,
        "rollUpBilling": False,
        "integrationIds": [],
        "attachmentAssets": [],
        "contractId": None,
        "defaultDueDateDays": None,
        "memo": "M",
        "customFields": {},
        "paymentProvider": "NONE",
        "autoCharge": False,
        "parked": None,
        "warnings": [],
    }
    assert (await api.get(f"/billing-schedules/{made['id']}")).body == made


@pytest.mark.parametrize(
    ("start", "end", "draft", "status"),
    [
        ("2025-03-10", None, True, "DRAFT"),
        ("2025-03-11", None, False, "PENDING"),
        ("2025-03-10", None, False, "ACTIVE"),
        # Its last day is over, but it is not billed yet.
        ("2025-01-01", "2025-02-28", False, "ACTIVE"),
    ],
)
async def test_the_status_follows_from_the_dates(
    api: Server, start: str, end: str | None, *, draft: bool, status: str
) -> None:
    assert (await bodies.contracted(api, start=start, end=end, isDraft=draft))["status"] == status


async def test_a_backdated_schedule_is_due_at_once_for_its_first_date(api: Server, conn: Connection) -> None:
    await bodies.contracted(api, start="2024-11-15", recurrenceDayOfMonth=1)

    assert await next_bill(conn) == (date(2024, 11, 15), datetime(2024, 11, 15, tzinfo=UTC))


async def test_a_day_begins_in_the_accounts_zone(api: Server, conn: Connection) -> None:
    await conn.execute("update account set time_zone = 'America/New_York'")

    await bodies.contracted(api, start="2025-01-01")

    assert await next_bill(conn) == (date(2025, 1, 1), datetime(2025, 1, 1, 5, tzinfo=UTC))


async def test_today_is_the_accounts_day(api: Server, conn: Connection) -> None:
    await conn.execute("update account set time_zone = 'Pacific/Kiritimati'")

    assert (await bodies.contracted(api, start="2025-03-11"))["status"] == "ACTIVE"


async def test_a_draft_is_not_due_until_it_is_activated(api: Server, conn: Connection) -> None:
    draft = await bodies.contracted(api, isDraft=True)
    before = await next_bill(conn)

    started = await api.put(f"/billing-schedules/{draft['id']}/activate")
    again = await api.put(f"/billing-schedules/{draft['id']}/activate")

    assert before == (None, None)
    assert (await next_bill(conn))[0] == date(2025, 1, 1)
    assert started.body == draft | {"status": "ACTIVE"}
    assert again.body == started.body


async def test_a_draft_may_change_in_everything(api: Server) -> None:
    draft, other = await bodies.contracted(api, isDraft=True), await bodies.priced(api)
    asked = bodies.changed(draft, startDate="2025-06-01", endDate="2025-08-31", recurrenceDayOfMonth=15, memo="M")
    asked["phases"][0] |= {"startDate": "2025-06-01", "priceIds": [other["id"]], "name": "Trial"}

    reply = await api.put(f"/billing-schedules/{draft['id']}", asked)

    assert reply.status == 200
    assert (reply.body["startDate"], reply.body["endDate"], reply.body["memo"]) == ("2025-06-01", "2025-08-31", "M")
    assert reply.body["recurrenceDayOfMonth"] == 15
    assert [price["id"] for price in reply.body["prices"]] == [other["id"]]
    assert reply.body["phases"][0] | {"name": "Trial"} == reply.body["phases"][0]
    assert reply.body["phases"][0]["id"] == draft["phases"][0]["id"]
    assert reply.body["status"] == "DRAFT"


async def test_custom_fields_stay_unless_a_change_has_some(api: Server) -> None:
    made = await bodies.contracted(api, customFields={"region": "EU"})
    path = f"/billing-schedules/{made['id']}"

    kept = await api.put(path, bodies.changed(made))
    replaced = await api.put(path, bodies.changed(made, customFields={"tier": "gold"}))

    assert kept.body["customFields"] == {"region": "EU"}
    assert replaced.body["customFields"] == {"tier": "gold"}


@pytest.mark.parametrize(
    ("change", "code", "key"),
    [
        ({"startDate": "2025-02-01"}, "SCHEDULE_RUNNING", "startDate"),
        ({"recurrenceDayOfMonth": 5}, "SCHEDULE_RUNNING", "recurrenceDayOfMonth"),
        ({"endDate": "2025-03-09"}, "END_DATE_BILLED", "endDate"),
        ({"customerId": NOWHERE}, "UNKNOWN_FIELD", "customerId"),
        ({"label": "x"}, "UNKNOWN_FIELD", "label"),
    ],
)
async def test_a_running_schedule_keeps_what_was_agreed(
    api: Server, change: dict[str, Any], code: str, key: str
) -> None:
    made = await bodies.contracted(api)

    reply = await api.put(f"/billing-schedules/{made['id']}", bodies.changed(made, **change))

    assert (reply.codes, reply.keys) == ([code], [key])


async def test_a_running_schedule_keeps_its_prices(api: Server) -> None:
    made, other = await bodies.contracted(api), await bodies.priced(api)
    asked = bodies.changed(made)
    asked["phases"][0]["priceIds"] = [other["id"]]

    reply = await api.put(f"/billing-schedules/{made['id']}", asked)

    assert (reply.status, reply.codes, reply.keys) == (409, ["SCHEDULE_RUNNING"], ["phases[0].priceIds"])


async def test_a_running_schedule_takes_another_end_and_other_words(api: Server, conn: Connection) -> None:
    made = await bodies.contracted(api)

    reply = await api.put(
        f"/billing-schedules/{made['id']}",
        bodies.changed(made, endDate="2025-03-10", memo="M", autoIssueInvoices=True, purchaseOrderNumber="PO"),
    )

    assert reply.status == 200
    assert (reply.body["endDate"], reply.body["phases"][0]["endDate"]) == ("2025-03-10", "2025-03-10")
    assert (reply.body["memo"], reply.body["purchaseOrderNumber"]) == ("M", "PO")
    assert reply.body["autoIssueInvoices"] is True
    assert (await next_bill(conn))[0] == date(2025, 1, 1)


async def test_an_archived_schedule_is_not_due_not_listed_and_does_not_change(api: Server, conn: Connection) -> None:
    made = await bodies.contracted(api)

    archived = await api.post(f"/billing-schedules/{made['id']}/archive")
    again = await api.post(f"/billing-schedules/{made['id']}/archive")

    assert archived.body["archivedAt"] == "2025-03-10T12:00:00Z"
    assert again.body == archived.body
    assert await next_bill(conn) == (None, None)
    assert (await api.get("/billing-schedules")).body["items"] == []
    assert (await api.get("/billing-schedules?includeArchivedSchedules=true")).body["items"] == [archived.body]
    changed = await api.put(f"/billing-schedules/{made['id']}", bodies.changed(made))
    assert changed.codes == ["SCHEDULE_ARCHIVED"]
    assert (await api.put(f"/billing-schedules/{made['id']}/activate")).codes == ["SCHEDULE_ARCHIVED"]


async def test_a_schedule_that_is_over_and_billed_does_not_change(api: Server, conn: Connection) -> None:
    made = await bodies.contracted(api, end="2025-02-28")
    await conn.execute("update billing_schedule set next_bill_date = null, next_bill_at = null")

    reply = await api.put(f"/billing-schedules/{made['id']}", bodies.changed(made, endDate="2025-12-31"))

    assert (await api.get(f"/billing-schedules/{made['id']}")).body["status"] == "COMPLETED"
    assert (reply.status, reply.codes) == (409, ["SCHEDULE_COMPLETED"])


# A query, and the labels it finds.
FILTERS = [
    ("", ["open", "later", "ended"]),
    ("billingScheduleStatus=PENDING", ["later"]),
    ("billingScheduleStatus=PENDING,ACTIVE", ["open", "later", "ended"]),
    ("label=OPE", ["open"]),
    ("startingAfter=2025-01-01", ["later"]),
    ("startingBefore=2025-05-01", ["open", "ended"]),
    ("endingBefore=2025-05-01", ["ended"]),
    ("endingBefore=2025-05-01&includeOpenEndedSchedules=true", ["open", "ended"]),
    ("endingAfter=2025-05-01", ["later"]),
    ("includeOpenEndedSchedules=false", ["later", "ended"]),
    ("recurrenceDayOfMonth=1,15", ["later"]),
    ("autoSendInvoices=true", ["ended"]),
    (f"customerId={NOWHERE}", []),
]


async def test_schedules_are_filtered(api: Server) -> None:
    who, fee = (await api.made("/customers", bodies.customer()))["id"], (await bodies.priced(api))["id"]
    for body in (
        bodies.schedule(who, fee, end="2025-03-31", label="ended", autoIssueInvoices=True),
        bodies.schedule(who, fee, start="2025-06-01", end="2025-12-31", label="later", recurrenceDayOfMonth=15),
        bodies.schedule(who, fee, label="open"),
    ):
        await api.made("/billing-schedules", body)

    for query, found in FILTERS:
        reply = await api.get(f"/billing-schedules?{query}")

        assert [item["label"] for item in reply.body["items"]] == found, query
        assert reply.body["pagination"]["totalResultSize"] == len(found), query


async def test_a_billing_day_that_no_month_has_is_not_looked_for(api: Server) -> None:
    for day in ("0", "32", "9999999999999999999999", "x"):
        reply = await api.get(f"/billing-schedules?recurrenceDayOfMonth={day}")

        assert (reply.codes, reply.keys) == (["INVALID_VALUE"], ["recurrenceDayOfMonth"]), day


# A change of a good request, and the code and field of its refusal.
REFUSED: list[tuple[dict[str, Any], str, str | None]] = [
    ({"customerId": NOWHERE}, "NOT_FOUND", "customerId"),
    ({"taxRates": [{"priceId": NOWHERE, "taxRateId": NOWHERE}]}, "INVALID_VALUE", "taxRates[0].priceId"),
    ({"rollUpBilling": True}, "NOT_A_PARENT", "rollUpBilling"),
    ({"paymentProvider": "STRIPE"}, "NOT_OFFERED_YET", "paymentProvider"),
    ({"autoCharge": True}, "NOT_OFFERED_YET", "autoCharge"),
    ({"attachmentAssetIds": [NOWHERE]}, "NOT_OFFERED_YET", "attachmentAssetIds"),
    ({"phases": []}, "INVALID_VALUE", "phases"),
    ({"recurrenceDayOfMonth": 32}, "INVALID_VALUE", "recurrenceDayOfMonth"),
    ({"startDate": "2025-1-1"}, "INVALID_VALUE", "startDate"),
    ({"startDate": "1999-01-01"}, "INVALID_SCHEDULE", "startDate"),
    ({"endDate": "2024-12-31"}, "INVALID_SCHEDULE", "endDate"),
    ({"endDate": "9999-12-31"}, "INVALID_VALUE", "endDate"),
    ({"endDate": "2025-12-31"}, "INVALID_SCHEDULE", "phases[0].endDate"),
    ({"defaultDueDateDays": -1}, "INVALID_VALUE", "defaultDueDateDays"),
]


async def test_what_cannot_be_billed_is_refused_at_the_door(api: Server) -> None:
    who, fee = await api.made("/customers", bodies.customer()), await bodies.priced(api)
    for change, code, key in REFUSED:
        reply = await api.post("/billing-schedules", bodies.schedule(who["id"], fee["id"]) | change)

        assert (reply.codes, reply.keys) == ([code], [key]), change


# A change of a good phase, and the code and field of its refusal.
REFUSED_PHASES: list[tuple[dict[str, Any], str, str | None]] = [
    ({"priceIds": [NOWHERE]}, "NOT_FOUND", "priceIds[0]"),
    ({"priceIds": []}, "INVALID_SCHEDULE", "priceIds"),
    ({"startDate": "2025-02-01"}, "INVALID_SCHEDULE", "startDate"),
    ({"listPriceIds": [NOWHERE]}, "NOT_OFFERED_YET", "listPriceIds"),
    ({"externalContractRef": "MSA"}, "NOT_OFFERED_YET", "externalContractRef"),
    ({"recurrencePreference": "ALIGN"}, "INVALID_VALUE", "recurrencePreference"),
    ({"phasePriceMetadata": [{}]}, "NOT_OFFERED_YET", "phasePriceMetadata"),
]


async def test_a_bad_phase_is_refused_at_the_door(api: Server) -> None:
    who, fee = await api.made("/customers", bodies.customer()), await bodies.priced(api)
    for change, code, key in REFUSED_PHASES:
        body = bodies.schedule(who["id"], fee["id"])
        body["phases"][0] |= change
        reply = await api.post("/billing-schedules", body)

        assert (reply.codes, reply.keys) == ([code], [f"phases[0].{key}"]), change


async def test_prices_of_one_schedule_share_a_currency(api: Server) -> None:
    who = await api.made("/customers", bodies.customer())
    euro, dollar = await bodies.priced(api), await bodies.priced(api, currency="USD")

    reply = await api.post("/billing-schedules", bodies.schedule(who["id"], euro["id"], dollar["id"]))

    assert (reply.codes, reply.keys) == (["MIXED_CURRENCIES"], ["phases[0].priceIds"])


async def test_drafts_and_archived_customers_are_not_billed(api: Server) -> None:
    draft_price, fee = await bodies.priced(api, status="DRAFT"), await bodies.priced(api)
    who = await api.made("/customers", bodies.customer())
    draft_customer = await api.made("/customers", bodies.customer(status="DRAFT"))

    price_refused = await api.post("/billing-schedules", bodies.schedule(who["id"], draft_price["id"]))
    customer_refused = await api.post("/billing-schedules", bodies.schedule(draft_customer["id"], fee["id"]))
    saved = await api.made("/billing-schedules", bodies.schedule(draft_customer["id"], fee["id"], isDraft=True))
    started = await api.put(f"/billing-schedules/{saved['id']}/activate")

    assert (price_refused.codes, price_refused.keys) == (["PRICE_UNUSABLE"], ["phases[0].priceIds[0]"])
    assert (customer_refused.codes, customer_refused.keys) == (["CUSTOMER_UNUSABLE"], ["customerId"])
    assert started.codes == ["CUSTOMER_UNUSABLE"]


async def test_why_billing_was_set_aside_is_shown(api: Server, conn: Connection, account: Principal) -> None:
    made = await bodies.contracted(api)
    until = datetime(2025, 3, 10, 13, tzinfo=UTC)
    await conn.execute(
        "update billing_schedule set parked_reason = 'MISSING', parked_detail = 'why', parked_until = $2 "
        "where account = $1",
        account.account,
        until,
    )

    reply = await api.get(f"/billing-schedules/{made['id']}")

    assert reply.body["parked"] == {"reason": "MISSING", "detail": "why", "until": "2025-03-10T13:00:00Z"}


async def test_who_asks_for_issuing_is_told_that_it_does_not_happen_yet(api: Server) -> None:
    who, fee = await api.made("/customers", bodies.customer()), await bodies.priced(api)

    made = await api.made("/billing-schedules", bodies.schedule(who["id"], fee["id"], autoIssueInvoices=True))

    assert made["autoIssueInvoices"] is True
    assert [one["code"] for one in made["warnings"]] == ["AUTO_ISSUE_NOT_OFFERED"]


@pytest.mark.parametrize("path", [f"/billing-schedules/{NOWHERE}", "/billing-schedules/7"])
async def test_an_unknown_schedule_is_not_found(api: Server, path: str) -> None:
    assert (await api.get(path)).codes == ["NOT_FOUND"]
    assert (await api.put(f"{path}/activate")).codes == ["NOT_FOUND"]
    assert (await api.post(f"{path}/archive")).codes == ["NOT_FOUND"]


async def test_what_is_billed_says_how_far_an_end_may_move(
    api: Server, pool: Pool, redis: Redis, conn: Connection
) -> None:
    made = await bodies.contracted(api, start="2025-03-01", end="2025-03-15", recurrenceDayOfMonth=1)
    path = f"/billing-schedules/{made['id']}"
    invoicer = loop.make_invoicer(Settings(), loop.Servers(pool, redis))
    await invoicer.step(api.clock.now)

    shown, invoices = await api.get(path), await api.get("/invoices")
    later = await api.put(path, bodies.changed(made, endDate="2025-03-31"))
    earlier = await api.put(path, bodies.changed(made, endDate="2025-03-12"))

    assert shown.body["lastInvoiceId"] == invoices.body["items"][0]["id"]
    assert (later.status, later.codes) == (409, ["END_DATE_BILLED"])
    assert (earlier.status, earlier.body["endDate"]) == (200, "2025-03-12")
    assert await next_bill(conn) == (None, None)


async def test_an_open_end_is_billed_up_to_the_new_one(api: Server, pool: Pool, redis: Redis, conn: Connection) -> None:
    made = await bodies.contracted(api, start="2025-03-01", recurrenceDayOfMonth=1)
    await loop.make_invoicer(Settings(), loop.Servers(pool, redis)).step(api.clock.now)
    before = await next_bill(conn)

    await api.put(f"/billing-schedules/{made['id']}", bodies.changed(made, endDate="2025-04-20"))

    assert before[0] == date(2025, 4, 1)
    assert (await next_bill(conn))[0] == date(2025, 4, 1)
