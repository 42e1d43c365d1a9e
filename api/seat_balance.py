"""/seat-balances: how many seats each customer has now, by type."""

from typing import Any
from uuid import UUID

from aiohttp import web

from api import page, wire
from api.metric import listed
from api.seat_event import few
from store import seat_balance
from store.account import Principal
from store.seat_balance import CustomerBalances, Filter


def routes() -> list[web.RouteDef]:
    """The routes of this resource, below /api."""
    return [web.get("/seat-balances", _list)]


class _BalanceQuery(page.PageQuery, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    exclude_zero_quantity: bool = False
    customer_aliases: str | None = None
    customer_ids: str | None = None


async def _list(request: web.Request) -> web.Response:
    who, query = wire.principal(request), wire.read_query(request, _BalanceQuery)
    where = Filter(
        at=wire.now(request),
        excludes_zero=query.exclude_zero_quantity,
        aliases=listed(request, "customerAliases"),
        customers=few(wire.split(query.customer_ids, UUID, key="customerIds"), key="customerIds"),
    )
    async with wire.connection(request) as conn:
        found = await seat_balance.listing(conn, who.account, where=where, page=query.page())
    return page.reply(found, lambda one: _show(one, who))


def _show(found: CustomerBalances, who: Principal) -> dict[str, Any]:
    return {
        "id": found.id,
        "sequenceAccountId": who.account_id,
        "legalName": found.legal_name,
        "customerAliases": found.aliases,
        "total": found.total,
        "changeTimestamp": found.change_timestamp,
        "balances": found.balances,
    }
