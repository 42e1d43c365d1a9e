"""Rating: what is owed, and nothing else. Pure: no I/O, no clock, no async, no ids made up on the way.

Owns
    The nouns of billing and their arithmetic: money and currencies, what a usage metric counts, periods cut from a
    billing day, prices and their tiers, schedules, the charges that fall due, and `bill`, the one pipeline from known
    facts to the lines of an invoice, each with its explanation. What cannot be billed is refused with a typed error
    (`rating.error`), never guessed.

Does not own
    Where facts come from and where bills go: events and counters (meter), rows (store), runs, numbers and documents
    (invoicer), JSON requests and HTTP statuses (api). It knows no account, no customer and no time zone of its own:
    whoever calls turns dates into instants with `period.instants` and a zone.

Words for time
    service period: what a line is for. full period: the undivided period of a price's frequency, the measure of
    proration. billing period: what the whole bill is for. bill date: the day on which charges fall due. Periods are
    half-open ranges of dates; instants are aware and in UTC.

Invariants
    The same input gives the same bytes. Each line is rounded once; the total is the sum of the lines. Adjacent periods
    meet. Over the life of a schedule every service period of every price is charged exactly once. Quantities and prices
    are exact decimals and no arithmetic rounds silently. Money never travels without its currency.

Start reading at
    bill.py (the order of the steps), then schedule.py (what falls due when) and tariff.py (what each kind of price
    costs). Nouns are exported here; verbs are called through their module: `bill.bill(x)`, `money.round_minor(x)`.
"""

from rating.bill import BillInput
from rating.error import (
    AmountTooLarge,
    InexactNumber,
    InvalidPeriod,
    InvalidSchedule,
    InvalidTerms,
    InvalidTiers,
    MissingUsage,
    MixedCurrencies,
    NegativePrice,
    NegativeUsage,
    NothingDue,
    RatingError,
    Unbillable,
    UnknownCurrency,
    UnsupportedTerms,
    UsageInAdvance,
)
from rating.explanation import Explanation, FixedFee, LinearUsage, Reading, TierFee, TierUsage
from rating.invoice import Bill, Group, Line, RateDisplay
from rating.match import Match, Miss, Reason
from rating.metric import Aggregation, Bound, Filter, Metric
from rating.money import Money
from rating.period import Frequency, Grid, Period
from rating.price import BillingType, Fixed, Graduated, Linear, Price, PricingType, Structure, UsageCalculationMode
from rating.schedule import Charge, Phase, Schedule
from rating.span import Span
from rating.tariff import Part
from rating.tier import Step, Tier
from rating.usage import Usage, UsageKey
from rating.window import Window

__all__ = [
    "Aggregation",
    "AmountTooLarge",
    "Bill",
    "BillInput",
    "BillingType",
    "Bound",
    "Charge",
    "Explanation",
    "Filter",
    "Fixed",
    "FixedFee",
    "Frequency",
    "Graduated",
    "Grid",
    "Group",
    "InexactNumber",
    "InvalidPeriod",
    "InvalidSchedule",
    "InvalidTerms",
    "InvalidTiers",
    "Line",
    "Linear",
    "LinearUsage",
    "Match",
    "Metric",
    "Miss",
    "MissingUsage",
    "MixedCurrencies",
    "Money",
    "NegativePrice",
    "NegativeUsage",
    "NothingDue",
    "Part",
    "Period",
    "Phase",
    "Price",
    "PricingType",
    "RateDisplay",
    "RatingError",
    "Reading",
    "Reason",
    "Schedule",
    "Span",
    "Step",
    "Structure",
    "Tier",
    "TierFee",
    "TierUsage",
    "Unbillable",
    "UnknownCurrency",
    "UnsupportedTerms",
    "Usage",
    "UsageCalculationMode",
    "UsageInAdvance",
    "UsageKey",
    "Window",
]
