"""Phases of a billing schedule on the wire: which prices are paid from when to when."""

from collections.abc import Sequence
from datetime import date, datetime
from typing import Annotated, Any
from uuid import UUID

import msgspec
from msgspec import Meta
from uuid_utils.compat import uuid7

from api import error, wire
from store.schedule import Phase

PHASES_MAX = 100
PRICES_MAX = 1000


class PhaseRequest(msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """A phase as it is asked for; dates inclusive."""

    price_ids: Annotated[tuple[UUID, ...], Meta(max_length=PRICES_MAX)]
    start_date: date
    end_date: date | None = None
    name: Annotated[str, Meta(max_length=255)] | None = None
    recurrence_preference: str | None = None
    external_contract_ref: str | None = None
    discounts: tuple[Any, ...] | None = None
    minimums: tuple[Any, ...] | None = None
    credit_grants: tuple[Any, ...] | None = None
    list_price_ids: tuple[Any, ...] | None = None
    phase_price_metadata: tuple[Any, ...] | None = None
    phase_list_price_metadata: tuple[Any, ...] | None = None


def read(asked: Sequence[PhaseRequest], *, now: datetime) -> tuple[Phase, ...]:
    """The phases as they are kept; what is not offered yet is refused by name."""
    if not asked:
        raise error.InvalidValue("A billing schedule has a phase. Send one.", key="phases")
    if len(asked) > 1:
        raise error.NotOfferedYet("Several phases are not offered yet. Send one.", key="phases")
    return tuple(_phase(one, place=f"phases[{index}]", now=now) for index, one in enumerate(asked))


def show(found: Phase, *, schedule: UUID) -> dict[str, Any]:
    """A phase as the reference shows it."""
    return {
        "id": found.id,
        "name": found.name,
        "externalContractRef": None,
        "createdAt": found.created_at,
        "billingScheduleId": schedule,
        "priceIds": found.prices,
        "startDate": found.start_date,
        "endDate": found.end_date,
        "discounts": [],
        "minimums": [],
        "creditGrants": [],
        "recurrencePreference": "CONTINUE_FROM_PREVIOUS_PHASE",
        "phasePriceMetadata": [],
    }


def _phase(asked: PhaseRequest, *, place: str, now: datetime) -> Phase:
    if asked.recurrence_preference not in {None, "CONTINUE_FROM_PREVIOUS_PHASE"}:
        key = f"{place}.recurrencePreference"
        raise error.NotOfferedYet("Only CONTINUE_FROM_PREVIOUS_PHASE is offered yet. Leave it out.", key=key)
    wire.refuse_if_given(
        **{
            f"{place}.externalContractRef": asked.external_contract_ref,
            f"{place}.discounts": asked.discounts,
            f"{place}.minimums": asked.minimums,
            f"{place}.creditGrants": asked.credit_grants,
            f"{place}.listPriceIds": asked.list_price_ids,
            f"{place}.phasePriceMetadata": asked.phase_price_metadata,
            f"{place}.phaseListPriceMetadata": asked.phase_list_price_metadata,
        }
    )
    return Phase(
        id=uuid7(),
        name=asked.name,
        start_date=asked.start_date,
        end_date=asked.end_date,
        prices=asked.price_ids,
        created_at=now,
    )
