"""The simulated usage: the same for the same seed, with late events and duplicates, and a ledger that adds up."""

import json
from collections import Counter
from datetime import date, datetime
from functools import cache
from typing import Any

import pytest

from usance.demo import company
from usance.demo.traffic import Ledger, Months, Traffic, last_two_months

MONTHS = Months(first=date(2026, 1, 1), second=date(2026, 2, 1), end=date(2026, 3, 1))


@cache
def played(seed: int = 1) -> tuple[tuple[bytes, ...], Ledger]:
    traffic = Traffic(MONTHS, events=5_000, seed=seed)
    return tuple(body for batch in traffic.batches() for body in batch.bodies), traffic.ledger


@cache
def unique() -> list[dict[str, Any]]:
    return [json.loads(body) for body in dict.fromkeys(played()[0])]


def test_the_same_seed_gives_the_same_bytes() -> None:
    traffic = Traffic(MONTHS, events=5_000, seed=1)

    assert tuple(body for batch in traffic.batches() for body in batch.bodies) == played()[0]
    assert played(seed=2)[0] != played()[0]


def test_some_percent_are_sent_twice_and_exactly_so() -> None:
    bodies, ledger = played()
    twice = Counter(bodies)

    assert ledger.duplicates == len(bodies) - len(twice) > 100
    assert set(twice.values()) == {1, 2}


def test_every_event_has_an_id_of_its_own() -> None:
    assert len({event["customerEventId"] for event in unique()}) == len(unique()) == played()[1].unique


def test_some_events_of_the_first_month_arrive_in_the_second() -> None:
    months = [event["eventTimestamp"][:7] for event in unique()]

    assert played()[1].late > 10
    assert "2026-01" in months[months.index("2026-02") :]


def test_events_lie_in_the_two_months_up_to_their_very_edges() -> None:
    times = [datetime.fromisoformat(event["eventTimestamp"]) for event in unique()]

    assert min(times) == datetime.fromisoformat("2026-01-01T00:00:00+00:00")
    assert max(times) == datetime.fromisoformat("2026-02-28T23:59:59.999999+00:00")


@pytest.mark.parametrize("metric", [metric.key for metric in company.METRICS])
def test_the_ledger_says_what_the_events_say(metric: str) -> None:
    ledger = played()[1]

    for customer, who in enumerate(company.CUSTOMERS):
        for month, prefix in enumerate(("2026-01", "2026-02")):
            events = [e for e in unique() if e["customerAlias"] in who.aliases and e["eventTimestamp"][:7] == prefix]
            assert ledger.usage(customer, month, metric) == said(metric, [e["eventProperties"] for e in events])


def said(metric: str, properties: list[dict[str, Any]]) -> int:
    match metric.split("-"):
        case ["requests"]:
            return len(properties)
        case ["users"]:
            return len({one["user"] for one in properties})
        case [model, direction]:
            return sum(one[f"{direction}Tokens"] for one in properties if one["model"] == model)
    raise AssertionError(metric)


@pytest.mark.parametrize(
    ("today", "expected"),
    [
        (date(2026, 3, 1), MONTHS),
        (date(2026, 3, 31), MONTHS),
        (date(2026, 1, 15), Months(first=date(2025, 11, 1), second=date(2025, 12, 1), end=date(2026, 1, 1))),
    ],
)
def test_the_months_are_the_last_two_full_ones(today: date, expected: Months) -> None:
    assert last_two_months(today) == expected
