"""What the benchmark sends is what its ledger says: otherwise exactness would be checked against a wish."""

from collections import Counter, defaultdict
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

import msgspec
import pytest

from meter import event, identity, timestamp
from usance.bench import traffic
from usance.bench.traffic import Ids, Shape, Stamper

NOW = datetime(2025, 3, 10, 12, tzinfo=UTC)
MILLISECONDS = 1_741_608_000_000
ROUNDS = 3

ids = pytest.mark.parametrize("ids", ["ordered", "random"])


def sent(shape: Shape, *, rounds: int = ROUNDS) -> tuple[list[dict[str, Any]], traffic.Ledger]:
    """All events of some rounds of the pool, and the ledger of them."""
    pool = traffic.pool(shape, now=NOW)
    stamper = Stamper(pool, shape.ids)
    times, found = [0] * len(pool), []
    for count in range(rounds * len(pool)):
        number, data = stamper.take([b""] * len(pool), MILLISECONDS + count // 7)
        times[number] += 1
        body = msgspec.json.decode(data)
        found += body if isinstance(body, list) else [body]
    return found, traffic.ledger(pool, times)


@ids
@pytest.mark.parametrize("batch", [1, 10, 1_000])
def test_the_ledger_counts_each_id_once(ids: Ids, batch: int) -> None:
    events, ledger = sent(Shape(batch=batch, ids=ids, pool_events=2_000))
    naive: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for one in {one["customerEventId"]: one for one in events}.values():
        naive[one["customerAlias"]][one["eventProperties"]["model"]] += one["eventProperties"]["tokens"]

    assert {alias: {model: tokens for model, (_, tokens) in of.items()} for alias, of in ledger.items()} == naive


@ids
@pytest.mark.parametrize("batch", [1, 10, 100])
def test_one_event_of_a_hundred_is_a_duplicate_with_the_same_content(ids: Ids, batch: int) -> None:
    events, ledger = sent(Shape(batch=batch, ids=ids, pool_events=2_000))
    contents = defaultdict(set)
    for one in events:
        contents[one["customerEventId"]].add(msgspec.json.encode(one))

    # The first request of the pool has none.
    assert 0.97 < (len(events) - len(contents)) / len(events) * 100 < 1.02
    assert {len(some) for some in contents.values()} == {1}
    assert sum(count for of in ledger.values() for count, _ in of.values()) == len(contents)


@ids
def test_the_meter_takes_the_ids_as_keys_and_the_events_as_they_are(ids: Ids) -> None:
    events, _ = sent(Shape(batch=10, ids=ids, pool_events=2_000), rounds=1)

    for one in events[:200]:
        read = event.decode(msgspec.json.encode(one), received_at=timestamp.microseconds(NOW), new_id=pytest.fail)
        assert identity.is_id(read.key)


@pytest.mark.parametrize(("distribution", "share"), [("skewed", 0.9), ("uniform", 0.001)])
def test_ten_customers_have_nine_tenths_of_the_events_or_their_share(distribution: Any, share: float) -> None:
    pool = traffic.pool(Shape(batch=100, distribution=distribution), now=NOW)
    events = Counter(use.alias for one in pool for use in one.uses)

    top = sum(count for _, count in events.most_common(10)) / events.total()
    assert share * 0.9 < top < share * 1.1 + 0.005


def test_ordered_ids_rise_with_time() -> None:
    events, _ = sent(Shape(batch=1, ids="ordered", pool_events=2_000), rounds=1)

    firsts = [one["customerEventId"][:23] for one in events]
    assert sum(a > b for a, b in pairwise(firsts)) <= len(firsts) * 0.02


def test_random_ids_fall_anywhere() -> None:
    events, _ = sent(Shape(batch=100, ids="random", pool_events=2_000), rounds=20)
    places = {one["customerEventId"][:8] for one in events}
    firsts = Counter(place[0] for place in places)

    assert len(places) > 0.95 * len(events)
    assert max(firsts.values()) < 2 * min(firsts.values())


def test_ledgers_add_up() -> None:
    total: traffic.Ledger = {"a": {"x": (1, 10)}}

    traffic.add(total, {"a": {"x": (2, 5), "y": (1, 1)}, "b": {"x": (1, 1)}})

    assert total == {"a": {"x": (3, 15), "y": (1, 1)}, "b": {"x": (1, 1)}}
