"""Two months of simulated usage: the same for the same seed, in the order in which it arrives.

    late         happened in the first month, arrives in the second
    duplicate    the same bytes again, some thousands of events later, as a client does that lost a reply
    on the edge  the first and the last microsecond of each month, for every customer

While it makes events, traffic adds up what they are worth in plain Python (`Ledger`): what the invoices must say, known
without asking the server.
"""

import random
from collections import defaultdict, deque
from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, timedelta

import msgspec

from usance.demo import company

MICROSECOND = 1
SECOND = 1_000_000 * MICROSECOND
HOUR = 3600 * SECOND
DAY = 24 * HOUR
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

LATE_SHARE = 0.015
DUPLICATE_SHARE = 0.03
# With their duplicates no request has more than 1,000.
BATCH_EVENTS_MIN, BATCH_EVENTS_MAX = 400, 900
# How many batches later a duplicate is sent again, at least.
DUPLICATE_DELAY_BATCHES = 3

# Requests by hour of the day (UTC), and by day of the week from Monday.
_HOURS = (2, 2, 1, 1, 1, 2, 4, 7, 11, 14, 15, 14, 13, 15, 16, 15, 13, 11, 9, 7, 6, 5, 4, 3)
_WEEKDAYS = (10, 11, 11, 11, 10, 4, 3)


class Months(msgspec.Struct, frozen=True):
    """The first day of two months in a row, and of the one after them."""

    first: date
    second: date
    end: date

    @property
    def starts(self) -> tuple[date, date]:
        return self.first, self.second

    @property
    def last(self) -> date:
        return self.end - timedelta(days=1)


class Batch(msgspec.Struct, frozen=True):
    """One request's worth of encoded events."""

    bodies: tuple[bytes, ...]


class Ledger:
    """What was made: events, duplicates, and per (customer, month, metric) the usage, in ints."""

    def __init__(self) -> None:
        self.unique = 0
        self.duplicates = 0
        self.late = 0
        self.sums: defaultdict[tuple[int, int, str], int] = defaultdict(int)
        self._users: defaultdict[tuple[int, int], set[str]] = defaultdict(set)

    def add(self, customer: int, month: int, *, model: str, tokens: tuple[int, int], user: str) -> None:
        self.unique += 1
        self.sums[customer, month, f"{model}-input"] += tokens[0]
        self.sums[customer, month, f"{model}-output"] += tokens[1]
        self.sums[customer, month, "requests"] += 1
        self._users[customer, month].add(user)

    def usage(self, customer: int, month: int, metric: str) -> int:
        """What the customer used in the month (0 or 1) as the metric counts it."""
        if metric == "users":
            return len(self._users[customer, month])
        return self.sums[customer, month, metric]


class Traffic:
    """An iterator of batches; `ledger` holds their sums."""

    def __init__(self, months: Months, *, events: int, seed: int) -> None:
        self.ledger = Ledger()
        self.months = months
        self._random = random.Random(seed)  # noqa: S311 (plausible, not secret)
        self._bounds = tuple(_micros(day) for day in (months.first, months.second, months.end))
        self._plan = sorted([*self._edges(), *self._plausible(events)])

    def __len__(self) -> int:
        """How many events there are, without duplicates."""
        return len(self._plan)

    def batches(self) -> Iterator[Batch]:
        """Everything that is sent, duplicates included."""
        delayed: deque[list[bytes]] = deque([[] for _ in range(DUPLICATE_DELAY_BATCHES)])
        bodies: list[bytes] = []
        size = self._batch_size()
        for body in self._events():
            bodies.append(body)
            if len(bodies) >= size:
                again = delayed.popleft()
                delayed.append(self._random.sample(bodies, k=round(len(bodies) * DUPLICATE_SHARE)))
                yield self._batch(bodies, again)
                bodies, size = [], self._batch_size()
        yield self._batch(bodies, [body for left in delayed for body in left])

    def _batch(self, bodies: Sequence[bytes], again: Sequence[bytes]) -> Batch:
        self.ledger.duplicates += len(again)
        return Batch(tuple(bodies) + tuple(again))

    def _batch_size(self) -> int:
        return self._random.randint(BATCH_EVENTS_MIN, BATCH_EVENTS_MAX)

    def _edges(self) -> Iterator[tuple[int, int, int]]:
        start, border, end = self._bounds
        for customer in range(len(company.CUSTOMERS)):
            for happened in (start, border - MICROSECOND, border, end - MICROSECOND):
                yield happened, happened, customer

    def _plausible(self, events: int) -> Iterator[tuple[int, int, int]]:
        """(arrives, happened, customer), times in microseconds since 1970."""
        start, border, end = self._bounds
        days = [self.months.first + timedelta(days=n) for n in range((end - start) // DAY)]
        # The company grows: the last day has half as much again as the first.
        weights = [_WEEKDAYS[day.weekday()] * (1 + n / (2 * len(days))) for n, day in enumerate(days)]
        chosen = self._random.choices(range(len(days)), weights, k=events)
        hours = self._random.choices(range(24), _HOURS, k=events)
        customers = range(len(company.CUSTOMERS))
        payers = self._random.choices(customers, [c.weight for c in company.CUSTOMERS], k=events)
        for day, hour, customer in zip(chosen, hours, payers, strict=True):
            happened = start + day * DAY + hour * HOUR + self._random.randrange(HOUR)
            is_late = happened < border and self._random.random() < LATE_SHARE
            yield (self._random.randrange(border, end) if is_late else happened), happened, customer

    def _events(self) -> Iterator[bytes]:
        border = self._bounds[1]
        for arrives, happened, customer in self._plan:
            self.ledger.late += happened < border <= arrives
            yield self._event(customer, happened)

    def _event(self, customer: int, happened: int) -> bytes:
        who, rng = company.CUSTOMERS[customer], self._random
        model = company.MODELS[rng.random() >= who.atlas_share]
        tokens = (int(rng.lognormvariate(6.6, 0.9)) + 8, int(rng.lognormvariate(5.2, 0.8)) + 1)
        user = f"user-{int(who.people * rng.random() ** 1.5) + 1:02d}"
        alias = who.aliases[0] if rng.random() < 0.8 else who.aliases[-1]
        self.ledger.add(customer, int(happened >= self._bounds[1]), model=model, tokens=tokens, user=user)
        # All of it is plain ASCII without quotes, so that text is faster than an encoder and just as right.
        return (
            f'{{"customerEventId":"{_event_id(happened, self.ledger.unique)}","customerAlias":"{alias}",'
            f'"eventType":"{company.EVENT_TYPE}","eventTimestamp":"{_iso(happened)}","eventProperties":{{'
            f'"model":"{model}","inputTokens":{tokens[0]},"outputTokens":{tokens[1]},"user":"{user}"}}}}'
        ).encode("ascii")


def last_two_months(today: date) -> Months:
    """The two full calendar months before the one of `today`."""
    end = today.replace(day=1)
    second = (end - timedelta(days=1)).replace(day=1)
    return Months(first=(second - timedelta(days=1)).replace(day=1), second=second, end=end)


def _micros(day: date) -> int:
    return (datetime(day.year, day.month, day.day, tzinfo=UTC) - _EPOCH) // timedelta(microseconds=1)


def _iso(micros: int) -> str:
    return (_EPOCH + timedelta(microseconds=micros)).isoformat(timespec="microseconds")


def _event_id(micros: int, number: int) -> str:
    """A UUIDv7 as a gateway would give to a request: its time, then a number that is never the same."""
    stamp = f"{micros // 1000:012x}"
    return f"{stamp[:8]}-{stamp[8:]}-7000-8000-{number:012x}"
