"""Terms that stand beside the prices of a phase: discounts, minimums and credit grants, as they were agreed.

What they do to a bill is in discount.py, minimum.py and credit.py; here is what they are and what is refused
(spec sections 10, 13, 15 and 21). Dates are half-open: `end` is the first day on which a term no longer holds.
"""

from collections.abc import Collection, Sequence
from datetime import date
from decimal import Decimal
from enum import StrEnum

import msgspec

from rating.currency import digits
from rating.error import InvalidDiscount, InvalidGrant, InvalidMinimum, InvalidTerms, MixedFrequencies
from rating.number import ZERO, check
from rating.period import MONTHS, Frequency
from rating.price import BillingType, Price, metric_of

_PERCENT_MAX = Decimal(100)
# Fits into 63 bits of minor units in every currency.
_MONEY_MAX = 10**14
_PACES = (
    Frequency.DAILY,
    Frequency.WEEKLY,
    Frequency.MONTHLY,
    Frequency.QUARTERLY,
    Frequency.HALF_YEARLY,
    Frequency.YEARLY,
    Frequency.ONE_TIME,
)


class DiscountType(StrEnum):
    """Percent of what is charged, or an amount per billing period."""

    PERCENTAGE = "PERCENTAGE"
    NOMINAL = "NOMINAL"


class SeatDiscountType(StrEnum):
    """Which seats of a seat-based price a discount is for."""

    INCLUDED_SEATS_ONLY = "INCLUDED_SEATS_ONLY"
    OVERAGE_SEATS_ONLY = "OVERAGE_SEATS_ONLY"
    ALL_SEATS = "ALL_SEATS"


class Discount(msgspec.Struct, frozen=True):
    """A discount of 8 is 8 %, or 8.00 in each period. Without prices it is for the whole phase.

    `separate_line_item` decides between a negative line of its own and a reduced rate.
    """

    id: str
    type: DiscountType
    amount: Decimal
    message: str
    separate_line_item: bool
    restrict_to_prices: tuple[str, ...] = ()
    seat_discount_type: SeatDiscountType = SeatDiscountType.ALL_SEATS
    start: date | None = None
    end: date | None = None


class Minimum(msgspec.Struct, frozen=True):
    """A floor under what is paid in a period for these usage prices; without prices for all of the phase."""

    id: str
    amount: Decimal
    restrict_to_prices: tuple[str, ...] = ()


class CreditUnit(StrEnum):
    """What a grant is made of: units of a metric, or money."""

    METRIC = "METRIC"
    CURRENCY = "CURRENCY"


class RolloverMode(StrEnum):
    """How long what is left of a grant stays: until the next refresh, until the phase ends, or for ever."""

    NONE = "NONE"
    ON_GRANT_REFRESH = "ON_GRANT_REFRESH"
    ON_GRANT_REFRESH_AND_PHASE = "ON_GRANT_REFRESH_AND_PHASE"


class GrantTerms(msgspec.Struct, frozen=True):
    """A credit grant that a phase issues when it starts and, with a refresh frequency, in each period again.

    `cost` is due in the schedule's currency with every issue, like a fee in advance, never by days; `tax_rate_id` names
    a rate that was chosen by hand for it.
    """

    id: str
    name: str
    unit: CreditUnit
    amount: Decimal
    currency: str | None = None
    metric_id: str | None = None
    refresh: Frequency | None = None
    rollover: RolloverMode = RolloverMode.NONE
    restrict_to_prices: tuple[str, ...] = ()
    cost: Decimal = ZERO
    tax_rate_id: str | None = None


# Members that are compared in every bill, looked up once: an enum's attribute costs as much as a multiplication.
_ON_DEMAND = Frequency.ON_DEMAND


def pace_setter(prices: Sequence[Price]) -> Price | None:
    """The price whose periods a nominal discount or a plan minimum recurs with.

    Of those with billing periods the shortest frequency, in advance before in arrears, then the first: so one amount
    over prices of several frequencies and billing types is due once for each period, never once for each bill.
    """
    paced = [price for price in prices if price.billing_frequency in _PACES]
    return min(paced, key=_pace, default=None)


def _pace(price: Price) -> tuple[int, bool]:
    return _PACES.index(price.billing_frequency), price.billing_type is BillingType.IN_ARREARS


def covered(prices: Sequence[Price], restriction: Collection[str]) -> list[Price]:
    """The prices that a term is for; an empty restriction means all."""
    return [price for price in prices if not restriction or price.id in restriction]


def is_minimum_price(price: Price) -> bool:
    """Whether a minimum can cover the price: only usage counts, and only where there are periods (spec section 10)."""
    return metric_of(price.structure) is not None and price.billing_frequency is not _ON_DEMAND


def check_discount(discount: Discount, *, prices: Sequence[Price], key: str) -> None:
    """Refuse what takes off more than all, or nothing that is known."""
    _check_amount(discount.amount, kind=InvalidDiscount, key=f"{key}.amount")
    if discount.type is DiscountType.PERCENTAGE and discount.amount > _PERCENT_MAX:
        raise InvalidDiscount(f"{discount.amount:f} percent is more than all", key=f"{key}.amount")
    if discount.start is not None and discount.end is not None and discount.start >= discount.end:
        raise InvalidDiscount("validTo must not lie before validFrom", key=f"{key}.validTo")
    _check_known(discount.restrict_to_prices, prices=prices, kind=InvalidDiscount, key=key)
    targets = covered(prices, discount.restrict_to_prices)
    if discount.type is DiscountType.NOMINAL and pace_setter(targets) is None:
        raise InvalidDiscount("a nominal discount needs a price with billing periods", key=f"{key}.restrictToPrices")


def check_minimum(minimum: Minimum, *, prices: Sequence[Price], key: str) -> None:
    """Refuse a minimum over prices that are no usage prices, or of different frequencies."""
    _check_amount(minimum.amount, kind=InvalidMinimum, key=f"{key}.amount")
    _check_known(minimum.restrict_to_prices, prices=prices, kind=InvalidMinimum, key=key)
    targets = covered(prices, minimum.restrict_to_prices)
    usable = [price for price in targets if is_minimum_price(price)]
    if not usable or (minimum.restrict_to_prices and len(usable) != len(targets)):
        message = "only usage prices with billing periods have a minimum"
        raise InvalidMinimum(message, key=f"{key}.restrictToPrices")
    frequencies = sorted({price.billing_frequency for price in usable})
    if len(frequencies) != 1:
        message = f"one minimum covers prices of one frequency, these have {', '.join(frequencies)}"
        raise MixedFrequencies(message, key=f"{key}.restrictToPrices")


def check_grant(grant: GrantTerms, *, prices: Sequence[Price], key: str) -> None:
    """Refuse a grant of nothing known."""
    is_money = grant.unit is CreditUnit.CURRENCY
    _check_amount(grant.amount, kind=InvalidGrant, key=f"{key}.amount", is_money=is_money)
    _check_amount(grant.cost, kind=InvalidGrant, key=f"{key}.costOfCredit")
    _check_known(grant.restrict_to_prices, prices=prices, kind=InvalidGrant, key=key)
    if is_money:
        if grant.currency is None:
            raise InvalidGrant("a grant of money needs its currency", key=f"{key}.currency")
        digits(grant.currency)
    if grant.cost and grant.currency not in {None, prices[0].currency}:
        message = f"what the credit costs is billed in {prices[0].currency}, so the credit is in it too"
        raise InvalidGrant(message, key=f"{key}.currency")
    if grant.refresh is not None and grant.refresh not in MONTHS:
        message = f"a grant is refreshed {', '.join(MONTHS)} or never"
        raise InvalidGrant(message, key=f"{key}.grantRefreshFrequency")


def _check_amount(amount: Decimal, *, kind: type[InvalidTerms], key: str, is_money: bool = True) -> None:
    check(amount, key=key)
    if amount < 0:
        raise kind("the amount must not be negative", key=key)
    if is_money and amount > _MONEY_MAX:
        raise kind(f"the amount must not be above {_MONEY_MAX:,}", key=key)


def _check_known(ids: Sequence[str], *, prices: Sequence[Price], kind: type[InvalidTerms], key: str) -> None:
    unknown = sorted(set(ids) - {price.id for price in prices})
    if unknown:
        message = f"the phase has no price {', '.join(unknown)}"
        raise kind(message, key=f"{key}.restrictToPrices")
