"""Are the counters what was accepted? Compared one by one: each customer, each metric, each group.

What must be counted is known by the load generators' ledgers: they added up what they sent when they built it, and how
often each request was accepted. What is counted is asked of the meter in the way that billing asks.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TypeAlias

import asyncpg
import msgspec

from store import account as accounts
from store import metric, usage
from store.db import Connection
from store.usage import Question, Segment
from usance.bench import installation
from usance.bench.installation import Installation, InstallationError, Metrics
from usance.bench.traffic import Ledger

# By alias, metric and model: the value. The metric of calls knows no models.
Counters: TypeAlias = "dict[tuple[str, str, str], int | Decimal]"

_ALIASES_PER_QUESTION = 1_000
_SAMPLES_MAX = 5


class Verdict(msgspec.Struct, frozen=True):
    """How many counters were compared, how many differ, and the first of those in words."""

    checked: int
    differences: int
    samples: tuple[str, ...]

    @property
    def exact(self) -> bool:
        return self.checked > 0 and self.differences == 0


async def examine(running: Installation, metrics: Metrics, ledger: Ledger) -> Verdict:
    """Compare an installation's counters with what it accepted."""
    conn = await asyncpg.connect(running.endpoints.database_url, server_settings={"timezone": "UTC"})
    try:
        key = await accounts.find_key(conn, installation.CLIENT_ID)
        if key is None:
            raise InstallationError(f"the installation has no key {installation.CLIENT_ID}")
        found = await counters(conn, key.principal.account, metrics, sorted(ledger))
    finally:
        await conn.close()
    return compare(expected(ledger), found)


def compare(
    wanted: Mapping[tuple[str, str, str], int | Decimal], found: Mapping[tuple[str, str, str], int | Decimal]
) -> Verdict:
    """Every counter that is wanted or found."""
    keys = sorted(wanted.keys() | found.keys())
    wrong = [key for key in keys if wanted.get(key) != found.get(key)]
    samples = (
        f"{' '.join(key).strip()}: {found.get(key)} instead of {wanted.get(key)}" for key in wrong[:_SAMPLES_MAX]
    )
    return Verdict(len(keys), len(wrong), tuple(samples))


def expected(ledger: Ledger) -> Counters:
    """What the counters must say."""
    found: Counters = {}
    for alias, models in ledger.items():
        found[alias, "calls", ""] = sum(events for events, _ in models.values())
        for model, (_, tokens) in models.items():
            found[alias, "tokens", model] = tokens
    return found


async def counters(conn: Connection, account: int, metrics: Metrics, aliases: Sequence[str]) -> Counters:
    """What they say, over all of yesterday, today and tomorrow."""
    calls = (await metric.get(conn, account, metric=metrics.calls)).terms
    tokens = (await metric.get(conn, account, metric=metrics.tokens)).terms
    today = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    start, end = today - timedelta(days=1), today + timedelta(days=2)
    found: Counters = {}
    for first in range(0, len(aliases), _ALIASES_PER_QUESTION):
        some = aliases[first : first + _ALIASES_PER_QUESTION]
        segments = [(Segment(alias, start, end),) for alias in some]
        sums = await usage.measure(conn, account, [Question(calls, one) for one in segments])
        groups = await usage.measure_groups(conn, account, [Question(tokens, one, by=("model",)) for one in segments])
        found |= {(alias, "calls", ""): one.value for alias, one in zip(some, sums, strict=True)}
        for alias, models in zip(some, groups, strict=True):
            found |= {(alias, "tokens", str(model)): one.value for (model,), one in models.items()}
    return found
