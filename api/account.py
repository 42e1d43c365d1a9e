"""GET and PUT /sequence-accounts: the one account that a key opens."""

from typing import Annotated, Any

import msgspec
from aiohttp import web

from api import country, error, page, wire
from store import account
from store.account import Account, AccountChange


def routes() -> list[web.RouteDef]:
    """The routes of this resource, below /api."""
    return [
        web.get("/sequence-accounts", _list),
        web.get("/sequence-accounts/{id}", _get),
        web.put("/sequence-accounts/{id}", _update),
    ]


class _UpdateRequest(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    company_name: Annotated[str, msgspec.Meta(min_length=1, max_length=255)] | None = None
    company_number: Annotated[str, msgspec.Meta(max_length=64)] | None = None
    country: str | None = None
    send_customer_notifications: bool | None = None
    alert_email_addresses: tuple[str, ...] | None = None


async def _list(request: web.Request) -> web.Response:
    query = wire.read_query(request, page.PageQuery)
    async with wire.connection(request) as conn:
        found = await account.listing(conn, wire.principal(request).account, page=query.page())
    return page.reply(found, _show)


async def _get(request: web.Request) -> web.Response:
    number = _own(request)
    async with wire.connection(request) as conn:
        return wire.reply(_show(await account.get(conn, number)))


async def _update(request: web.Request) -> web.Response:
    number = _own(request)
    change = _change(await wire.read(request, _UpdateRequest))
    async with wire.connection(request) as conn:
        return wire.reply(_show(await account.update(conn, number, change=change, now=wire.now(request))))


def _own(request: web.Request) -> int:
    """The number of the account in the path, which must be the key's own: others do not exist for this caller."""
    asked, principal = wire.path_id(request), wire.principal(request)
    if asked != principal.account_id:
        raise error.NotFound(f"This key does not open an account {asked}.", key="id")
    return principal.account


def _change(asked: _UpdateRequest) -> AccountChange:
    if asked.country is not None:
        country.check(asked.country, key="country")
    if asked.send_customer_notifications:
        raise error.NotOfferedYet("Customers are not sent e-mail yet. Leave it false.", key="sendCustomerNotifications")
    if asked.alert_email_addresses:
        raise error.NotOfferedYet("Alerts are not sent yet. Leave the list empty.", key="alertEmailAddresses")
    return AccountChange(asked.company_name, asked.company_number, asked.country)


def _show(found: Account) -> dict[str, Any]:
    return {
        "id": found.id,
        "createdAt": found.created_at,
        # An account stands alone: it is its own organisation.
        "sequenceOrganisationId": found.id,
        "companyName": found.company_name,
        "companyNumber": found.company_number or "",
        "country": found.country,
        "sendCustomerNotifications": False,
        "alertEmailAddresses": [],
    }
