"""Terms of a phase on the wire: discounts, minimums and credit grants, in the reference's field names.

Amounts are JSON numbers here, as in the reference, and exact. Dates are inclusive. Requests carry no ids: a term that
stays as it was keeps the id it had.
"""

from collections.abc import Callable, Sequence
from datetime import date, datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from typing import Annotated, Any, Protocol, TypeVar
from uuid import UUID

import msgspec
from msgspec import Meta
from uuid_utils.compat import uuid7

from api import error, instant
from rating import number
from rating.period import Frequency
from rating.terms import CreditUnit, Discount, DiscountType, GrantTerms, Minimum, RolloverMode, SeatDiscountType

_DAY = timedelta(days=1)

Prices = Annotated[tuple[UUID, ...], Meta(max_length=1000)]
Name = Annotated[str, Meta(min_length=1, max_length=255)]


class GrantRefreshFrequency(StrEnum):
    """How often a phase issues a grant again."""

    NONE = "NONE"
    MONTHLY = "MONTHLY"
    QUARTERLY = "QUARTERLY"
    HALF_YEARLY = "HALF_YEARLY"
    YEARLY = "YEARLY"


class DiscountRequest(msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """A discount; `validFrom` and `validTo` are ours."""

    type: DiscountType
    amount: Decimal
    message: Name
    separate_line_item: bool
    restrict_to_prices: Prices = ()
    seat_discount_type: SeatDiscountType = SeatDiscountType.ALL_SEATS
    valid_from: date | None = None
    valid_to: date | None = None


class MinimumRequest(msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """A floor under what is paid for usage in a period."""

    amount: Decimal
    restrict_to_prices: Prices = ()


class GrantRequest(msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """A credit grant that the phase issues; `id` keeps one that exists."""

    name: Name
    credit_unit_type: CreditUnit
    amount: Decimal
    grant_refresh_frequency: GrantRefreshFrequency
    rollover_mode: RolloverMode
    id: UUID | None = None
    currency: str | None = None
    cost_of_credit: Decimal | None = None
    tax_rate_id: UUID | None = None
    restrict_to_prices: Prices = ()


def discounts(asked: Sequence[DiscountRequest], *, before: Sequence[Discount], place: str) -> tuple[Discount, ...]:
    """Discounts as rating reads them."""
    for index, one in enumerate(asked):
        instant.check_days(**{f"{place}[{index}].validFrom": one.valid_from, f"{place}[{index}].validTo": one.valid_to})
    return _with_ids([_discount(one) for one in asked], before)


def minimums(asked: Sequence[MinimumRequest], *, before: Sequence[Minimum]) -> tuple[Minimum, ...]:
    """Minimums as rating reads them."""
    return _with_ids([Minimum("", one.amount, _texts(one.restrict_to_prices)) for one in asked], before)


def grants(asked: Sequence[GrantRequest], *, before: Sequence[GrantTerms], place: str) -> tuple[GrantTerms, ...]:
    """Grants as rating reads them. One that is named by its id must be there, and stay as it is."""
    made = _with_ids([_grant(one) for one in asked], before)
    for index, (request, grant) in enumerate(zip(asked, made, strict=True)):
        if request.id is not None and str(request.id) != grant.id:
            message = "A grant that is kept does not change. Send it as it was, or without its id to make another."
            raise error.InvalidValue(message, key=f"{place}[{index}].id")
    return made


def show_discount(found: Discount) -> dict[str, Any]:
    """A discount as the reference shows it."""
    return {
        "id": found.id,
        "restrictToPrices": found.restrict_to_prices,
        "type": found.type,
        "amount": exact(found.amount),
        "message": found.message,
        "separateLineItem": found.separate_line_item,
        "seatDiscountType": found.seat_discount_type,
        "validFrom": found.start,
        "validTo": None if found.end is None else found.end - _DAY,
    }


def show_minimum(found: Minimum, *, account_id: UUID, schedule: UUID, phase: UUID, at: datetime) -> dict[str, Any]:
    """A minimum as the reference shows it."""
    return {
        "id": found.id,
        "sequenceAccountId": account_id,
        "billingScheduleId": schedule,
        "phaseId": phase,
        "amount": exact(found.amount),
        "restrictToPrices": found.restrict_to_prices,
        "createdAt": at,
        "updatedAt": at,
    }


def show_grant(found: GrantTerms) -> dict[str, Any]:
    """A phase's grant as the reference shows it."""
    return {
        "id": found.id,
        "name": found.name,
        "creditUnitType": found.unit,
        "currency": found.currency,
        "amount": exact(found.amount),
        "costOfCredit": exact(found.cost),
        "taxRateId": found.tax_rate_id,
        "grantRefreshFrequency": found.refresh or GrantRefreshFrequency.NONE,
        "rolloverMode": found.rollover,
        "restrictToPrices": found.restrict_to_prices,
    }


def exact(amount: Decimal) -> msgspec.Raw:
    """A JSON number in all its digits."""
    return msgspec.Raw(number.plain(amount).encode())


def _discount(asked: DiscountRequest) -> Discount:
    return Discount(
        id="",
        type=asked.type,
        amount=asked.amount,
        message=asked.message,
        separate_line_item=asked.separate_line_item,
        restrict_to_prices=_texts(asked.restrict_to_prices),
        seat_discount_type=asked.seat_discount_type,
        start=asked.valid_from,
        end=None if asked.valid_to is None else asked.valid_to + _DAY,
    )


def _grant(asked: GrantRequest) -> GrantTerms:
    frequency = asked.grant_refresh_frequency
    return GrantTerms(
        id="",
        name=asked.name,
        unit=asked.credit_unit_type,
        amount=asked.amount,
        currency=asked.currency,
        refresh=None if frequency is GrantRefreshFrequency.NONE else Frequency(frequency.value),
        rollover=asked.rollover_mode,
        restrict_to_prices=_texts(asked.restrict_to_prices),
        cost=asked.cost_of_credit or number.ZERO,
        tax_rate_id=None if asked.tax_rate_id is None else str(asked.tax_rate_id),
    )


def _texts(ids: Sequence[UUID]) -> tuple[str, ...]:
    return tuple(str(one) for one in ids)


class _HasId(Protocol):
    @property
    def id(self) -> str: ...


T = TypeVar("T", bound=_HasId)


def _with_ids(made: Sequence[T], before: Sequence[T], *, new_id: Callable[[], UUID] = uuid7) -> tuple[T, ...]:
    """What was there before keeps its id; each is found once."""
    left = list(before)
    found: list[T] = []
    for one in made:
        same = next((old for old in left if _nameless(old) == one), None)
        if same is not None:
            left.remove(same)
        found.append(same if same is not None else _named(one, str(new_id())))
    return tuple(found)


def _nameless(one: T) -> T:
    return _named(one, "")


def _named(one: T, id_: str) -> T:
    named: T = msgspec.structs.replace(one, id=id_)  # type: ignore[type-var]
    return named
