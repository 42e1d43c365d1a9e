"""Scopes: what a key may do."""

import pytest

from api import scope
from store import account as accounts
from store.account import Principal, Scope
from store.db import Connection
from tests.server import Server
from tests.usage import called


@pytest.mark.parametrize(
    ("method", "path", "needed"),
    [
        ("POST", "/api/usage-events", "usage:write"),
        ("POST", "/api/usage-events/csv", "usage:write"),
        ("DELETE", "/api/usage-events/e1", "usage:write"),
        ("POST", "/api/v1/events", "usage:write"),
        ("POST", "/api/seat-events", "usage:write"),
        ("POST", "/api/usage-backfills/1/close", "usage:write"),
        ("GET", "/api/usage-events", "read"),
        ("GET", "/api/invoices", "read"),
        ("POST", "/api/usage/query", "read"),
        ("POST", "/api/usage-tokens", "read"),
        ("POST", "/api/usage-metrics", "write"),
        ("PUT", "/api/customers/1", "write"),
        ("POST", "/api/usage-eventsx", "write"),
    ],
)
def test_each_request_needs_one_scope(method: str, path: str, needed: str) -> None:
    assert scope.needed(method, path) == needed


@pytest.mark.parametrize(
    ("scopes", "statuses"),
    [
        (None, [201, 200, 201]),
        ([], [403, 403, 403]),
        (["usage:write"], [201, 403, 403]),
        (["read"], [403, 200, 403]),
        (["write"], [403, 403, 201]),
        (["usage:write", "read"], [201, 200, 403]),
    ],
)
async def test_a_key_does_what_its_scopes_say(
    api: Server, conn: Connection, account: Principal, scopes: list[str] | None, statuses: list[int]
) -> None:
    limited = None if scopes is None else [Scope(one) for one in scopes]
    await accounts.create_key(
        conn, account.account, client_id="scoped", secret="scoped-secret", now=api.clock(), scopes=limited
    )
    headers = {"Authorization": "Bearer scoped:scoped-secret"}

    replies = [
        await api.post("/usage-events", called("a"), headers=headers),
        await api.get("/products", headers=headers),
        await api.post("/products", {"name": "A"}, headers=headers),
    ]

    assert [reply.status for reply in replies] == statuses
    assert all(reply.codes == ["FORBIDDEN_SCOPE"] for reply in replies if reply.status == 403)
    assert all(reply.body["error"]["type"] == "FORBIDDEN" for reply in replies if reply.status == 403)


async def test_a_scope_that_does_not_exist_cannot_be_stored(conn: Connection, account: Principal) -> None:
    with pytest.raises(Exception, match="api_key_scopes_check"):
        await conn.execute(
            "insert into api_key (client_id, account, secret_sha256, created_at, scopes)"
            " values ('x', $1, sha256('x'), now(), array['admin'])",
            account.account,
        )
