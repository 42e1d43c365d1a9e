"""Tiers: upper bounds are inclusive, the first is entered even at zero, no quantity has two prices or none."""

from decimal import Decimal
from fractions import Fraction
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rating import tier
from rating.error import InexactNumber, InvalidTiers, NegativePrice, NegativeUsage
from rating.tier import TIERS_MAX, Tier
from tests.build import graduated, tiers

LADDER = "0-100 @ 1.00 + 20, 100-200 @ 0.90, then 0.75 + 50"
quantities = st.decimals(0, 10**12, places=18)


def units(text, quantity):
    return " ".join(f"{step.units.normalize():f}" for step in tier.walk(tiers(text), Decimal(quantity)))


@pytest.mark.parametrize(
    ("quantity", "expected"),
    [
        ("0", "0"),
        ("0.000000000000000001", "0.000000000000000001"),
        ("99.999999999999999999", "99.999999999999999999"),
        ("100", "100"),
        ("100.000000000000000001", "100 0.000000000000000001"),
        ("101", "100 1"),
        ("200", "100 100"),
        ("200.5", "100 100 0.5"),
        ("99999999999999999999", "100 100 99999999999999999799"),
    ],
)
def test_a_tier_reaches_up_to_and_including_its_bound(quantity, expected):
    assert units(LADDER, quantity) == expected


def test_one_open_tier_takes_everything():
    assert units("then 0.75", "1000000") == "1000000"


@given(quantities)
def test_the_steps_add_up_to_the_quantity_and_meet(quantity):
    steps = list(tier.walk(tiers(LADDER), quantity))

    assert sum(Fraction(step.units) for step in steps) == Fraction(quantity)
    assert all(low.tier.upper_bound == high.over for low, high in pairwise(steps))


def test_a_negative_quantity_has_no_tier():
    with pytest.raises(NegativeUsage, match=r"-0\.5"):
        list(tier.walk(tiers(LADDER), Decimal("-0.5")))


@pytest.mark.parametrize(
    ("ladder", "key"),
    [
        ("0-100 @ 1.00", "structure.tiers[0].upperBound"),
        ("then 1.00, then 0.75", "structure.tiers[0].upperBound"),
        ("0-100 @ 1.00, 100-100 @ 0.90, then 0.75", "structure.tiers[1].upperBound"),
        ("0-100 @ 1.00, 100-99.9 @ 0.90, then 0.75", "structure.tiers[1].upperBound"),
        ("0-0 @ 1.00, then 0.75", "structure.tiers[0].upperBound"),
    ],
)
def test_gaps_overlaps_and_closed_tops_are_refused_by_field(ladder, key):
    with pytest.raises(InvalidTiers) as refused:
        graduated(ladder)

    assert refused.value.key == key


@pytest.mark.parametrize("count", [0, TIERS_MAX + 1])
def test_the_number_of_tiers_is_bounded(count):
    ladder = tuple(Tier(Decimal(1), False, Decimal(n + 1)) for n in range(count))
    with pytest.raises(InvalidTiers, match=f"between 1 and {TIERS_MAX}"):
        tier.check_tiers(ladder, key="tiers")


@pytest.mark.parametrize(
    ("wrong", "kind", "key"),
    [
        (Tier(Decimal("NaN"), False), InexactNumber, "tiers[0].price"),
        (Tier(Decimal(-1), False), NegativePrice, "tiers[0].price"),
        (Tier(Decimal(1), False, None, Decimal(-1)), NegativePrice, "tiers[0].fee"),
        (Tier(Decimal(1), False, Decimal("Infinity")), InexactNumber, "tiers[0].upperBound"),
    ],
)
def test_numbers_of_tiers_are_checked_by_field(wrong, kind, key):
    with pytest.raises(kind) as refused:
        tier.check_tiers((wrong,), key="tiers")

    assert refused.value.key == key
