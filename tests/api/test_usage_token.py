"""Usage tokens: one customer's usage, for a while, and nothing else."""

from datetime import timedelta
from typing import Any

import pytest
from aiohttp import web

from api import auth, error, usage_token
from api.usage_token import Tokens
from store.account import Principal
from store.db import Connection, Pool
from tests.api import bodies
from tests.server import Clock, Reply, Server
from tests.usage import called

METRIC = {"name": "Calls", "metricType": "SIMPLE", "eventType": "call", "aggregationType": "COUNT"}
NOWHERE = "00000000-0000-7000-8000-000000000007"
LOOKUP, ELSEWHERE = "/usage/query", "/products"


@pytest.fixture
async def acme(api: Server) -> str:
    return str((await api.made("/customers", bodies.customer()))["id"])


async def made(api: Server, customer: str, *, expires_at: str = "2025-03-10T12:10:00Z") -> str:
    body = await api.made("/usage-tokens", {"customerId": customer, "expiresAt": expires_at})
    assert body == {
        "token": body["token"],
        "customerId": customer,
        "includeChildren": False,
        "expiresAt": expires_at,
    }
    return str(body["token"])


async def ask(api: Server, token: str, *, method: str = "GET", path: str = ELSEWHERE, **options: Any) -> Reply:
    return await api.ask(method, path, headers={"Authorization": f"Bearer {token}"}, **options)


async def test_a_token_speaks_for_its_customer(api: Server, acme: str, pool: Pool, account: Principal) -> None:
    found = await Tokens(pool).principal(await made(api, acme), now=api.clock())

    assert (found.account, found.account_id, found.time_zone) == (account.account, account.account_id, "UTC")
    assert (str(found.customer), found.scopes) == (acme, frozenset())


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/products"),
        ("GET", "/usage-events"),
        ("GET", "/usage/query"),
        ("POST", "/usage-events"),
        ("POST", "/usage-tokens"),
        ("DELETE", "/usage-events/e1"),
        ("POST", "/v1/events"),
    ],
)
async def test_it_opens_nothing_but_lookups(api: Server, acme: str, method: str, path: str) -> None:
    token = await made(api, acme)

    replies = [
        await ask(api, token, method=method, path=path, json=called("a")),
        await api.ask(method, path, headers={"Authorization": "", "Cookie": f"usance_usage_token={token}"}),
        await api.ask(method, f"{path}?token={token}", headers={"Authorization": ""}),
    ]

    assert {reply.status for reply in replies} == {403}


@pytest.mark.parametrize("way", ["header", "cookie", "query"])
async def test_it_reads_its_customer_in_three_ways_and_no_other(api: Server, acme: str, way: str) -> None:
    other = (await api.made("/customers", bodies.customer(legalName="Other")))["id"]
    metric = await api.made("/usage-metrics", METRIC)
    token = await made(api, acme)
    headers = {
        "header": {"Authorization": f"Bearer {token}"},
        "cookie": {"Authorization": "", "Cookie": f"usance_usage_token={token}"},
        "query": {"Authorization": ""},
    }[way]
    path = f"{LOOKUP}?token={token}" if way == "query" else LOOKUP
    asked = {"metrics": [metric["id"]], "from": "2025-03-01T00:00:00Z", "to": "2025-03-02T00:00:00Z"}

    own = await api.post(path, asked | {"customerId": acme}, headers=headers)
    foreign = await api.post(path, asked | {"customerId": other}, headers=headers)
    by_alias = await api.post(path, asked | {"customerAliases": [other]}, headers=headers)

    assert own.status == 200, own.body
    assert (foreign.status, by_alias.status) == (403, 403)


async def test_it_ends_when_it_says(api: Server, acme: str) -> None:
    token = await made(api, acme)

    api.clock.now += timedelta(minutes=10)

    assert (await ask(api, token)).status == 401


@pytest.mark.parametrize("change", ["payload", "signature", "shorter", "prefix"])
async def test_a_token_that_was_tampered_with_is_none(api: Server, acme: str, change: str) -> None:
    token = await made(api, acme)
    swapped = {"A": "B"}
    broken = {
        "payload": token[:6] + swapped.get(token[6], "A") + token[7:],
        "signature": token[:-2] + swapped.get(token[-2], "A") + token[-1],
        "shorter": token[:-4],
        "prefix": "ut_" + token,
    }[change]

    assert (await ask(api, broken)).status == 401


@pytest.mark.parametrize("token", ["ut_", "ut_.", "ut_a.b", "ut_" + "x" * 600, "ut_é.é"])
async def test_what_is_no_token_is_refused(pool: Pool, clock: Clock, token: str) -> None:
    with pytest.raises(error.Unauthenticated):
        await Tokens(pool).principal(token, now=clock())


async def test_a_new_secret_ends_all_tokens_of_the_account(
    api: Server, acme: str, pool: Pool, conn: Connection
) -> None:
    token = await made(api, acme)
    seconds = [0.0]
    tokens = Tokens(pool, monotonic=lambda: seconds[0])
    await tokens.principal(token, now=api.clock())

    await conn.execute("update account set token_secret = sha256('another')")
    await tokens.principal(token, now=api.clock())
    seconds[0] += usage_token.FRESH_SECONDS

    with pytest.raises(error.Unauthenticated):
        await tokens.principal(token, now=api.clock())


@pytest.mark.usefixtures("account")
async def test_accounts_have_secrets_of_their_own(conn: Connection) -> None:
    await conn.execute(
        "insert into account (id, company_name, created_at, updated_at)"
        " values (gen_random_uuid(), 'Other', now(), now())"
    )

    assert await conn.fetchval("select count(distinct token_secret) from account") == 2


@pytest.mark.parametrize(
    ("expires_at", "status", "code"),
    [
        ("2025-03-10T12:00:00Z", 400, "INVALID_VALUE"),
        ("2025-03-11T12:00:01Z", 400, "INVALID_VALUE"),
        ("2025-03-10T12:10:00", 400, "INVALID_VALUE"),
        ("2025-03-11T12:00:00Z", 201, ""),
    ],
)
async def test_its_life_is_short(api: Server, acme: str, expires_at: str, status: int, code: str) -> None:
    reply = await api.post("/usage-tokens", {"customerId": acme, "expiresAt": expires_at})

    assert reply.status == status
    assert not code or reply.codes == [code]


async def test_its_customer_must_exist(api: Server) -> None:
    reply = await api.post("/usage-tokens", {"customerId": NOWHERE, "expiresAt": "2025-03-10T12:10:00Z"})

    assert (reply.status, reply.codes, reply.keys) == (404, ["NOT_FOUND"], ["customerId"])


def test_a_key_is_never_taken_for_a_token() -> None:
    assert auth.credentials("Bearer ut_id:secret") == ("ut_id", "secret")
    assert isinstance(usage_token.routes()[0], web.RouteDef)
