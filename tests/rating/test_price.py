"""Prices: the reference's JSON, what is refused, and why."""

from decimal import Decimal

import msgspec
import pytest

from rating import number
from rating import price as prices
from rating.error import (
    InexactNumber,
    InvalidTiers,
    NegativePrice,
    UnknownCurrency,
    UnsupportedTerms,
    UsageInAdvance,
)
from rating.period import Frequency
from rating.price import BillingType, PricingType
from tests.build import fixed, graduated, linear, price

FIXED = '{"pricingType":"FIXED","price":"10.5"}'
LINEAR = '{"pricingType":"LINEAR","pricePerUnit":"0.00000025","usageMetricId":"m","isPricePercentage":true}'
GRADUATED = (
    '{"pricingType":"GRADUATED","tiers":[{"price":"1","isPricePercentage":false,"upperBound":"100","fee":"20"},'
    '{"price":"0.75","isPricePercentage":false}],"usageMetricId":"m","usageCalculationMode":"BILLING_PERIOD"}'
)


@pytest.mark.parametrize("raw", [FIXED, LINEAR, GRADUATED])
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


@pytest.mark.parametrize("kind", sorted(set(PricingType) - {"FIXED", "LINEAR", "GRADUATED"}))
def test_kinds_of_price_that_are_not_billed_yet_are_refused_by_name(kind):
    with pytest.raises(UnsupportedTerms, match=f"pricingType {kind} is not billed yet") as refused:
        prices.decode_structure(f'{{"pricingType":"{kind}","tiers":[]}}'.encode())

    assert refused.value.key == "structure.pricingType"


@pytest.mark.parametrize("mode", ["CUMULATIVE", "PERIODIC"])
def test_ladders_over_several_periods_are_refused_by_name(mode):
    with pytest.raises(UnsupportedTerms, match=f"usageCalculationMode {mode}"):
        prices.decode_structure(GRADUATED.replace("BILLING_PERIOD", mode).encode())


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        ("{}", "missing required field `pricingType`"),
        ('{"pricingType":"FLAT"}', "Invalid enum value 'FLAT'"),
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


@pytest.mark.parametrize("frequency", [Frequency.ONE_TIME, Frequency.ON_DEMAND, Frequency.PER_EVENT])
def test_frequencies_that_are_not_billed_yet_are_refused_by_name(frequency):
    with pytest.raises(UnsupportedTerms, match=f"billingFrequency {frequency} is not billed yet"):
        price(fixed("10"), billing_frequency=frequency)


def test_a_price_needs_a_currency():
    with pytest.raises(UnknownCurrency):
        price(fixed("10"), currency="XXX")


@pytest.mark.parametrize(
    ("structure", "metric"),
    [(fixed("1"), None), (linear("1", metric="a"), "a"), (graduated("then 1", metric="b"), "b")],
)
def test_only_usage_prices_read_a_metric(structure, metric):
    assert prices.metric_of(structure) == metric
