"""Look-ups as requests, every kind and every customer in turn.

current      the last 30 days until this instant, of one customer, both metrics: POST /usage/query
series       90 days of one customer, by day and by model: POST /usage/query with window and groupBy
calculate    30 days of one alias: GET /usage-metrics/{id}/calculate
"""

import itertools
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta
from urllib.parse import urlencode

import msgspec

from usance.bench import traffic
from usance.bench.installation import Metrics

DAYS_CURRENT, DAYS_SERIES = 30, 90


class Ask(msgspec.Struct, frozen=True):
    """One look-up."""

    kind: str
    method: str
    path: str
    body: bytes = b""


class Asks:
    """Look-ups in turn: every kind, and every customer."""

    KINDS = ("current", "series", "calculate")

    def __init__(self, metrics: Metrics, customers: Sequence[tuple[int, str]]) -> None:
        self._metrics = metrics
        self._turns: Iterator[tuple[tuple[int, str], str]] = itertools.cycle(
            (customer, kind) for customer in customers for kind in self.KINDS
        )

    def next(self, now: datetime) -> Ask:
        (number, customer), kind = next(self._turns)
        makers: dict[str, Callable[[datetime, int, str], Ask]] = {
            "current": self._current,
            "series": self._series,
            "calculate": self._calculate,
        }
        return makers[kind](now, number, customer)

    def _current(self, now: datetime, _: int, customer: str) -> Ask:
        start = midnight(now) - timedelta(days=DAYS_CURRENT)
        body = {
            "metrics": [self._metrics.tokens, self._metrics.calls],
            "customerId": customer,
            "from": start.isoformat(),
            "to": now.isoformat(),
        }
        return Ask("current", "POST", "/api/usage/query", msgspec.json.encode(body))

    def _series(self, now: datetime, _: int, customer: str) -> Ask:
        end = midnight(now) + timedelta(days=1)
        body = {
            "metrics": [self._metrics.tokens],
            "customerId": customer,
            "from": (end - timedelta(days=DAYS_SERIES)).isoformat(),
            "to": end.isoformat(),
            "window": "DAY",
            "groupBy": ["model"],
        }
        return Ask("series", "POST", "/api/usage/query", msgspec.json.encode(body))

    def _calculate(self, now: datetime, number: int, _: str) -> Ask:
        query = {
            "customerAliases": traffic.alias_of(number),
            "periodStart": (now - timedelta(days=DAYS_CURRENT)).date().isoformat(),
            "periodEnd": now.date().isoformat(),
        }
        return Ask("calculate", "GET", f"/api/usage-metrics/{self._metrics.tokens}/calculate?{urlencode(query)}")


def midnight(now: datetime) -> datetime:
    """The beginning of the day."""
    return now.replace(hour=0, minute=0, second=0, microsecond=0)
