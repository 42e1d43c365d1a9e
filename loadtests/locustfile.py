"""What clients do to a running Usance, all at once. `make load` runs it headless; README.md says how.

    SdkClient       an SDK that collects 100 events and sends them together
    SingleClient    a service that sends each event as it happens
    Portal          a customer's page: usage of the month, ninety days by day and model, one number
    Follower        an open page that is told of usage as it is counted (SSE)

A key with all scopes comes from the options --client-id and --client-secret, or from USANCE_CLIENT_ID and
USANCE_CLIENT_SECRET. Metrics and customers are made by the first run and used again by the next.

Any reply that is not what it should be is a failure, and so is a follower who hears nothing of its own event; failures
make Locust end with 1. A run in which one of the shapes was never answered ends with 1, too.
"""

import base64
import itertools
import json
import logging
import time
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import gevent
from gevent.pool import Pool
from geventhttpclient import HTTPClient
from geventhttpclient.url import URL
from locust import FastHttpUser, constant_pacing, events, task
from locust.argument_parser import LocustArgumentParser
from locust.env import Environment
from locust.exception import StopUser

log = logging.getLogger(__name__)

CUSTOMERS = 20
SETUP_CONNECTIONS = 5
BATCH_EVENTS = 100
EVENT_TYPE = "load-test"
MODELS = ("atlas", "swift", "lark")
TOKEN_HOURS = 12
# From the event that a follower sends to the message that tells of it.
HEARD_SECONDS_MAX = 5.0
STREAM_SECONDS_MAX = 20.0
SHAPES = ("event", "batch", "month", "series", "calculate", "stream: first message", "stream: news")


class World:
    """What the shapes ask about: made before the first of them begins."""

    authorization: str
    tokens: str
    calls: str
    customers: list[str]


WORLD = World()


@events.init_command_line_parser.add_listener
def add_options(parser: LocustArgumentParser) -> None:
    """The key."""
    parser.add_argument("--client-id", env_var="USANCE_CLIENT_ID", default="", help="of a key with all scopes")
    parser.add_argument(
        "--client-secret", env_var="USANCE_CLIENT_SECRET", default="", is_secret=True, help="of that key"
    )


@events.test_start.add_listener
def prepare(environment: Environment, **_: object) -> None:
    """Make the metrics and the customers, or find them."""
    options: Any = environment.parsed_options
    pair = f"{options.client_id}:{options.client_secret}".encode()
    WORLD.authorization = "Basic " + base64.b64encode(pair).decode()
    setup = Setup(environment.host or "")
    try:
        WORLD.calls = setup.metric("Load test calls", {"aggregationType": "COUNT", "metricType": "SIMPLE"})
        grouped = {"metricType": "GROUPED", "groupingProperty": "model"}
        summed = {"aggregationType": "SUM", "aggregationProperty": "tokens"}
        WORLD.tokens = setup.metric("Load test tokens", grouped | summed)
        WORLD.customers = Pool(SETUP_CONNECTIONS).map(setup.customer, range(CUSTOMERS))
    except (SetupError, OSError) as exc:
        log.critical("%s", exc)
        environment.process_exit_code = 1
        if environment.runner is not None:
            environment.runner.quit()


@events.quitting.add_listener
def judge(environment: Environment, **_: object) -> None:
    """Nothing failed is not enough: everything must have happened."""
    answered = {
        name for (name, _), entry in environment.stats.entries.items() if entry.num_requests > entry.num_failures
    }
    missing = [shape for shape in SHAPES if shape not in answered]
    if missing:
        log.error("never answered: %s", ", ".join(missing))
        environment.process_exit_code = 1


class SetupError(Exception):
    """The server cannot be prepared."""


class Setup:
    """Requests before the load; they are not measured."""

    def __init__(self, host: str) -> None:
        headers = {"Authorization": WORLD.authorization}
        self._client = HTTPClient.from_url(URL(host), headers=headers, concurrency=SETUP_CONNECTIONS)

    def metric(self, name: str, definition: dict[str, Any]) -> str:
        """Its id."""
        status, made = self._ask("POST", "/usage-metrics", {"name": name, "eventType": EVENT_TYPE} | definition)
        if status == 201:
            return str(made["id"])
        _, found = self._ask("GET", f"/usage-metrics?name={name.replace(' ', '%20')}")
        return str(_only(found["items"], made)["id"])

    def customer(self, number: int) -> str:
        """Its id."""
        body = {
            "legalName": f"Load test {number}",
            "address": {"line1": "1 Market Street", "town": "London", "postcode": "E1 6AN", "country": "GB"},
            "contacts": [],
            "taxStatus": "TAX_EXEMPT",
            "customerAliases": [alias(number)],
        }
        status, found = self._ask("GET", f"/customers/by-alias/{alias(number)}")
        if status == 404:
            status, found = self._ask("POST", "/customers", body)
        if status not in {200, 201}:
            raise SetupError(f"customer {number}: {status} {found}")
        return str(found["id"])

    def _ask(self, method: str, path: str, body: object = None) -> tuple[int, Any]:
        content = b"" if body is None else json.dumps(body).encode()
        reply = self._client.request(method, f"/api{path}", body=content, headers={"Content-Type": "application/json"})
        status, found = reply.status_code, json.loads(reply.read() or b"null")
        if status in {401, 403}:
            raise SetupError(f"the key is refused ({status}): give --client-id and --client-secret")
        return status, found


def _only(items: list[Any], refusal: object) -> Any:
    if len(items) != 1:
        raise SetupError(f"no metric could be made: {refusal}")
    return items[0]


def alias(number: int) -> str:
    """What a customer is called in events."""
    return f"load-test-{number}"


def one_event(number: int) -> dict[str, Any]:
    """An event of a customer, as it happens now."""
    return {
        "customerEventId": str(uuid.uuid4()),
        "customerAlias": alias(number),
        "eventType": EVENT_TYPE,
        "eventTimestamp": datetime.now(UTC).isoformat(),
        "eventProperties": {"model": MODELS[number % len(MODELS)], "tokens": 1 + number},
    }


class Client(FastHttpUser):
    """A connection with the key, and a customer number for each request in turn."""

    abstract = True
    _numbers: Iterator[int] = itertools.cycle(range(CUSTOMERS))

    def on_start(self) -> None:
        self.headers = {"Authorization": WORLD.authorization}

    def ask(self, method: str, path: str, *, name: str, status: int, body: object = None) -> Any:
        """The reply's body; a status other than this one is a failure."""
        with self.client.request(
            method, f"/api{path}", name=name, headers=self.headers, json=body, catch_response=True
        ) as reply:
            if reply.status_code != status:
                reply.failure(f"{reply.status_code}: {(reply.text or '')[:200]}")
                return None
            return reply.json()


class SdkClient(Client):
    """Sends a batch a few times a second."""

    weight = 3
    wait_time = constant_pacing(0.25)

    @task
    def send(self) -> None:
        batch = [one_event(next(self._numbers)) for _ in range(BATCH_EVENTS)]
        found = self.ask("POST", "/usage-events", name="batch", status=202, body=batch)
        if found is not None and (found["accepted"], found["rejected"]) != (BATCH_EVENTS, []):
            raise AssertionError(f"a batch was taken in part: {found}")


class SingleClient(Client):
    """Sends an event ten times a second."""

    weight = 5
    wait_time = constant_pacing(0.1)

    @task
    def send(self) -> None:
        self.ask("POST", "/usage-events", name="event", status=201, body=one_event(next(self._numbers)))


class Portal(Client):
    """A customer looks, with a token of its own; a program asks for one number with the key."""

    weight = 3
    wait_time = constant_pacing(1.0)

    def on_start(self) -> None:
        super().on_start()
        self.number = next(self._numbers)
        self.customer = WORLD.customers[self.number]
        self.key = self.headers
        self.headers = {"Authorization": f"Bearer {token(self)}"}

    @task
    def visit(self) -> None:
        """Everything that the page shows."""
        self._month()
        self._series()
        self._calculate()

    def _month(self) -> None:
        now = datetime.now(UTC)
        self._query("month", {"from": month_start(now).isoformat(), "to": now.isoformat()})

    def _series(self) -> None:
        end = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1)
        spans = {"from": (end - timedelta(days=90)).isoformat(), "to": end.isoformat(), "window": "DAY"}
        self._query("series", {"metrics": [WORLD.tokens], "groupBy": ["model"]} | spans)

    def _calculate(self) -> None:
        today = datetime.now(UTC).date()
        span = f"periodStart={today.replace(day=1)}&periodEnd={today}"
        path = f"/usage-metrics/{WORLD.tokens}/calculate?customerAliases={alias(self.number)}&{span}"
        mine, self.headers = self.headers, self.key
        self.ask("GET", path, name="calculate", status=200)
        self.headers = mine

    def _query(self, name: str, asked: dict[str, Any]) -> None:
        body = {"metrics": [WORLD.calls, WORLD.tokens], "customerId": self.customer} | asked
        self.ask("POST", "/usage/query", name=name, status=200, body=body)


class Follower(Client):
    """Follows a customer's usage, sends an event and waits until it is told; then does so again."""

    weight = 1
    wait_time = constant_pacing(1.0)

    def on_start(self) -> None:
        super().on_start()
        self.number = next(self._numbers)
        self.customer = WORLD.customers[self.number]
        self.token = token(self)

    @task
    def follow(self) -> None:
        path = f"/api/usage/stream?customerId={self.customer}&metrics={WORLD.calls}&token={self.token}"
        client = HTTPClient.from_url(URL(self.host or ""), connection_timeout=5, network_timeout=STREAM_SECONDS_MAX)
        try:
            started = time.perf_counter()
            reply = client.get(path)
            first = self._heard("stream: first message", started, reply)
            if first is None:
                return
            started = time.perf_counter()
            self.ask("POST", "/usage-events", name="event", status=201, body=one_event(self.number))
            self._heard("stream: news", started, reply, more_than=first)
        finally:
            client.close()

    def _heard(self, name: str, started: float, reply: Any, *, more_than: int = -1) -> int | None:
        """The next message's number of calls; reported to Locust as a request of its own."""
        problem: Exception | None = None
        calls = None
        try:
            with gevent.Timeout(HEARD_SECONDS_MAX, TimeoutError(f"nothing was heard for {HEARD_SECONDS_MAX} s")):
                calls = next(found for found in messages(reply) if found > more_than)
        except (TimeoutError, OSError, StopIteration, ValueError) as exc:
            problem = exc
        self.environment.events.request.fire(
            request_type="SSE",
            name=name,
            response_time=(time.perf_counter() - started) * 1000,
            response_length=0,
            exception=problem,
            context={},
        )
        return calls


def messages(reply: Any) -> Iterator[int]:
    """How many calls each message tells of."""
    if reply.status_code != 200:
        raise ValueError(f"{reply.status_code}: {reply.read()[:200]!r}")
    while line := reply.readline(b"\n"):
        if line.startswith(b"data: "):
            yield int(json.loads(line.removeprefix(b"data: "))["items"][0]["value"])


def token(client: Any) -> str:
    """A usage token of the client's customer; without one there is nothing for it to do."""
    expires_at = (datetime.now(UTC) + timedelta(hours=TOKEN_HOURS)).isoformat()
    body = {"customerId": client.customer, "expiresAt": expires_at}
    made = client.ask("POST", "/usage-tokens", name="token", status=201, body=body)
    if made is None:
        raise StopUser
    return str(made["token"])


def month_start(now: datetime) -> datetime:
    """The first instant of the month, in UTC."""
    return now.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
