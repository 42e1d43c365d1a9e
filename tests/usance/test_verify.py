"""`usance verify` agrees with what the running system did, and sees every way in which a database can be damaged."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import pytest

from store import verify as facts
from store.db import Connection
from tests import company
from tests.server import Server
from usance import verify
from usance.verify import Report, VerifyError

JANUARY, FEBRUARY = datetime(2025, 2, 1, tzinfo=UTC), datetime(2025, 3, 1, tzinfo=UTC)
# Everything a property can be, with the borders of what counts as a number, as the same text, as long.
ABSENT = object()
VALUES: tuple[Any, ...] = (
    *(ABSENT, None, True, False, 0, -7, 1.5, "1.5", "1.50", "-3", "+3", "1e3", "", " ", "0x1f"),
    *("Atlas", "ATLAS", "atlas", "Straße", "STRASSE", "ΣΊΣΥΦΟΣ", "σίσυφος", "true", "sha256:x", "x" * 513, "ü" * 256),
    *("99999999999999999999.999999999999999999", "100000000000000000000", "0.0000000000000000001"),
)
LIST = ["atlas", "1.5", "true", "strasse", "σίσυφος"]


async def metric(server: Server, name: str, aggregation: str, **changes: Any) -> str:
    body = {"eventType": "calls", "aggregationType": aggregation}
    if aggregation != "COUNT":
        body["aggregationProperty"] = "p"
    return await company.metric(server, name, **{**body, **changes})


async def send(server: Server, events: Sequence[dict[str, Any]]) -> None:
    reply = await server.post("/usage-events", list(events))

    assert (reply.status, reply.body["rejected"]) == (202, [])
    await server.aggregate()


async def all_metrics(server: Server) -> None:
    """Each aggregation without a filter, and with one in all its ways."""
    for aggregation in ("MAX", "MIN", "LATEST", "AVERAGE", "WEIGHTED"):
        await metric(server, aggregation, aggregation)
        await metric(server, f"{aggregation} by q", aggregation, metricType="GROUPED", groupBy=["q", "p"])
    await metric(server, "UNIQUE by q", "UNIQUE", metricType="GROUPED", groupingProperty="q")
    for bounds in ({"gt": "-7", "lte": 1.5}, {"ne": 0}, {"eq": "1.5"}, {"lt": 0}, {"gte": 0}):
        await metric(server, f"COUNT of {bounds}", "COUNT", numberFilters={"p": bounds})
    for aggregation in ("COUNT", "SUM", "UNIQUE"):
        await metric(server, f"{aggregation} of all", aggregation)
        for negated in ([], ["p"]):
            for case in (True, False):
                await metric(
                    server,
                    f"{aggregation} {negated} {case}",
                    aggregation,
                    propertyFilters={"p": LIST},
                    propertiesToNegate=negated,
                    caseSensitive=case,
                )


def events(day: str = "2025-01-15", first: int = 0) -> list[dict[str, Any]]:
    return [
        company.event(
            f"{day}-{n}",
            f"{day}T{n % 24:02d}:14:59.999999Z",
            alias=f"acme-{n % 2}",
            **({} if value is ABSENT else {"p": value}),
            **({"q": n % 3} if n % 4 else {}),
        )
        for n, value in enumerate(VALUES, start=first)
    ]


async def billed(server: Server) -> None:
    """A small company, two months of its usage with a duplicate and a correction, and its invoices."""
    calls = await metric(server, "calls", "COUNT")
    await metric(server, "sum", "SUM")
    await metric(server, "people", "UNIQUE")
    await company.contract(server, [company.fixed("100"), company.linear("0.333", calls)], start="2025-01-01")
    for month in ("01", "02"):
        await send(server, [company.event(f"{month}-{n}", f"2025-{month}-1{n}T12:00:00Z", p=n) for n in range(5)])
    await send(server, [company.event("01-0", "2025-01-10T12:00:00Z", p=0)])
    await send(server, [company.event("01-1", "2025-01-11T12:00:00Z", p=17)])
    for now in (JANUARY, FEBRUARY):
        await server.invoice(now)


async def examined(database_url: str) -> Report:
    return await verify.examine(database_url)


def told(report: Report) -> str:
    return "\n".join(sample for finding in report.findings for sample in finding.samples)


async def test_every_kind_of_value_is_counted_as_it_is_recounted(server: Server, database_url: str) -> None:
    await all_metrics(server)
    await send(server, events())

    report = await examined(database_url)

    assert told(report) == ""
    assert (report.differences, report.live_events) == (0, len(VALUES))
    assert report.checked > 300


async def test_the_planner_is_told_how_much_there_is(server: Server, conn: Connection, database_url: str) -> None:
    await all_metrics(server)
    await send(server, events())

    await examined(database_url)

    tables = await conn.fetchval("select array_agg(distinct tablename::text) from pg_stats where schemaname = 'public'")
    assert {"event_key", "usage_event", "usage_slot", "usage_day", "usage_unique"} <= set(tables)


async def test_metrics_that_are_younger_than_their_events_agree(server: Server, database_url: str) -> None:
    await send(server, events())
    await all_metrics(server)

    assert (await examined(database_url)).differences == 0


async def test_corrections_agree(server: Server, database_url: str) -> None:
    await all_metrics(server)
    await send(server, events())
    moved = [
        event | {"eventProperties": other["eventProperties"]}
        for event, other in zip(events(), events()[5:], strict=False)
    ]
    await send(server, moved)

    report = await examined(database_url)

    assert told(report) == ""
    assert report.live_events == len(VALUES)


async def test_deleted_metrics_do_not_matter(server: Server, database_url: str) -> None:
    number = await metric(server, "calls", "COUNT")
    await send(server, events())
    await server.ask("DELETE", f"/usage-metrics/{number}")
    await send(server, events(day="2025-01-16"))

    assert (await examined(database_url)).differences == 0


@pytest.mark.parametrize("zone", ["America/St_Johns", "Pacific/Auckland", "Asia/Kathmandu"])
async def test_days_are_those_of_the_account(server: Server, conn: Connection, database_url: str, zone: str) -> None:
    await conn.execute("update account set time_zone = $1", zone)
    await all_metrics(server)
    # In 2006 clocks in Newfoundland went back one minute past midnight.
    times = [f"2006-10-29T{hour:02d}:{minute:02d}:00Z" for hour in range(1, 5) for minute in range(0, 60, 15)]
    await send(server, [company.event(time, time, p=1) for time in times])

    assert told(await examined(database_url)) == ""


async def test_a_database_that_is_counting_agrees_at_any_instant(server: Server, database_url: str) -> None:
    await all_metrics(server)
    counting = asyncio.create_task(count_days(server, days=20))
    reports = [await examined(database_url) for _ in range(6)]
    await counting
    reports.append(await examined(database_url))

    assert [report.differences for report in reports] == [0] * 7
    assert reports[-1].live_events == 20 * len(VALUES)


async def count_days(server: Server, *, days: int) -> None:
    for day in range(1, days + 1):
        await send(server, events(f"2025-01-{day:02d}"))


async def test_a_billed_company_agrees(server: Server, database_url: str) -> None:
    await billed(server)

    report = await examined(database_url)

    assert told(report) == ""
    assert (report.differences, report.live_events) == (0, 10)
    absent = {"Invoice numbers have no gaps", "Each backfill keeps its events apart until it is closed"}
    assert all(finding.checked for finding in report.findings if finding.says not in absent)


NUMBERED = (
    "update invoice set status = 'FINAL', number_prefix = 'INV-', "
    "number = case when period_start < '2025-02-01' then {} else {} end"
)
BACKFILL = (
    "insert into usage_backfill (account, id, segments, range_start, range_end, replaces, state, loaded, entry_ms, "
    "created_at, updated_at) select 1, '00000000-0000-0000-0000-000000000001', '[]', now() - interval '1 day', now(), "
    "false, state, {1}, case when state <> 'OPEN' then 1 end, now(), now() from (select '{0}' as state) as one"
)
LOADED = (
    "insert into usage_backfill_event (account, backfill, received_at, key, digest, alias, event_type, "
    "event_timestamp, properties) "
    "values (1, '00000000-0000-0000-0000-000000000001', now(), gen_random_uuid(), 1, 'acme', 'x', now(), '')"
)
DAMAGE = [
    (
        "update usage_slot set events = events + 1 where alias = 1 and metric = 1",
        "counted 2 events, total 0; recounted 1",
    ),
    ("update usage_slot set total = total - 1 where metric = 2", "sum version 1, acme, quarter hour from 2025-01-1"),
    ("delete from usage_slot where metric = 1", "counted 0 events, total 0; recounted 1 events"),
    ("update usage_slot set slot = slot + 1 where metric = 1", "counted 1 events, total 0; recounted 0 events"),
    ("update usage_slot set metric = 99 where metric = 1", "metric number 99, acme"),
    ("update usage_day set total = total + 0.000000000000000001 where total = 17", "total 17.000000000000000001; rec"),
    ("delete from usage_day where metric = 3", "people version 1, acme, day 2025-01-1"),
    ("update usage_day set day = day + 365", "day 2026-0"),
    ("delete from usage_unique where value = '17'", "value '17': counted 0 events; recounted 1"),
    ("update usage_unique set value = 'x' where value = '17'", "value 'x': counted 1 events; recounted 0"),
    ("update usage_event set state = 'live'", "is live, but its key names event"),
    ("update usage_event set state = 'superseded'", "is superseded, but its key names it"),
    (
        "update usage_event set properties = '{\"p\":1}' where properties = '{\"p\":17}'",
        "counted 1 events, total 17; rec",
    ),
    ("delete from event_key where key = (select key from usage_event where properties = '{\"p\":17}')", "has no key"),
    ("delete from usage_event where properties = '{\"p\":17}'", "which is not there"),
    ("insert into event_key values (1, gen_random_uuid(), -1, 1)", "names event -1, which is not there"),
    ("insert into usage_alias (account, value) values (1, 'nobody')", "('nobody') is borne by no event"),
    ("update usage_alias set alias = default", "usage_event bears alias number 1, which has no name"),
    (BACKFILL.format("OPEN", 3), "is OPEN and has 0 loaded events instead of 3"),
    (LOADED, "loaded events of backfill 00000000-0000-0000-0000-000000000001, which is not there"),
    (f"{BACKFILL.format('CLOSED', 1)}; {LOADED}", "is CLOSED and has 1 loaded events instead of 0"),
    ("delete from invoice", "its invoice"),
    ("delete from invoice_line_group where title = 'Fixed product'", "its group"),
    ("delete from invoice_line where title = 'Fixed price'", "has no line items"),
    ("delete from invoice_line_group", "has no groups"),
    ("delete from price where name = 'Linear price'", "the price is not there"),
    ("delete from product", "its product"),
    ("delete from billing_schedule", "phase"),
    ("update billing_phase set price_ids = array[gen_random_uuid()]", "its price"),
    ("update usage_metric set deleted_at = now() where name = 'calls'", "its usage metric"),
    ("delete from billing_schedule", "its schedule"),
    ("update invoice_charge set is_live = false", "it is not live, but its invoice"),
    ("update invoice_line set explanation = '{}'", "has no explanation"),
    ("update invoice_line set explanation = '\"x\"'", "has no explanation"),
    ('update invoice_line set explanation = explanation || \'{"amount": "much"}\'', "explains no amount"),
    ("update invoice_line set net_minor = net_minor + 1 where title = 'Linear price'", "explains 1.665 and bills 168"),
    (NUMBERED.format(2, 5), "INV-3 to INV-4 are missing"),
    (NUMBERED.format(2, 3), "INV-1 is missing"),
]


async def test_every_damage_is_seen(server: Server, conn: Connection) -> None:
    await billed(server)

    unseen = [damage for damage, expected in DAMAGE if expected not in await said_of(conn, damage)]

    assert unseen == []
    assert await said_of(conn, "select 1") == ""


async def adjusted(server: Server) -> None:
    """A bill with everything that adds to charges and takes off them, and a difference of it on the next."""
    calls = await company.metric(server)
    usage = company.linear("1", calls)
    capped = await company.price(server, usage, maximum="5")
    free = await company.price(server, usage)
    fee = await company.price(server, company.fixed("30.01"), billing_type="IN_ADVANCE")
    credit = {"amount": 3, "grantRefreshFrequency": "MONTHLY", "rolloverMode": "NONE", "restrictToPrices": [free]}
    money = {**credit, "name": "Money", "creditUnitType": "CURRENCY", "currency": "USD", "costOfCredit": 2}
    off = {"type": "PERCENTAGE", "amount": 7, "message": "Off", "separateLineItem": True}
    terms = {
        "discounts": [off, {**off, "separateLineItem": False, "restrictToPrices": [fee]}],
        "minimums": [{"amount": 500}],
        "creditGrants": [money, {**credit, "name": "Units", "creditUnitType": "METRIC"}],
    }
    phase = company.phase([capped, free, fee], "2025-01-16", "2025-02-28", **terms)
    who = await company.customer(server)
    await company.schedule(server, who, [], start="2025-01-16", endDate="2025-02-28", phases=[phase])
    await send(server, [company.event(f"e{n}", "2025-01-20T10:00:00Z") for n in range(9)])
    await server.invoice(JANUARY)
    for invoice in await company.invoices(server):
        await server.made(f"/invoices/{invoice['id']}/finalize", None)
    await send(server, [company.event("late", "2025-01-21T10:00:00Z")])
    await server.invoice(FEBRUARY)


async def test_what_adds_to_charges_and_takes_off_them_explains_itself(server: Server, conn: Connection) -> None:
    await adjusted(server)
    kinds = await conn.fetchval("select array_agg(distinct kind order by kind) from invoice_line")

    assert kinds == ["CHARGE", "CREDIT", "DISCOUNT", "LATE_USAGE", "MAXIMUM", "TRUE_UP"]
    assert await said_of(conn, "select 1") == ""
    for kind in kinds:
        damage = f"update invoice_line set net_minor = net_minor + 100000 where kind = '{kind}'"
        assert "minor units" in await said_of(conn, damage), kind


async def said_of(conn: Connection, damage: str) -> str:
    """What the damage leads to; it is undone afterwards, so that all share one company."""
    transaction = conn.transaction()
    await transaction.start()
    # Foreign keys would not let some of it happen; a repair by hand would.
    await conn.execute(f"set local session_replication_role = replica; {damage}")
    findings = await facts.examine(conn, samples_max=10)
    await transaction.rollback()
    return "\n".join(sample for finding in findings for sample in finding.samples)


async def test_many_differences_are_counted_and_a_few_shown(
    server: Server, conn: Connection, database_url: str
) -> None:
    await billed(server)
    await conn.execute("delete from usage_slot")

    report = await verify.examine(database_url, samples_max=3)
    slots = next(finding for finding in report.findings if finding.says.startswith("Quarter hours"))

    assert (slots.differences, len(slots.samples)) == (30, 3)


async def test_a_database_of_another_age_cannot_be_checked(empty_database_url: str) -> None:
    with pytest.raises(VerifyError, match="usance migrate"):
        await examined(empty_database_url)


async def test_a_database_that_is_not_there_cannot_be_checked() -> None:
    with pytest.raises(VerifyError, match="could not be checked"):
        await examined("postgresql://nobody@127.0.0.1:1/nothing")
