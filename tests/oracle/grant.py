"""Grant: what the phases of a contract give, day by day (spec section 21)."""

from collections.abc import Iterator, Sequence
from datetime import date

from rating.credit import Grant
from rating.terms import GrantTerms, RolloverMode
from tests.oracle import day as days
from tests.oracle.due import Stretch, issue_days


def issued(stretches: Sequence[Stretch], *, until: date) -> Iterator[Grant]:
    """One grant on the first day of the phase, and one on each first day of a period of the refresh."""
    for stretch in stretches:
        for terms in stretch.terms.grants:
            for day in issue_days(terms, stretch, until=until):
                yield _grant(terms, stretch, day)


def _grant(terms: GrantTerms, stretch: Stretch, day: date) -> Grant:
    phase_end = None if stretch.last is None else stretch.last + days.ONE
    end = phase_end
    if terms.rollover is RolloverMode.NONE and terms.refresh is not None:
        refresh = stretch.full_period(day, terms.refresh)[1] + days.ONE
        end = refresh if phase_end is None else min(refresh, phase_end)
    if terms.rollover is RolloverMode.ON_GRANT_REFRESH_AND_PHASE:
        end = None
    return Grant(
        id=f"{terms.id}@{day}",
        name=terms.name,
        unit=terms.unit,
        balance=terms.amount,
        start=day,
        end=end,
        currency=terms.currency,
        metric_id=terms.metric_id,
        restrict_to_prices=terms.restrict_to_prices,
    )
