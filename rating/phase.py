"""Phases: the stretches of a schedule, with the prices, discounts, minimums and credit grants that hold in each.

Phases follow each other without a gap. A phase with a milestone has no end of its own: it ends with the day on which
the milestone is completed, and until then nothing behind it has begun (spec sections 13 and 16, cases 31 to 33).
"""

from collections.abc import Sequence
from datetime import date, timedelta
from decimal import Decimal
from enum import StrEnum

import msgspec

from rating.error import InvalidDiscount, InvalidMinimum, InvalidSchedule, InvalidTerms, MixedCurrencies
from rating.number import check_price
from rating.period import month_later
from rating.price import Price
from rating.terms import Discount, GrantTerms, Minimum, check_discount, check_grant, check_minimum, pace_setter

PHASES_MAX = 100
PRICES_MAX = 1000
TERMS_MAX = 100
_DAY = timedelta(days=1)


class RecurrencePreference(StrEnum):
    """Whether the billing periods go on over the start of the phase or begin anew with it (case 32)."""

    CONTINUE_FROM_PREVIOUS_PHASE = "CONTINUE_FROM_PREVIOUS_PHASE"
    RESET = "RESET"


class Milestone(msgspec.Struct, frozen=True):
    """What ends a phase: `completed_on` is its last day, None as long as it is not reached."""

    name: str
    completed_on: date | None = None


class Phase(msgspec.Struct, frozen=True):
    """A stretch of a schedule with its prices; without an end it goes on.

    `plan_minimum` is a floor under the whole bill before tax and credits, an extension (case 15).
    """

    start: date
    end: date | None
    prices: tuple[Price, ...]
    discounts: tuple[Discount, ...] = ()
    minimums: tuple[Minimum, ...] = ()
    grants: tuple[GrantTerms, ...] = ()
    recurrence: RecurrencePreference = RecurrencePreference.CONTINUE_FROM_PREVIOUS_PHASE
    plan_minimum: Decimal | None = None
    milestone: Milestone | None = None


def running(phases: tuple[Phase, ...]) -> tuple[Phase, ...]:
    """The phases with their real dates, as far as they are known.

    A milestone that is not completed leaves its phase open and hides what comes behind. Once completed, the phases
    behind it move to the next day and keep their lengths: whole months when they were planned so, else days.
    """
    if not [phase for phase in phases if phase.milestone is not None]:
        return phases
    found: list[Phase] = []
    for phase in phases:
        start = phase.start if not found or found[-1].end is None else found[-1].end
        if phase.milestone is None:
            found.append(_moved(phase, start))
            continue
        completed = phase.milestone.completed_on
        end = None if completed is None else completed + _DAY
        if end is not None and end <= start:
            message = f"milestone {phase.milestone.name} cannot be completed before its phase starts on {start}"
            raise InvalidSchedule(message, key="phases.milestone")
        found.append(msgspec.structs.replace(phase, start=start, end=end))
        if end is None:
            break
    return tuple(found)


def _moved(phase: Phase, start: date) -> Phase:
    if start == phase.start or phase.end is None:
        return msgspec.structs.replace(phase, start=start)
    months = (phase.end.year - phase.start.year) * 12 + phase.end.month - phase.start.month
    in_months = month_later(phase.start, months=months) == phase.end
    end = month_later(start, months=months) if in_months else start + (phase.end - phase.start)
    return msgspec.structs.replace(phase, start=start, end=end)


def check_phases(phases: tuple[Phase, ...], *, start: date, end: date | None) -> None:
    """Refuse phases that leave a day without terms, or give it two."""
    if not 1 <= len(phases) <= PHASES_MAX:
        raise InvalidSchedule(f"give between 1 and {PHASES_MAX} phases, not {len(phases)}", key="phases")
    expected: date | None = start
    for index, phase in enumerate(phases):
        key = f"phases[{index}]"
        if expected is None:
            # Behind a milestone dates are planned; the lengths count, from wherever the phase begins in the end.
            _check_planned(phase, phases[index - 1], key=f"{key}.startDate")
        elif phase.start != expected:
            message = f"the phase must start on {expected}, where the schedule or the phase before it leaves off"
            raise InvalidSchedule(message, key=f"{key}.startDate")
        _check_end(phase, end=end, is_last=index == len(phases) - 1, key=f"{key}.endDate")
        expected = phase.end
        _check_prices(phase.prices, key=f"{key}.priceIds")
        _check_terms(phase, key=key)
    _check_currencies(phases)


def _check_planned(phase: Phase, before: Phase, *, key: str) -> None:
    if phase.start < before.start:
        raise InvalidSchedule(f"the phase must not start before {before.start}, as the one before it does", key=key)


def _check_end(phase: Phase, *, end: date | None, is_last: bool, key: str) -> None:
    if phase.milestone is not None:
        if phase.end is not None:
            raise InvalidSchedule("a phase with a milestone has no endDate: it ends when it is completed", key=key)
        if is_last and end is not None:
            raise InvalidSchedule("a schedule that ends with a milestone has no endDate", key="endDate")
        return
    if is_last and phase.end != end:
        raise InvalidSchedule("the last phase must end with the schedule", key=key)
    if not is_last and phase.end is None:
        raise InvalidSchedule("only the last phase may be open", key=key)
    if phase.end is not None and phase.end <= phase.start:
        raise InvalidSchedule("endDate must not lie before startDate", key=key)


def _check_prices(prices: Sequence[Price], *, key: str) -> None:
    if not 1 <= len(prices) <= PRICES_MAX:
        raise InvalidSchedule(f"give between 1 and {PRICES_MAX} prices, not {len(prices)}", key=key)
    if len({price.id for price in prices}) != len(prices):
        raise InvalidSchedule("a price can stand in a phase only once", key=key)


def _check_currencies(phases: Sequence[Phase]) -> None:
    for index, phase in enumerate(phases):
        currencies = sorted({price.currency for price in (*phases[0].prices, *phase.prices)})
        if len(currencies) != 1:
            message = f"the prices of one schedule must share a currency, these have {', '.join(currencies)}"
            raise MixedCurrencies(message, key=f"phases[{index}].priceIds")


def _check_terms(phase: Phase, *, key: str) -> None:
    for name, terms in (("discounts", phase.discounts), ("minimums", phase.minimums), ("creditGrants", phase.grants)):
        if len(terms) > TERMS_MAX:
            raise InvalidTerms(f"give at most {TERMS_MAX} {name} in a phase, not {len(terms)}", key=f"{key}.{name}")
    for index, discount in enumerate(phase.discounts):
        check_discount(discount, prices=phase.prices, key=f"{key}.discounts[{index}]")
    for index, minimum in enumerate(phase.minimums):
        check_minimum(minimum, prices=phase.prices, key=f"{key}.minimums[{index}]")
    for index, grant in enumerate(phase.grants):
        check_grant(grant, prices=phase.prices, key=f"{key}.creditGrants[{index}]")
    if phase.plan_minimum is not None:
        check_price(phase.plan_minimum, key=f"{key}.planMinimum")
        if pace_setter(phase.prices) is None:
            raise InvalidMinimum("a plan minimum needs a price with billing periods", key=f"{key}.planMinimum")
    if len({discount.id for discount in phase.discounts}) != len(phase.discounts):
        raise InvalidDiscount("two discounts of a phase have the same id", key=f"{key}.discounts")
