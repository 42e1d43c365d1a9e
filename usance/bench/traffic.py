"""The events that a benchmark sends: built before the clock runs, unique when they are sent, known to the last one.

A pool of requests is built once. In place of an event's id stands a mark; sending a request puts a stamp there that no
other request has, which costs one `bytes.join` for the whole body. So every event that is sent has an id of its own,
and what the meter must have counted follows from how often each request of the pool was sent.
The first digits of a random id are marks of their own, one for each digit, which one `bytes.translate` turns into
digits by another permutation each time: otherwise the pool would know only as many places of an index as it has events.

    ids         "ordered": UUIDv7, as clients make them. "random": UUIDv4-like, each event at a random place of an index
    skewed      ten customers have 90 % of the events, the others share the rest
    uniform     all customers have the same
    duplicates  one event of a hundred is one of the request before, as it was sent a round of the pool ago
"""

import random
from collections import defaultdict
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Literal, TypeAlias

import msgspec

CUSTOMERS = 10_000
TOP_CUSTOMERS = 10
TOP_SHARE = 0.9
DUPLICATE_EVERY = 100
EVENT_TYPE = "completion"
MODELS = ("atlas", "borealis", "cirrus", "delta")
REGIONS = ("eu-west", "us-east", "us-west")
TOKENS_MAX = 4_000
# Enough for each customer, and for more places in an index than it has pages for a while.
POOL_EVENTS = 50_000
POOL_REQUESTS_MIN = 40

_FRESH, _AGAIN = b"!", b"?"
# Marks of the digits 0 to f: of random ids, and of those that are sent again. JSON has no such bytes.
_DIGITS = b"0123456789abcdef"
_FRESH_DIGITS, _AGAIN_DIGITS = bytes(range(1, 17)), bytes([*range(17, 32), 127])
_PERMUTATIONS = 4_096
_ORDERED_STAMP_BYTES, _RANDOM_STAMP_BYTES = 24, 12

Distribution: TypeAlias = Literal["skewed", "uniform"]
Ids: TypeAlias = Literal["ordered", "random"]
# By alias and model: how many events, and their tokens.
Ledger: TypeAlias = "dict[str, dict[str, tuple[int, int]]]"


class Shape(msgspec.Struct, frozen=True, kw_only=True):
    """What is sent."""

    batch: int
    distribution: Distribution = "skewed"
    ids: Ids = "ordered"
    customers: int = CUSTOMERS
    seed: int = 1
    pool_events: int = POOL_EVENTS


class Use(msgspec.Struct, frozen=True):
    """One event without its id."""

    alias: str
    model: str
    tokens: int


class Request(msgspec.Struct, frozen=True):
    """A body with marks, and the events that count when it is sent: without the duplicates."""

    body: bytes
    uses: tuple[Use, ...]
    has_duplicates: bool


def pool(shape: Shape, *, now: datetime) -> list[Request]:
    """The requests, the same for the same shape and instant."""
    dice = random.Random(shape.seed)  # noqa: S311 plausible, not secret
    size = max(shape.pool_events // shape.batch, POOL_REQUESTS_MIN)
    chosen = _customers(shape, dice, events=size * shape.batch)
    made: list[list[tuple[Use, str]]] = []
    requests: list[Request] = []
    for number in range(size):
        first = number * shape.batch
        events = [_event(chosen[first + place], dice, now, shape.ids, place) for place in range(shape.batch)]
        made.append(events)
        requests.append(_request(made, number, shape.batch))
    return requests


class Stamper:
    """Takes requests out of the pool in turn, each with ids of its own."""

    def __init__(self, requests: Sequence[Request], ids: Ids) -> None:
        self._requests = requests
        size = _stamp_bytes(ids)
        # What stands between the marks of each body: of those that are sent again, and within that of the others.
        self._parts = [[between.split(_FRESH * size) for between in one.body.split(_AGAIN * size)] for one in requests]
        self._is_ordered = ids == "ordered"
        self._permutations = [] if self._is_ordered else _permutations()
        # The stamp with which each request was sent the last time, and the time before; and its permutation.
        self._last: list[tuple[bytes, int]] = [(b"", 0)] * len(requests)
        self._before: list[tuple[bytes, int]] = [(b"", 0)] * len(requests)
        self.sent = 0

    def take(self, heads: Sequence[bytes], milliseconds: int) -> tuple[int, bytes]:
        """The number of the next request in the pool, and its bytes behind its head."""
        number = self.sent % len(self._requests)
        request = self._requests[number]
        stamp = self._stamp(milliseconds)
        permutation = self.sent % _PERMUTATIONS
        self.sent += 1
        before = self._before[number - 1] if self._before[number - 1][0] else self._last[number - 1]
        body = before[0].join([stamp.join(parts) for parts in self._parts[number]])
        if not self._is_ordered:
            body = body.translate(self._permutations[permutation][0])
            if request.has_duplicates:
                body = body.translate(self._permutations[before[1]][1])
        self._before[number], self._last[number] = self._last[number], (stamp, permutation)
        return number, heads[number] + body

    def _stamp(self, milliseconds: int) -> bytes:
        sent = self.sent
        if self._is_ordered:
            high, low = milliseconds >> 16, milliseconds & 0xFFFF
            return b"%08x-%04x-7%03x-8%03x-" % (high, low, sent >> 12 & 0xFFF, sent & 0xFFF)
        return b"%012x" % (milliseconds * 4096 + sent & 0xFFFF_FFFF_FFFF)


def _permutations() -> list[tuple[bytes, bytes]]:
    """Tables that turn marks into digits, for both kinds of marks."""
    dice = random.Random(_PERMUTATIONS)  # noqa: S311 places in an index, not secret
    shuffled = [bytes(dice.sample(_DIGITS, k=len(_DIGITS))) for _ in range(_PERMUTATIONS)]
    return [(bytes.maketrans(_FRESH_DIGITS, one), bytes.maketrans(_AGAIN_DIGITS, one)) for one in shuffled]


def ledger(requests: Sequence[Request], times: Sequence[int]) -> Ledger:
    """What must be counted when each request was accepted so many times."""
    found: defaultdict[tuple[str, str], list[int]] = defaultdict(lambda: [0, 0])
    for request, count in zip(requests, times, strict=True):
        for use in request.uses:
            cell = found[use.alias, use.model]
            cell[0] += count
            cell[1] += count * use.tokens
    merged: Ledger = {}
    for (alias, model), (events, tokens) in found.items():
        if events:
            merged.setdefault(alias, {})[model] = (events, tokens)
    return merged


def add(to: Ledger, more: Ledger) -> None:
    """Put what another run counted into a ledger."""
    for alias, models in more.items():
        cells = to.setdefault(alias, {})
        for model, (events, tokens) in models.items():
            known = cells.get(model, (0, 0))
            cells[model] = known[0] + events, known[1] + tokens


def alias_of(customer: int) -> str:
    """The alias of a customer."""
    return f"customer-{customer:05}"


def _customers(shape: Shape, dice: random.Random, *, events: int) -> list[int]:
    if shape.distribution == "uniform":
        return dice.choices(range(shape.customers), k=events)
    top = min(TOP_CUSTOMERS, shape.customers)
    weights = [TOP_SHARE / top] * top
    weights += [(1 - TOP_SHARE) / max(shape.customers - top, 1)] * (shape.customers - top)
    return dice.choices(range(shape.customers), weights, k=events)


def _event(customer: int, dice: random.Random, now: datetime, ids: Ids, place: int) -> tuple[Use, str]:
    """An event, and its JSON with a mark in its id. All of it is plain ASCII: text is as right as an encoder."""
    use = Use(alias_of(customer), dice.choice(MODELS), dice.randint(1, TOKENS_MAX))
    happened = now - timedelta(milliseconds=dice.randrange(1_000))
    timestamp = happened.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3]
    return use, (
        f'{{"customerEventId":"{_id(dice, ids, place)}","customerAlias":"{use.alias}","eventType":"{EVENT_TYPE}",'
        f'"eventTimestamp":"{timestamp}Z","eventProperties":{{"model":"{use.model}","tokens":{use.tokens},'
        f'"region":"{dice.choice(REGIONS)}"}}}}'
    )


def _id(dice: random.Random, ids: Ids, place: int) -> str:
    if ids == "ordered":
        # The place keeps the events of one request apart.
        return _FRESH.decode() * _ORDERED_STAMP_BYTES + f"{dice.getrandbits(32):08x}{place:04x}"
    bits = f"{dice.getrandbits(80):020x}"
    first = bits[:8].translate(str.maketrans(_DIGITS.decode(), _FRESH_DIGITS.decode()))
    return f"{first}-{bits[8:12]}-4{bits[12:15]}-9{bits[15:18]}-" + _FRESH.decode() * _RANDOM_STAMP_BYTES


def _request(made: Sequence[Sequence[tuple[Use, str]]], number: int, batch: int) -> Request:
    texts: list[str] = []
    uses: list[Use] = []
    for place, (use, text) in enumerate(made[number]):
        if number and (number * batch + place) % DUPLICATE_EVERY == DUPLICATE_EVERY - 1:
            # Never a duplicate itself: those stand every hundredth place.
            source = made[number - 1][max(place - 1, 0)][1]
            marks = str.maketrans((_FRESH + _FRESH_DIGITS).decode(), (_AGAIN + _AGAIN_DIGITS).decode())
            texts.append(source.translate(marks))
        else:
            texts.append(text)
            uses.append(use)
    body = f"[{','.join(texts)}]" if batch > 1 else texts[0]
    return Request(body.encode("ascii"), tuple(uses), len(uses) < batch)


def _stamp_bytes(ids: Ids) -> int:
    return _ORDERED_STAMP_BYTES if ids == "ordered" else _RANDOM_STAMP_BYTES
