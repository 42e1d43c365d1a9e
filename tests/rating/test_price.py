"""Prices: the reference's JSON, what is refused, and why."""

import json
from decimal import Decimal

import msgspec
import pytest

from rating import number
from rating import price as prices
from rating.error import (
    InexactNumber,
    InvalidFrequency,
    InvalidPrice,
    InvalidTiers,
    NegativePrice,
    UnknownCurrency,
    UnsupportedTerms,
    UsageInAdvance,
)
from rating.period import Frequency
from rating.price import BillingType, Commitment, PricingType, UsageCalculationPeriod
from tests.build import fixed, graduated, linear, one_time, package, price, seats, volume

FIXED = '{"pricingType":"FIXED","price":"10.5"}'
LINEAR = '{"pricingType":"LINEAR","pricePerUnit":"0.00000025","usageMetricId":"m","isPricePercentage":true}'
GRADUATED = (
    '{"pricingType":"GRADUATED","tiers":[{"price":"1","isPricePercentage":false,"upperBound":"100","fee":"20"},'
    '{"price":"0.75","isPricePercentage":false}],"usageMetricId":"m","usageCalculationMode":"BILLING_PERIOD"}'
)


PACKAGE = '{"pricingType":"PACKAGE","packageSize":"250","pricePerPackage":"10","usageMetricId":"m"}'
VOLUME = (
    '{"pricingType":"VOLUME","tiers":[{"price":"0.02","isPricePercentage":true,"minPrice":"1","maxPrice":"10"}],'
    '"usageMetricId":"m"}'
)
SEATS = (
    '{"pricingType":"SEAT_BASED","seatMetricId":"s","pricePerSeat":"15","prorationStrategy":"USE_MAXIMUM",'
    '"contractedMinimumSeats":100,"tiers":[{"price":"12","upperBound":"15"},{"price":"15"}],'
    '"overagesBillingFrequency":"MONTHLY","prorateFlatFees":true}'
)
ONE_TIME = '{"pricingType":"ONE_TIME","price":"500"}'
STRUCTURES = (FIXED, LINEAR, GRADUATED, PACKAGE, VOLUME, SEATS, ONE_TIME)


@pytest.mark.parametrize("raw", STRUCTURES)
def test_a_structure_survives_the_way_there_and_back(raw):
    assert number.to_json(prices.decode_structure(raw.encode())) == raw.encode()


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (FIXED, fixed("10.5")),
        (LINEAR, linear("0.00000025", metric="m", percentage=True)),
        (GRADUATED, graduated("0-100 @ 1 + 20, then 0.75", metric="m")),
        (
            GRADUATED.replace('false}],"u', 'false,"upperBound":null,"fee":null}],"u'),
            prices.decode_structure(GRADUATED),
        ),
        (FIXED.replace('"10.5"', "10.50"), fixed("10.5")),
        (FIXED.replace("10.5", "0.1000000000000000055"[:20]), fixed("0.100000000000000005")),
    ],
)
def test_structures_are_read_exactly(raw, expected):
    assert prices.decode_structure(msgspec.Raw(raw.encode())) == expected


def test_every_kind_of_price_of_the_reference_has_a_structure():
    found = {json.loads(raw)["pricingType"] for raw in STRUCTURES}

    assert found == set(PricingType)


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        ("{}", "missing required field `pricingType`"),
        ('{"pricingType":"FLAT"}', "Invalid value 'FLAT'"),
        ('{"pricingType":"FIXED"}', "missing required field `price`"),
        ('{"pricingType":"FIXED","price":"1","extra":1}', "unknown field `extra`"),
        ('{"pricingType":"FIXED","price":true}', "Expected `decimal`, got `bool`"),
        ('{"pricingType":"FIXED","price":"ten"}', "Invalid decimal string"),
        (GRADUATED.replace('"price":"0.75",', ""), r"missing required field `price` - at `\$.tiers\[1\]`"),
        (LINEAR.replace("true", '"yes"'), r"Expected `bool`, got `str` - at `\$.isPricePercentage`"),
    ],
)
def test_what_is_malformed_raises_msgspecs_errors_with_the_path(raw, message):
    with pytest.raises(msgspec.ValidationError, match=message):
        prices.decode_structure(raw.encode())


@pytest.mark.parametrize(
    ("raw", "kind", "key"),
    [
        (FIXED.replace("10.5", "NaN"), InexactNumber, "structure.price"),
        (FIXED.replace('"10.5"', "1e999999999"), InexactNumber, "structure.price"),
        (FIXED.replace("10.5", "-0.01"), NegativePrice, "structure.price"),
        (LINEAR.replace("0.00000025", "0.0000000000000000001"), InexactNumber, "structure.pricePerUnit"),
        (LINEAR.replace("0.00000025", "-1"), NegativePrice, "structure.pricePerUnit"),
        (GRADUATED.replace('"100"', "0"), InvalidTiers, "structure.tiers[0].upperBound"),
        (GRADUATED.replace('"20"', '"-20"'), NegativePrice, "structure.tiers[0].fee"),
        (ONE_TIME.replace("500", "-1"), NegativePrice, "structure.price"),
        (PACKAGE.replace("250", "0"), InvalidPrice, "structure.packageSize"),
        (PACKAGE.replace('"10"', '"-10"'), NegativePrice, "structure.pricePerPackage"),
        (VOLUME.replace('"1"', '"11"'), InvalidPrice, "structure.tiers[0].minPrice"),
        (VOLUME.replace('"10"', '"-10"'), NegativePrice, "structure.tiers[0].maxPrice"),
        (SEATS.replace("100", "-1"), InvalidPrice, "structure.contractedMinimumSeats"),
        (SEATS.replace('"15"}]', '"-15"}]'), NegativePrice, "structure.tiers[1].price"),
        (SEATS.replace(',"upperBound":"15"', ""), InvalidTiers, "structure.tiers[0].upperBound"),
    ],
)
def test_numbers_without_a_price_are_refused_by_field(raw, kind, key):
    with pytest.raises(kind) as refused:
        prices.decode_structure(raw.encode())

    assert refused.value.key == key


@pytest.mark.parametrize("structure", [linear("0.1"), graduated("then 0.1")])
def test_usage_cannot_be_billed_in_advance(structure):
    with pytest.raises(UsageInAdvance) as refused:
        price(structure, id="p1", billing_type=BillingType.IN_ADVANCE)

    assert (refused.value.key, refused.value.price_id) == ("billingType", "p1")


def test_fixed_prices_can_be_billed_in_advance():
    assert price(fixed("10"), billing_type=BillingType.IN_ADVANCE).structure.price == Decimal(10)


def test_billing_per_event_is_refused_by_name():
    with pytest.raises(UnsupportedTerms, match="billingFrequency PER_EVENT is not billed"):
        price(linear("10"), billing_frequency=Frequency.PER_EVENT)


@pytest.mark.parametrize(
    ("structure", "frequency"),
    [
        (one_time("500"), "MONTHLY"),
        (fixed("10"), "ON_DEMAND"),
        (linear("10"), "ONE_TIME"),
        (seats("15"), "ONE_TIME"),
        (seats("15"), "ON_DEMAND"),
        (seats("15", overages="YEARLY"), "MONTHLY"),
        (seats("15", overages="MONTHLY"), "WEEKLY"),
    ],
)
def test_kinds_of_price_and_frequencies_that_do_not_fit_are_refused(structure, frequency):
    with pytest.raises(InvalidFrequency) as refused:
        price(structure, id="p1", billing_frequency=Frequency(frequency))

    assert refused.value.price_id == "p1"


@pytest.mark.parametrize("window", [None, ("MONTHLY", 0), ("MONTHLY", 101), ("WEEKLY", 1), ("MONTHLY", 2)])
def test_a_periodic_ladder_needs_a_window_of_whole_billing_periods(window):
    given = UsageCalculationPeriod(Frequency(window[0]), window[1]) if window else None
    with pytest.raises(InvalidPrice) as refused:
        price(
            graduated("then 1", mode="PERIODIC"),
            billing_frequency=Frequency.QUARTERLY,
            usage_calculation_period=given,
        )

    assert refused.value.key == "usageCalculationPeriod"


@pytest.mark.parametrize(
    ("structure", "terms", "kind", "key"),
    [
        (fixed("10"), {"minimum": Decimal(1)}, InvalidPrice, "minimum"),
        (fixed("10"), {"maximum": Decimal(1)}, InvalidPrice, "maximum"),
        (linear("1"), {"minimum": Decimal(-1)}, NegativePrice, "minimum"),
        (linear("1"), {"minimum": Decimal(2), "maximum": Decimal(1)}, InvalidPrice, "minimum"),
        (linear("1"), {"commitment": Commitment(Decimal(-1), Decimal(1))}, NegativePrice, "commitment.amount"),
        (linear("1"), {"commitment": Commitment(Decimal(1), Decimal(-1))}, NegativePrice, "commitment.overageRate"),
        (linear("1"), {"prices_by_group": {"eu": Decimal(-1)}}, NegativePrice, "pricesByGroup.eu"),
        (linear("1"), {"prices_by_group": {}}, InvalidPrice, "pricesByGroup"),
        (graduated("then 1"), {"prices_by_group": {"eu": Decimal(1)}}, UnsupportedTerms, "pricesByGroup"),
        (graduated("then 1"), {"commitment": Commitment(Decimal(1), Decimal(1))}, UnsupportedTerms, "commitment"),
        (
            linear("1"),
            {"commitment": Commitment(Decimal(1), Decimal(1)), "prices_by_group": {"eu": Decimal(1)}},
            InvalidPrice,
            "pricesByGroup",
        ),
    ],
)
def test_extensions_that_contradict_the_price_are_refused_by_field(structure, terms, kind, key):
    with pytest.raises(kind) as refused:
        price(structure, id="p1", **terms)

    assert (refused.value.key, refused.value.price_id) == (key, "p1")


def test_a_price_needs_a_currency():
    with pytest.raises(UnknownCurrency):
        price(fixed("10"), currency="XXX")


@pytest.mark.parametrize(
    ("structure", "metric"),
    [
        (fixed("1"), None),
        (one_time("1"), None),
        (seats("1"), None),
        (linear("1", metric="a"), "a"),
        (graduated("then 1", metric="b"), "b"),
        (volume("then 1", metric="c"), "c"),
        (package("250 @ 10", metric="d"), "d"),
    ],
)
def test_only_usage_prices_read_a_metric(structure, metric):
    assert prices.metric_of(structure) == metric
