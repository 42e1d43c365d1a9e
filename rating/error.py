"""What rating refuses. An error says who must act, names the rule, and carries a `code` that never changes.

    RatingError
    |- InvalidTerms            the caller's data contradict each other or a limit
    |  |- UnknownCurrency        UNKNOWN_CURRENCY
    |  |- MixedCurrencies        MIXED_CURRENCIES
    |  |- InexactNumber          INEXACT_NUMBER
    |  |- NegativePrice          NEGATIVE_PRICE
    |  |- InvalidTiers           INVALID_TIERS
    |  |- UsageInAdvance         USAGE_IN_ADVANCE
    |  |- InvalidPrice           INVALID_PRICE
    |  |- InvalidFrequency       INVALID_FREQUENCY
    |  |- MixedFrequencies       MIXED_FREQUENCIES
    |  |- InvalidDiscount        INVALID_DISCOUNT
    |  |- InvalidMinimum         INVALID_MINIMUM
    |  |- InvalidGrant           INVALID_GRANT
    |  |- InvalidTax             INVALID_TAX
    |  |- InvalidPeriod          INVALID_PERIOD
    |  `- InvalidSchedule        INVALID_SCHEDULE
    |- UnsupportedTerms        UNSUPPORTED_TERMS: good terms of the reference that are not billed yet
    `- Unbillable              the terms are good, this bill cannot be made from what was given
       |- NothingDue             NOTHING_DUE
       |- MissingUsage           MISSING_USAGE
       |- InconsistentUsage      INCONSISTENT_USAGE
       |- MissingSeats           MISSING_SEATS
       |- NegativeUsage          NEGATIVE_USAGE
       `- AmountTooLarge         AMOUNT_TOO_LARGE

`key` is the path of the offending field in the wire's words ("structure.tiers[1].upperBound"), relative to the price or
the schedule. Whoever knows the schedule and the price adds them with `at`; whoever raised need not.
"""

import inspect
from typing import ClassVar, Self


class RatingError(Exception):
    """Rating refused something."""

    code: ClassVar[str] = "RATING"

    def __init__(self, detail: str | None = None, *, key: str | None = None) -> None:
        self.message = detail or inspect.cleandoc(self.__doc__ or "")
        self.key = key
        self.schedule_id: str | None = None
        self.price_id: str | None = None
        super().__init__(self.message)

    def at(self, *, schedule_id: str | None = None, price_id: str | None = None) -> Self:
        """Add where it happened, as far as that is not known yet."""
        self.schedule_id = self.schedule_id or schedule_id
        self.price_id = self.price_id or price_id
        return self

    def __str__(self) -> str:
        places = (("schedule", self.schedule_id), ("price", self.price_id))
        where = ", ".join(f"{noun} {identity}" for noun, identity in places if identity)
        return f"{where}: {self.message}" if where else self.message


class InvalidTerms(RatingError):
    """The terms contradict each other or a limit."""

    code = "INVALID_TERMS"


class UnknownCurrency(InvalidTerms):
    """Not a currency of ISO 4217 with a minor unit; use a code such as EUR, in capitals."""

    code = "UNKNOWN_CURRENCY"


class MixedCurrencies(InvalidTerms):
    """Amounts of different currencies cannot be put together; use one currency for all prices of a schedule."""

    code = "MIXED_CURRENCIES"


class InexactNumber(InvalidTerms):
    """A number must be finite, below 1e20 in size, with at most 18 decimals."""

    code = "INEXACT_NUMBER"


class NegativePrice(InvalidTerms):
    """Prices and fees cannot be negative; take money off with a discount, a credit or a credit note."""

    code = "NEGATIVE_PRICE"


class InvalidTiers(InvalidTerms):
    """Tiers must rise without gaps and the last one must be open at the top."""

    code = "INVALID_TIERS"


class UsageInAdvance(InvalidTerms):
    """Usage is known only afterwards: a usage-based price must be IN_ARREARS; use a credit grant for prepayment."""

    code = "USAGE_IN_ADVANCE"


class InvalidPrice(InvalidTerms):
    """The terms of this price contradict each other."""

    code = "INVALID_PRICE"


class InvalidFrequency(InvalidTerms):
    """Some kinds of price cannot be billed with every frequency."""

    code = "INVALID_FREQUENCY"


class MixedFrequencies(InvalidTerms):
    """One minimum covers prices of one frequency; give each frequency a minimum of its own."""

    code = "MIXED_FREQUENCIES"


class InvalidDiscount(InvalidTerms):
    """A discount takes off between 0 and 100 percent, or an amount that is not negative, of prices of its phase."""

    code = "INVALID_DISCOUNT"


class InvalidMinimum(InvalidTerms):
    """A minimum is an amount that is not negative, over usage prices of its phase."""

    code = "INVALID_MINIMUM"


class InvalidGrant(InvalidTerms):
    """A credit grant is an amount that is not negative: units of a metric, or money of a currency."""

    code = "INVALID_GRANT"


class InvalidTax(InvalidTerms):
    """A tax rate lies between 0 and 1, where 0.2 means 20 percent."""

    code = "INVALID_TAX"


class InvalidPeriod(InvalidTerms):
    """A period must end after it starts."""

    code = "INVALID_PERIOD"


class InvalidSchedule(InvalidTerms):
    """The dates or phases of this schedule contradict each other."""

    code = "INVALID_SCHEDULE"


class UnsupportedTerms(RatingError):
    """These terms are not billed yet, so they are not accepted either."""

    code = "UNSUPPORTED_TERMS"


class Unbillable(RatingError):
    """The bill cannot be made."""

    code = "UNBILLABLE"


class NothingDue(Unbillable):
    """Nothing of this schedule falls due on this date."""

    code = "NOTHING_DUE"


class MissingUsage(Unbillable):
    """The usage of a metric was not given for a period that must be billed."""

    code = "MISSING_USAGE"


class InconsistentUsage(Unbillable):
    """The groups or events of a metric do not add up to its quantity."""

    code = "INCONSISTENT_USAGE"


class MissingSeats(Unbillable):
    """The balances of a seat metric were not given for a period that must be billed."""

    code = "MISSING_SEATS"


class NegativeUsage(Unbillable):
    """Tiers begin at zero, so a negative quantity has no price."""

    code = "NEGATIVE_USAGE"


class AmountTooLarge(Unbillable):
    """The amount does not fit into 63 bits of minor units; check the price and the quantity."""

    code = "AMOUNT_TOO_LARGE"
