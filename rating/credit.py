"""Credits: grants that were paid for before, or given, and what a bill draws from them (spec section 21, cases 40-43).

Order: grants of units first, against the usage of their metric, then grants of money, against whatever is left. In
each kind the one that expires soonest, then the oldest, then as given. A grant pays a charge when it is valid on the
charge's last service day (in advance: the first), whatever the day of computing, and never more than it holds.

Units pay for what their units cost after discounts, from the lowest tier up; units that are free cost none, and flat
fees are no units. Money pays net amounts, and the tax on them falls with it (case 43). What a grant costs is not paid
with credit.

`issued` derives the grants of a schedule's phases from their terms: one at the start of the phase and one at each
refresh. A remainder that rolls over is a grant that expires later: at the end of its phase, or never.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from decimal import Decimal

import msgspec

from rating import money
from rating.explanation import CreditUsed
from rating.invoice import Draw, LineKind
from rating.item import Draft, Item, Taking, by_tax_rate, left_of, take
from rating.number import ZERO, add, check, ratio, subtract
from rating.period import grid
from rating.phase import Phase
from rating.price import metric_of
from rating.schedule import ChargeReason, Schedule, anchored
from rating.terms import CreditUnit, GrantTerms, RolloverMode

_NEVER = date.max
# Members that are compared in every bill, looked up once: an enum's attribute costs as much as a multiplication.
_METRIC, _CURRENCY, _CHARGE = CreditUnit.METRIC, CreditUnit.CURRENCY, LineKind.CHARGE
_CREDIT_GRANT = ChargeReason.CREDIT_GRANT


class Grant(msgspec.Struct, frozen=True):
    """A credit grant as it stands before this bill. `balance` is in units, or in the currency's own unit (12.34).

    `start` is its first day and, among grants that expire together, its age; `end` the first day it is expired on.
    Without a metric a grant of units pays any usage that its prices allow.
    """

    id: str
    name: str
    unit: CreditUnit
    balance: Decimal
    start: date
    end: date | None = None
    currency: str | None = None
    metric_id: str | None = None
    restrict_to_prices: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check(self.balance, key="balance")


def issued(schedule: Schedule, *, until: date, drawn: Mapping[str, Decimal]) -> tuple[Grant, ...]:
    """The grants that the phases have issued up to and including a day, with what the draws so far have left of them.

    A grant's id is that of its terms and the day of issue: `terms-id@2025-02-01`; `drawn` is keyed by it.
    """
    return tuple(
        msgspec.structs.replace(grant, balance=subtract(grant.balance, drawn.get(grant.id, ZERO)))
        for _, phase, anchor, anchor_day in anchored(schedule)
        for terms in phase.grants
        for grant in _issues(terms, phase, anchor=anchor, anchor_day=anchor_day, until=until)
    )


def draw(draft: Draft, grants: Sequence[Grant]) -> None:
    """Take off what the grants pay."""
    usable = [grant for grant in grants if grant.balance > 0]
    for grant in sorted(usable, key=_burn_order):
        items = _payable(draft, grant)
        if items and grant.unit is _METRIC:
            _draw_units(draft, grant, items)
        elif items:
            _draw_money(draft, grant, items)


def draws(draft: Draft) -> tuple[Draw, ...]:
    """What was drawn from each grant, once its takings are taxed."""
    found: dict[str, Draw] = {}
    for taking in draft.takings:
        if taking.grant_id is None or not isinstance(taking.explanation, CreditUsed):
            continue
        now = Draw(
            taking.grant_id,
            _METRIC if taking.explanation.unit == _METRIC else _CURRENCY,
            taking.explanation.used,
            taking.off_minor,
            -taking.tax_minor,
        )
        so_far = found.get(now.grant_id)
        found[now.grant_id] = now if so_far is None else _together(so_far, now)
    return tuple(found.values())


def _together(one: Draw, other: Draw) -> Draw:
    amount = add(one.amount, other.amount)
    net_minor, tax_minor = one.net_minor + other.net_minor, one.tax_minor + other.tax_minor
    return Draw(one.grant_id, one.unit, amount, net_minor, tax_minor)


def _burn_order(grant: Grant) -> tuple[bool, date, date]:
    return grant.unit is _CURRENCY, grant.end or _NEVER, grant.start


def _payable(draft: Draft, grant: Grant) -> list[Item]:
    """The items with something left that the grant is for, on a day on which it is valid."""
    start, end = grant.start, grant.end or _NEVER
    is_any = grant.unit is _CURRENCY and grant.currency == draft.currency and not grant.restrict_to_prices
    found: list[Item] = []
    charge, is_valid = None, False
    for item in draft.items:
        if item.charge is not charge:
            charge = item.charge
            is_valid = charge.is_payable(start=start, end=end) and charge.reason is not _CREDIT_GRANT
        if is_valid and item.left_minor > 0 and (is_any or _pays(grant, item)):
            found.append(item)
    return found


def _pays(grant: Grant, item: Item) -> bool:
    if grant.restrict_to_prices and not set(item.price_ids) <= set(grant.restrict_to_prices):
        return False
    if grant.unit is _CURRENCY:
        return grant.currency == item.currency
    metric_id = metric_of(item.charge.price.structure)
    has_units = item.kind is _CHARGE and item.units_left is not None and item.units_left > 0
    return has_units and (grant.metric_id is None or grant.metric_id == metric_id)


def _draw_units(draft: Draft, grant: Grant, items: Sequence[Item]) -> None:
    """Units against the parts of their metric's charges, lowest tier first; one offset line for each (case 40)."""
    balance = grant.balance
    for item in items:
        has = item.units_left or ZERO
        used = min(balance, has)
        if used <= 0:
            return
        exact = ratio(Decimal(item.left_minor), part=used, whole=has)
        off = money.whole(exact)
        item.units_left = subtract(has, used)
        item.left_minor -= off
        why = CreditUsed(grant.id, grant.unit, balance, used)
        whose = (item.part.description, item.product_id, item.tax_rate)
        taking = Taking(LineKind.CREDIT, grant.name, *whose, why, [(item, off)], off, used, grant.id)
        draft.takings.append(taking)
        balance = subtract(balance, used)


def _draw_money(draft: Draft, grant: Grant, items: Sequence[Item]) -> None:
    """Money against what is left of all of them; one line for each tax rate."""
    off = min(money.minor_within(grant.balance, draft.currency), left_of(items))
    if off <= 0:
        return
    balance = grant.balance
    for shares, part in by_tax_rate(draft, take(items, off), off):
        used = money.major(part, draft.currency)
        why = CreditUsed(grant.id, grant.unit, balance, used)
        tax_rate = shares[0][0].tax_rate
        taking = Taking(LineKind.CREDIT, grant.name, None, None, tax_rate, why, shares, part, None, grant.id)
        draft.takings.append(taking)
        balance = subtract(balance, used)


def _issues(terms: GrantTerms, phase: Phase, *, anchor: date, anchor_day: int, until: date) -> Iterator[Grant]:
    """One grant at the start of the phase and at each refresh; also a partial period gets the full amount."""
    start: date | None = phase.start
    while start is not None and start <= until and (phase.end is None or start < phase.end):
        refresh = None
        if terms.refresh is not None:
            refresh = grid(anchor, frequency=terms.refresh, anchor_day=anchor_day).around(start).end
        yield Grant(
            id=f"{terms.id}@{start}",
            name=terms.name,
            unit=terms.unit,
            balance=terms.amount,
            start=start,
            end=_expiry(terms, phase, refresh=refresh),
            currency=terms.currency,
            metric_id=terms.metric_id,
            restrict_to_prices=terms.restrict_to_prices,
        )
        start = refresh


def _expiry(terms: GrantTerms, phase: Phase, *, refresh: date | None) -> date | None:
    match terms.rollover:
        case RolloverMode.NONE:
            return min((day for day in (refresh, phase.end) if day is not None), default=None)
        case RolloverMode.ON_GRANT_REFRESH:
            return phase.end
        case RolloverMode.ON_GRANT_REFRESH_AND_PHASE:
            return None
