"""The company of the demo, as data: Halyard, which sells access to two language models, its price list and its
customers.

Nothing here is asked from a server, so that the expected invoices can be computed from it without one.

    Metric      what is measured           "atlas-input": SUM of inputTokens where model is atlas
    Price       what a metric costs        a ladder of (up to, per unit), or a fixed fee of a plan
    Customer    who pays                   plan, aliases that appear in events, how much they use, how many people
"""

from collections.abc import Mapping
from decimal import Decimal
from types import MappingProxyType

import msgspec

NAME = "Halyard AI"
CURRENCY = "USD"
EVENT_TYPE = "completion"
MODELS = ("atlas", "swift")


class Metric(msgspec.Struct, frozen=True):
    """A usage metric as it is created by the API."""

    key: str
    name: str
    aggregation: str
    unit: str
    property: str | None = None
    model: str | None = None


class Price(msgspec.Struct, frozen=True):
    """A usage price: the units up to each bound cost that much; one open tier is a plain price per unit."""

    key: str
    product: str
    name: str
    metric: str
    tiers: tuple[tuple[Decimal | None, Decimal], ...]


class Customer(msgspec.Struct, frozen=True):
    """A customer and its habits: share of all traffic, people, how often it takes the large model."""

    name: str
    plan: str
    aliases: tuple[str, ...]
    town: str
    country: str
    weight: int
    people: int
    atlas_share: float


METRICS = (
    Metric("atlas-input", "Atlas input tokens", "SUM", "tokens", property="inputTokens", model="atlas"),
    Metric("atlas-output", "Atlas output tokens", "SUM", "tokens", property="outputTokens", model="atlas"),
    Metric("swift-input", "Swift input tokens", "SUM", "tokens", property="inputTokens", model="swift"),
    Metric("swift-output", "Swift output tokens", "SUM", "tokens", property="outputTokens", model="swift"),
    Metric("requests", "Requests", "COUNT", "requests"),
    Metric("users", "Active users", "UNIQUE", "users", property="user"),
)

PLAN_FEES: Mapping[str, Decimal] = MappingProxyType(
    {"Launch": Decimal(49), "Scale": Decimal(499), "Enterprise": Decimal(2500)}
)


def _ladder(*tiers: tuple[str | None, str]) -> tuple[tuple[Decimal | None, Decimal], ...]:
    return tuple((None if bound is None else Decimal(bound), Decimal(price)) for bound, price in tiers)


PLATFORM, ATLAS, SWIFT, GATEWAY = "Platform", "Atlas, the large model", "Swift, the small model", "Gateway"

PRICES = (
    Price(
        "atlas-input",
        ATLAS,
        "Atlas input tokens",
        "atlas-input",
        _ladder(("1000000", "0.000003"), ("5000000", "0.0000026"), (None, "0.0000022")),
    ),
    Price(
        "atlas-output",
        ATLAS,
        "Atlas output tokens",
        "atlas-output",
        _ladder(("250000", "0.000015"), ("1000000", "0.000013"), (None, "0.000011")),
    ),
    Price("swift-input", SWIFT, "Swift input tokens", "swift-input", _ladder((None, "0.00000025"))),
    Price("swift-output", SWIFT, "Swift output tokens", "swift-output", _ladder((None, "0.00000125"))),
    Price(
        "requests",
        GATEWAY,
        "Requests",
        "requests",
        _ladder(("1000", "0"), ("10000", "0.0008"), (None, "0.0005")),
    ),
    Price("users", GATEWAY, "Active users", "users", _ladder(("3", "0"), (None, "6"))),
)

CUSTOMERS = (
    Customer("Meridian Legal LLP", "Enterprise", ("meridian", "meridian-archive"), "London", "GB", 190, 42, 0.75),
    Customer("Brightwater Health", "Enterprise", ("brightwater",), "Boston, MA", "US", 160, 38, 0.60),
    Customer("Kestrel Logistik GmbH", "Scale", ("kestrel-prod", "kestrel-staging"), "Hamburg", "DE", 120, 17, 0.20),
    Customer("Cobalt Gaming Oy", "Scale", ("cobalt",), "Helsinki", "FI", 110, 9, 0.10),
    Customer("Tamarind Travel", "Scale", ("tamarind-web", "tamarind-app"), "Singapore", "SG", 95, 14, 0.30),
    Customer("Harbourline Insurance", "Scale", ("harbourline",), "Halifax, NS", "CA", 80, 21, 0.55),
    Customer("Quillfeather Publishing", "Scale", ("quillfeather",), "Edinburgh", "GB", 62, 11, 0.85),
    Customer("Vireo Analytics", "Scale", ("vireo", "vireo-batch"), "Austin, TX", "US", 55, 8, 0.40),
    Customer("Saffron Robotics KK", "Launch", ("saffron",), "Osaka", "JP", 38, 6, 0.35),
    Customer("Bluebell Learning", "Launch", ("bluebell",), "Dublin", "IE", 30, 12, 0.25),
    Customer("Parcelwise BV", "Launch", ("parcelwise",), "Utrecht", "NL", 24, 5, 0.15),
    Customer("Fjordlys Studio AS", "Launch", ("fjordlys",), "Bergen", "NO", 18, 4, 0.90),
    Customer("Lumen & Oak", "Launch", ("lumen-oak",), "Melbourne", "AU", 12, 3, 0.50),
    Customer("Petrichor Labs", "Launch", ("petrichor",), "Lisbon", "PT", 6, 2, 0.45),
)
