"""Every error code has an example here: a request, and the status and code of its answer."""

import io
from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias

import pytest
from redis.asyncio import Redis

from api import status, wire
from runtime.settings import Settings
from store.account import Principal
from store.db import Connection, Pool
from tests.api import bodies
from tests.server import CLIENT_ID, SECRET, Clock, Reply, Server, serving
from usance.loop import Servers

NOWHERE = "00000000-0000-7000-8000-000000000007"
JSON = {"Content-Type": "application/json"}
MIB = 1024 * 1024
EVENT = {"customerAlias": "acme", "eventType": "call", "eventTimestamp": "2025-03-10T11:00:00Z", "eventProperties": {}}
METRIC = {"name": "Calls", "metricType": "SIMPLE", "eventType": "call", "aggregationType": "COUNT"}
LINEAR = {"pricingType": "LINEAR", "pricePerUnit": "0.1", "usageMetricId": NOWHERE, "isPricePercentage": False}

SEATS = {"seatType": "admin", "label": "Administrator"}
BACKFILL = {"customerAliases": ["beta"], "from": "2025-03-01T00:00:00Z", "to": "2025-03-08T00:00:00Z"}

Example: TypeAlias = Callable[[Server], Awaitable[Reply]]


def post(path: str, body: Any = None, **options: Any) -> Example:
    return lambda api: api.post(path, body, **options)


def raw(body: bytes, content_type: str = "application/json", path: str = "/products") -> Example:
    return post(path, data=io.BytesIO(body), headers={"Content-Type": content_type})


def get(path: str, **options: Any) -> Example:
    return lambda api: api.get(path, **options)


def bad_price(**changes: Any) -> Example:
    async def example(api: Server) -> Reply:
        owner = await api.made("/products", bodies.product())
        return await api.post("/prices", bodies.price(owner["id"], **changes))

    return example


def bad_schedule(**changes: Any) -> Example:
    async def example(api: Server) -> Reply:
        who, fee = await api.made("/customers", bodies.customer()), await bodies.priced(api)
        return await api.post("/billing-schedules", bodies.schedule(who["id"], fee["id"]) | changes)

    return example


def amended(**changes: Any) -> Example:
    async def example(api: Server) -> Reply:
        made = await bodies.contracted(api)
        return await api.put(f"/billing-schedules/{made['id']}", bodies.changed(made, **changes))

    return example


async def mixed_currencies(api: Server) -> Reply:
    who = await api.made("/customers", bodies.customer())
    euro, dollar = await bodies.priced(api), await bodies.priced(api, currency="USD")
    return await api.post("/billing-schedules", bodies.schedule(who["id"], euro["id"], dollar["id"]))


async def alias_taken(api: Server) -> Reply:
    await api.made("/customers", bodies.customer(customerAliases=["acme"]))
    return await api.post("/customers", bodies.customer(customerAliases=["acme"]))


async def own_alias(api: Server) -> Reply:
    owner = await api.made("/customers", bodies.customer())
    return await api.delete(f"/customer-aliases/{owner['id']}")


async def customer_unusable(api: Server) -> Reply:
    who, fee = await api.made("/customers", bodies.customer(status="DRAFT")), await bodies.priced(api)
    return await api.post("/billing-schedules", bodies.schedule(who["id"], fee["id"]))


async def product_archived(api: Server) -> Reply:
    owner = await api.made("/products", bodies.product())
    await api.post(f"/products/{owner['id']}/archive")
    return await api.post("/prices", bodies.price(owner["id"]))


async def price_unusable(api: Server) -> Reply:
    who, fee = await api.made("/customers", bodies.customer()), await bodies.priced(api, status="DRAFT")
    return await api.post("/billing-schedules", bodies.schedule(who["id"], fee["id"]))


async def price_in_use(api: Server) -> Reply:
    made = await bodies.contracted(api)
    return await api.delete(f"/prices/{made['prices'][0]['id']}")


async def schedule_archived(api: Server) -> Reply:
    made = await bodies.contracted(api)
    await api.post(f"/billing-schedules/{made['id']}/archive")
    return await api.put(f"/billing-schedules/{made['id']}/activate")


async def metric_in_use(api: Server) -> Reply:
    metric = await api.made("/usage-metrics", METRIC)
    await bodies.priced(api, structure=LINEAR | {"usageMetricId": metric["id"]}, billingType="IN_ARREARS")
    return await api.delete(f"/usage-metrics/{metric['id']}")


async def metric_name_taken(api: Server) -> Reply:
    await api.made("/usage-metrics", METRIC)
    return await api.post("/usage-metrics", METRIC)


async def seat_type_taken(api: Server) -> Reply:
    await api.made("/seat-metrics", SEATS)
    return await api.post("/seat-metrics", SEATS)


async def backfill_not_open(api: Server) -> Reply:
    made = await api.made("/usage-backfills", BACKFILL)
    await api.post(f"/usage-backfills/{made['id']}/revert")
    return await api.post(f"/usage-backfills/{made['id']}/close")


async def backfill_closing(api: Server) -> Reply:
    made = await api.made("/usage-backfills", BACKFILL)
    await api.post(f"/usage-backfills/{made['id']}/close")
    return await api.post(f"/usage-backfills/{made['id']}/revert")


async def outside_backfill(api: Server) -> Reply:
    made = await api.made("/usage-backfills", BACKFILL)
    return await api.post("/usage-events", EVENT, headers={"Usance-Backfill": made["id"]})


EXAMPLES: dict[str, Example] = {
    "MALFORMED_JSON": raw(b'{"name": '),
    "UNKNOWN_FIELD": post("/products", {"name": "A", "colour": "red"}),
    "MISSING_FIELD": post("/products", {}),
    "WRONG_TYPE": post("/products", {"name": 7}),
    "INVALID_VALUE": post("/products", {"name": ""}),
    "INEXACT_NUMBER": bad_price(structure={"pricingType": "FIXED", "price": "1e-19"}),
    "INVALID_CURSOR": get("/products?after=x"),
    "EMPTY_BATCH": post("/usage-events", []),
    "NOTHING_ACCEPTED": post("/usage-events", [{}]),
    "EVENT_TOO_LARGE": post("/usage-events", EVENT | {"eventProperties": {"a": "x" * 9000}}),
    "BATCH_TOO_LARGE": post("/usage-events", [{}] * 10_001),
    "BODY_TOO_LARGE": raw(b" " * (MIB + 1)),
    "UNSUPPORTED_MEDIA_TYPE": raw(b"name=A", "application/x-www-form-urlencoded"),
    "BAD_COMPRESSION": post("/usage-events", data=io.BytesIO(b"{}"), headers=JSON | {"Content-Encoding": "gzip"}),
    "BAD_FILE": raw(b"a,b", "text/csv", "/usage-events/csv"),
    "UNAUTHENTICATED": get("/products", headers={"Authorization": ""}),
    "UNKNOWN_PATH": get("//usage-events"),
    "METHOD_NOT_ALLOWED": lambda api: api.delete("/products"),
    "NOT_FOUND": get(f"/products/{NOWHERE}"),
    "NOT_OFFERED_YET": bad_price(listPriceId=NOWHERE),
    "UNSUPPORTED_TERMS": bad_price(billingFrequency="PER_EVENT"),
    "UNKNOWN_CURRENCY": bad_price(currency="EURO"),
    "MIXED_CURRENCIES": mixed_currencies,
    "NEGATIVE_PRICE": bad_price(structure={"pricingType": "FIXED", "price": "-1"}),
    "INVALID_TIERS": bad_price(
        structure={"pricingType": "GRADUATED", "tiers": [], "usageMetricId": "", "usageCalculationMode": "CUMULATIVE"}
    ),
    "USAGE_IN_ADVANCE": bad_price(structure=LINEAR),
    "INVALID_SCHEDULE": bad_schedule(endDate="2024-12-31"),
    "INVALID_PRICE": bad_price(minimum="1"),
    "INVALID_FREQUENCY": bad_price(billingFrequency="ON_DEMAND"),
    "INVALID_TAX": post("/tax-rates", bodies.tax_rate(amount="20")),
    "NOT_A_PARENT": bad_schedule(rollUpBilling=True),
    "ALIAS_TAKEN": alias_taken,
    "OWN_ALIAS": own_alias,
    "CUSTOMER_UNUSABLE": customer_unusable,
    "PRODUCT_ARCHIVED": product_archived,
    "PRICE_UNUSABLE": price_unusable,
    "PRICE_IN_USE": price_in_use,
    "SCHEDULE_ARCHIVED": schedule_archived,
    "SCHEDULE_RUNNING": amended(startDate="2025-02-01"),
    "END_DATE_BILLED": amended(endDate="2025-01-31"),
    "METRIC_IN_USE": metric_in_use,
    "METRIC_NAME_TAKEN": metric_name_taken,
    "SEAT_TYPE_TAKEN": seat_type_taken,
    "BACKFILL_NOT_OPEN": backfill_not_open,
    "BACKFILL_CLOSING": backfill_closing,
    "OUTSIDE_BACKFILL": outside_backfill,
}

# These need something broken or full; each has a test of its own below, or in the file that is named.
ELSEWHERE = {
    "DEAD_LETTER_STAYS": "tests/api/test_dead_letter.py",
    "RAW_EVENT_DROPPED": "tests/meter/test_raw_retention.py",
    "NOT_COUNTED_YET": "tests/api/test_usage_event_read.py",
    "SCHEDULE_COMPLETED": "tests/api/test_schedule.py",
    "INVALID_TERMS": "tests/api/test_phase.py",
    "INVALID_DISCOUNT": "tests/api/test_phase.py",
    "INVALID_MINIMUM": "tests/api/test_phase.py",
    "MIXED_FREQUENCIES": "tests/api/test_phase.py",
    "MILESTONE_CLOSED": "tests/api/test_milestone.py",
    "CUSTOMER_CYCLE": "tests/api/test_family.py",
    "INVALID_GRANT": "tests/api/test_credit.py",
    "GRANT_BILLED": "tests/invoicer/test_grant.py",
    "GRANT_DRAWN": "tests/api/test_credit.py",
    "TAX_RATE_IN_USE": "tests/api/test_tax.py",
    "TAX_RATE_ARCHIVED": "tests/api/test_tax.py",
    "SEAT_METRIC_IN_USE": "tests/api/test_seat_metric.py",
    "BACKFILL_TOO_LARGE": "tests/api/test_backfill.py",
    "BAD_ROW": "tests/api/test_upload.py",
    "EVENTS_REFUSED": "tests/api/test_dialect.py",
    "FORBIDDEN_SCOPE": "tests/api/test_scope.py",
    "RATE_LIMITED": "tests/api/test_rate.py",
    "METRIC_COUNTING": "tests/api/test_metric.py",
    "QUERY_TOO_LARGE": "tests/api/test_usage_query.py",
    "NO_BILLING_PERIOD": "tests/api/test_usage_query.py",
    "TOO_MANY_STREAMS": "tests/api/test_usage_stream.py",
    "INVOICE_STATUS": "tests/invoicer/test_recalculate.py",
    "INVOICE_NEGATIVE": "tests/invoicer/test_late.py",
    "CANNOT_RECALCULATE": "tests/invoicer/test_recalculate.py",
    "STREAM_FULL": "",
    "STREAM_UNAVAILABLE": "",
    "DATABASE_UNAVAILABLE": "",
    "INTERNAL": "",
}


def test_every_code_has_an_example() -> None:
    assert set(status.STATUS) == set(EXAMPLES) | set(ELSEWHERE)


@pytest.mark.parametrize("code", EXAMPLES)
async def test_a_refusal_has_its_code_and_status_and_says_what_to_do(api: Server, code: str) -> None:
    reply = await EXAMPLES[code](api)
    error = reply.body["error"]

    assert reply.status == status.STATUS[code], reply.body
    assert error["type"] == status.FAMILIES[reply.status]
    assert error["message"]
    if code != "NOTHING_ACCEPTED":
        assert [(one["code"], one["message"]) for one in error["errors"]] == [(code, error["message"])]
        assert set(error["errors"][0]) == {"code", "message", "key"}


async def test_a_batch_of_nothing_but_bad_events_names_each(api: Server) -> None:
    reply = await api.post("/usage-events", [EVENT | {"eventType": 7}, {"customerAlias": "a"}])

    assert reply.codes == ["WRONG_TYPE", "MISSING_FIELD"]
    assert reply.keys == ["[0].eventType", "[1].eventType"]


async def test_the_allow_header_names_the_methods_there_are(api: Server) -> None:
    reply = await api.delete("/products")

    assert reply.headers["Allow"] == "GET,HEAD,POST"


async def test_a_full_stream_takes_nothing_and_says_when_to_come_back(
    pool: Pool, redis: Redis, conn: Connection, account: Principal, clock: Clock
) -> None:
    async with serving(
        Servers(pool, redis), conn=conn, account=account, clock=clock, settings=Settings(stream_entries_max=1)
    ) as api:
        first, second = await api.post("/usage-events", EVENT), await api.post("/usage-events", EVENT)

    assert (first.status, second.status, second.codes) == (201, 503, ["STREAM_FULL"])
    assert second.headers["Retry-After"] == "1"


async def test_without_redis_nothing_is_accepted_and_the_rest_goes_on(
    pool: Pool, conn: Connection, account: Principal, clock: Clock, away: Redis
) -> None:
    async with serving(Servers(pool, away), conn=conn, account=account, clock=clock) as api:
        refused = await api.post("/usage-events", EVENT)
        ready, health, other = await api.get("//ready"), await api.get("//health"), await api.get("/products")

    assert (refused.status, refused.codes) == (503, ["STREAM_UNAVAILABLE"])
    assert refused.headers["Retry-After"] == "1"
    assert (ready.status, ready.body) == (503, {"status": "not ready", "redis": "away", "postgres": "ok"})
    assert (health.status, other.status) == (200, 200)


async def test_without_postgres_events_are_accepted_and_the_rest_waits(api: Server, pool: Pool) -> None:
    await api.get("/products")
    pool.terminate()

    accepted, refused = await api.post("/usage-events", EVENT), await api.get("/products")
    unknown = await api.get("/products", headers={"Authorization": f"Bearer {CLIENT_ID}2:{SECRET}"})
    ready = await api.get("//ready")

    assert accepted.status == 201
    assert (refused.status, refused.codes) == (503, ["DATABASE_UNAVAILABLE"])
    assert (unknown.status, unknown.codes) == (503, ["DATABASE_UNAVAILABLE"])
    assert refused.headers["Retry-After"] == "1"
    assert (ready.status, ready.body) == (200, {"status": "ready", "redis": "ok", "postgres": "away"})


async def test_a_database_that_is_too_busy_is_an_answer_not_a_wait(
    api: Server, pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    await api.get("/products")
    monkeypatch.setattr(wire, "CONNECTION_SECONDS_MAX", 0.05)
    taken = [await pool.acquire() for _ in range(pool.get_max_size())]

    reply = await api.get("/products")

    assert (reply.status, reply.codes) == (503, ["DATABASE_UNAVAILABLE"])
    for conn in taken:
        await pool.release(conn)


async def test_our_own_mistakes_tell_nothing_to_the_outside(
    api: Server, conn: Connection, capsys: pytest.CaptureFixture[str]
) -> None:
    await conn.execute("alter table product rename to hidden")

    reply = await api.get("/products")

    assert (reply.status, reply.codes) == (500, ["INTERNAL"])
    assert "product" not in str(reply.body)
    assert "UndefinedTableError" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("headers", "status_"),
    [({"X-Long": "x" * 9000}, 400), ({f"X-{n}": "x" for n in range(200)}, 400), ({"X-Long": "x" * 7000}, 200)],
)
async def test_oversized_headers_are_refused(api: Server, headers: dict[str, str], status_: int) -> None:
    assert (await api.get("/products", headers=headers)).status == status_


async def test_a_compressed_body_is_refused_rather_than_half_read(api: Server) -> None:
    headers = {"Content-Type": "application/json", "Content-Encoding": "gzip"}

    reply = await api.post("/products", data=b"\x1f\x8b\x08", headers=headers)

    assert (reply.status, reply.codes) == (415, ["UNSUPPORTED_MEDIA_TYPE"])


async def test_a_body_without_length_has_the_same_limit(api: Server) -> None:
    async def chunks() -> Any:
        for _ in range(20):
            yield b" " * (MIB // 10)

    reply = await api.post("/products", data=chunks(), headers=JSON)

    assert (reply.status, reply.codes) == (413, ["BODY_TOO_LARGE"])


@pytest.mark.parametrize("body", [b'{"name": "\\ud800"}', b'{"name": "a\\u0000b"}', b'{"name": "\xff"}'])
async def test_text_that_is_no_text_is_refused(api: Server, body: bytes) -> None:
    reply = await api.post("/products", data=body, headers=JSON)

    assert reply.status == 400
    assert reply.codes[0] in {"MALFORMED_JSON", "INVALID_VALUE"}
