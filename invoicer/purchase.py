"""Purchases: what a credit grant costs, as an invoice of its own.

The invoice is a draft for the price of the credit; voiding it leaves the grant as it is (case 40). Its tax is that of
the customer's country, of no product category.
"""

from datetime import datetime, timedelta
from decimal import Decimal
from uuid import UUID

from uuid_utils.compat import uuid7

from invoicer import tax
from rating import money, number
from rating.explanation import OneTimeFee
from rating.invoice import Bill, BillWarning, Group, Line, LineKind
from rating.number import ONE, ZERO
from rating.part import RateDisplay
from rating.period import Period
from rating.tax import Tax, TaxStatus
from store import customer, draft
from store import tax as taxes
from store.credit import Grant
from store.db import Connection
from store.draft import NewInvoice

_DAY = timedelta(days=1)
_MISSING = BillWarning(
    "TAX_RATE_MISSING", "No tax rate is known for this credit; set one before the invoice is issued."
)


async def charge(conn: Connection, account: int, grant: Grant, now: datetime) -> None:
    """Make the draft invoice for what a new grant costs, in the transaction that makes the grant."""
    key = account, grant.customer
    snapshot = (await customer.snapshots(conn, [key]))[key]
    published = await taxes.published(conn, account, countries={snapshot.address.country})
    status, own = TaxStatus(snapshot.tax_status), grant.id
    found = tax.resolve(status, {own: None}, chosen={}, published=published, address=snapshot.address)
    invoice = NewInvoice(
        account=account,
        id=uuid7(),
        customer=grant.customer,
        schedule=None,
        reason="CREDIT_GRANT",
        bill=_bill(grant, found, own=own),
        snapshot=snapshot,
        titles={},
        particulars={},
    )
    await draft.save(conn, [invoice], new_id=uuid7, now=now)


def _bill(grant: Grant, found: Tax, *, own: UUID) -> Bill:
    start = grant.effective_date
    period = Period(start, (grant.expiry_date or start) + _DAY)
    rate = found.rates.get(str(own)) if found.status is TaxStatus.TAXED else ZERO
    net_minor = money.round_minor(grant.cost, grant.currency)
    line = Line(
        price_id=None,
        product_id=None,
        title=grant.name,
        description=None,
        quantity=ONE,
        rate=grant.cost,
        rate_display=RateDisplay.ABSOLUTE,
        net_minor=net_minor,
        service=period,
        explanation=OneTimeFee(grant.cost, grant.cost),
        kind=LineKind.CHARGE,
        tax_rate=rate,
        tax_minor=_tax(net_minor, rate),
        grant_id=str(grant.id),
    )
    warnings = (_MISSING,) if rate is None else ()
    return Bill(grant.currency, start, period, (Group(None, (line,), grant.name),), (), (), warnings)


def _tax(net_minor: int, rate: Decimal | None) -> int:
    if rate is None:
        return 0
    numerator, denominator = rate.as_integer_ratio()
    return number.nearest(net_minor * numerator, denominator)
