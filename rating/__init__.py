"""Rating: what is owed, and nothing else. Pure: no I/O, no clock, no async, no ids made up on the way.

Owns
    The nouns of billing and their arithmetic: money and currencies, what a usage metric counts, periods cut from a
    billing day, prices and their tiers, seats, schedules and their phases, the charges that fall due, discounts,
    minimums, credits, tax, and `bill`, the one pipeline from known facts to the lines of an invoice, each with its
    explanation. What was billed too early or too late is answered by `difference`, which adds lines and changes none.
    What cannot be billed is refused with a typed error (`rating.error`), never guessed.

Does not own
    Where facts come from and where bills go: events and counters (meter), rows (store), runs, numbers and documents
    (invoicer), JSON requests and HTTP statuses (api). It knows no account, no customer and no time zone of its own:
    whoever calls turns dates into instants with `period.instants` and a zone, finds tax rates and sums children.

Words for time
    service period: what a line is for. full period: the undivided period of a price's frequency, the measure of
    proration. billing period: what the whole bill is for. bill date: the day on which charges fall due. pay day: the
    day on which a credit grant must be valid to pay a charge. ladder: the days over which tiers are climbed. Periods
    are half-open ranges of dates; instants are aware and in UTC.

Invariants
    The same input gives the same bytes. Each line is rounded once; the total is the sum of the lines. Adjacent periods
    meet. Over the life of a schedule every service period of every price is charged exactly once. Quantities and prices
    are exact decimals and no arithmetic rounds silently. Money never travels without its currency. Splitting loses no
    minor unit. Nothing takes more than is left: no discount or credit makes a bill negative, no grant is overdrawn.
    What a bill is made of points only at what was there before it and never in a circle; so the garbage collector,
    which would walk all bills of a run again and again, is told to leave it alone (`gc=False`).

Start reading at
    bill.py (the order of the steps), then schedule.py (what falls due when) and tariff.py (what each kind of price
    costs). needs.py says what must be known before. Nouns are exported here; verbs are called through their module:
    `bill.bill(x)`, `bill.needs(schedule, date)`, `money.round_minor(x)`.
"""

from rating.bill import BillInput
from rating.credit import Grant
from rating.difference import Difference
from rating.error import (
    AmountTooLarge,
    InconsistentUsage,
    InexactNumber,
    InvalidDiscount,
    InvalidFrequency,
    InvalidGrant,
    InvalidMinimum,
    InvalidPeriod,
    InvalidPrice,
    InvalidSchedule,
    InvalidTax,
    InvalidTerms,
    InvalidTiers,
    MissingSeats,
    MissingUsage,
    MixedCurrencies,
    MixedFrequencies,
    NegativePrice,
    NegativeUsage,
    NothingDue,
    RatingError,
    Unbillable,
    UnknownCurrency,
    UnsupportedTerms,
    UsageInAdvance,
)
from rating.explanation import (
    CommitmentOverage,
    CommitmentShortfall,
    CommittedUsage,
    CreditUsed,
    DiscountShare,
    DiscountTaken,
    EventFees,
    Explanation,
    FixedFee,
    LateUsage,
    LinearUsage,
    MaximumReached,
    OneTimeFee,
    PackageUsage,
    Reduced,
    SeatFee,
    Seats,
    TierFee,
    TierUsage,
    TrueUp,
    VolumeUsage,
)
from rating.invoice import Bill, BillWarning, Draw, Group, Line, LineKind
from rating.item import Draft, Item, Taking
from rating.match import Match, Miss, Reason
from rating.metric import Aggregation, Bound, Filter, Metric
from rating.money import Money
from rating.needs import Needs
from rating.part import Part, RateDisplay, SeatScope
from rating.period import Frequency, Grid, Period
from rating.phase import Milestone, Phase, RecurrencePreference
from rating.price import BillingType, Commitment, Price, UsageCalculationPeriod
from rating.reading import CustomerShare, Reading
from rating.schedule import Charge, ChargeReason, Due, Schedule
from rating.seat import SeatChange, SeatKey
from rating.span import Span
from rating.structure import (
    Fixed,
    Graduated,
    Linear,
    OneTime,
    OveragesFrequency,
    Package,
    PricingType,
    SeatBased,
    SeatProrationStrategy,
    Structure,
    UsageCalculationMode,
    Volume,
)
from rating.tax import Tax, TaxStatus
from rating.terms import CreditUnit, Discount, DiscountType, GrantTerms, Minimum, RolloverMode, SeatDiscountType
from rating.tier import SeatTier, Step, Tier, VolumeTier
from rating.usage import Usage, UsageKey
from rating.window import Window

__all__ = [
    "Aggregation",
    "AmountTooLarge",
    "Bill",
    "BillInput",
    "BillWarning",
    "BillingType",
    "Bound",
    "Charge",
    "ChargeReason",
    "Commitment",
    "CommitmentOverage",
    "CommitmentShortfall",
    "CommittedUsage",
    "CreditUnit",
    "CreditUsed",
    "CustomerShare",
    "Difference",
    "Discount",
    "DiscountShare",
    "DiscountTaken",
    "DiscountType",
    "Draft",
    "Draw",
    "Due",
    "EventFees",
    "Explanation",
    "Filter",
    "Fixed",
    "FixedFee",
    "Frequency",
    "Graduated",
    "Grant",
    "GrantTerms",
    "Grid",
    "Group",
    "InconsistentUsage",
    "InexactNumber",
    "InvalidDiscount",
    "InvalidFrequency",
    "InvalidGrant",
    "InvalidMinimum",
    "InvalidPeriod",
    "InvalidPrice",
    "InvalidSchedule",
    "InvalidTax",
    "InvalidTerms",
    "InvalidTiers",
    "Item",
    "LateUsage",
    "Line",
    "LineKind",
    "Linear",
    "LinearUsage",
    "Match",
    "MaximumReached",
    "Metric",
    "Milestone",
    "Minimum",
    "Miss",
    "MissingSeats",
    "MissingUsage",
    "MixedCurrencies",
    "MixedFrequencies",
    "Money",
    "Needs",
    "NegativePrice",
    "NegativeUsage",
    "NothingDue",
    "OneTime",
    "OneTimeFee",
    "OveragesFrequency",
    "Package",
    "PackageUsage",
    "Part",
    "Period",
    "Phase",
    "Price",
    "PricingType",
    "RateDisplay",
    "RatingError",
    "Reading",
    "Reason",
    "RecurrencePreference",
    "Reduced",
    "RolloverMode",
    "Schedule",
    "SeatBased",
    "SeatChange",
    "SeatDiscountType",
    "SeatFee",
    "SeatKey",
    "SeatProrationStrategy",
    "SeatScope",
    "SeatTier",
    "Seats",
    "Span",
    "Step",
    "Structure",
    "Taking",
    "Tax",
    "TaxStatus",
    "Tier",
    "TierFee",
    "TierUsage",
    "TrueUp",
    "Unbillable",
    "UnknownCurrency",
    "UnsupportedTerms",
    "Usage",
    "UsageCalculationMode",
    "UsageCalculationPeriod",
    "UsageInAdvance",
    "UsageKey",
    "Volume",
    "VolumeTier",
    "VolumeUsage",
    "Window",
]
