"""The API's client against a server that says what the test wants: patience, refusals, pages, exact numbers."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from decimal import Decimal

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from usance.client import Client, Receipt, RefusedError, Rejection, UnreachableError

OK = (202, {"accepted": 1, "rejected": []}, {})
BUSY = (503, {"error": {"type": "UNAVAILABLE", "message": "full", "errors": []}}, {"Retry-After": "0"})


class Recorder:
    """Answers in turn what it was told, the last answer for ever, and keeps what it was asked."""

    def __init__(self, answers: Sequence[tuple[int, object, dict[str, str]]]) -> None:
        self.answers = list(answers)
        self.bodies: list[bytes] = []
        self.headers: list[str] = []

    async def handle(self, request: web.Request) -> web.Response:
        self.bodies.append(await request.read())
        self.headers.append(request.headers["Authorization"])
        status, body, headers = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        return web.json_response(body, status=status, headers=headers)


@asynccontextmanager
async def asking(
    *answers: tuple[int, object, dict[str, str]], patience_seconds: float = 20
) -> AsyncIterator[tuple[Client, Recorder]]:
    recorder, app = Recorder(answers), web.Application()
    app.router.add_route("*", "/{path:.*}", recorder.handle)
    async with (
        TestServer(app) as server,
        Client(str(server.make_url("/")), client_id="me", secret="hush", patience_seconds=patience_seconds) as client,
    ):
        yield client, recorder


async def test_events_are_sent_again_while_the_server_is_busy() -> None:
    async with asking(BUSY, (429, {}, {"Retry-After": "0"}), OK) as (client, recorder):
        receipt = await client.send_events(b"[{}]")

    assert receipt == Receipt(accepted=1)
    assert recorder.bodies == [b"[{}]"] * 3
    assert client.waits == 2


async def test_patience_has_an_end() -> None:
    async with asking(BUSY, patience_seconds=0.2) as (client, _):
        with pytest.raises(UnreachableError, match="the server is busy \\(503\\) for more than 0 s"):
            await client.send_events(b"[{}]")


async def test_a_server_that_is_not_there_is_unreachable() -> None:
    async with Client("http://127.0.0.1:1", client_id="me", secret="hush", patience_seconds=0.2) as client:
        with pytest.raises(UnreachableError, match="no answer"):
            await client.send_events(b"[{}]")
        with pytest.raises(UnreachableError, match=r"No answer from http://127\.0\.0\.1:1"):
            await client.get("/invoices")


async def test_rejected_events_are_told_by_index() -> None:
    rejected = {"index": 3, "customerEventId": "a", "code": "INVALID_VALUE", "message": "no", "key": "[3].eventType"}
    async with asking((202, {"accepted": 9, "position": "0:1-0", "rejected": [rejected]}, {})) as (client, _):
        receipt = await client.send_events(b"[]")

    assert receipt.rejected == (Rejection(index=3, code="INVALID_VALUE", message="no", customer_event_id="a"),)


async def test_a_batch_of_nothing_but_bad_events_is_a_receipt_too() -> None:
    problems = [{"code": "MISSING_FIELD", "message": "no", "key": f"[{n}].eventType"} for n in (0, 1)]
    body = {"error": {"type": "INVALID_REQUEST", "message": "no", "errors": problems}}
    async with asking((400, body, {})) as (client, _):
        receipt = await client.send_events(b"[{},{}]")

    assert receipt.accepted == 0
    assert [(one.index, one.code) for one in receipt.rejected] == [(0, "MISSING_FIELD"), (1, "MISSING_FIELD")]


async def test_a_request_that_is_bad_as_a_whole_is_refused() -> None:
    problem = {"code": "MALFORMED_JSON", "message": "no", "key": None}
    body = {"error": {"type": "INVALID_REQUEST", "message": "no", "errors": [problem]}}
    async with asking((400, body, {})) as (client, _):
        with pytest.raises(RefusedError, match="POST /usage-events was refused"):
            await client.send_events(b"[")


async def test_a_refusal_carries_what_the_server_said() -> None:
    problem = {"code": "UNAUTHENTICATED", "message": "Check the key.", "key": None}
    body = {"error": {"type": "UNAUTHENTICATED", "message": "Check the key.", "errors": [problem]}}
    async with asking((401, body, {})) as (client, recorder):
        with pytest.raises(RefusedError, match=r"GET /invoices was refused \(401\): Check the key\."):
            await client.get("/invoices")

    assert recorder.headers == ["Basic bWU6aHVzaA=="]


async def test_a_refusal_by_somebody_else_is_understood() -> None:
    async with asking((502, "Bad Gateway", {})) as (client, _):
        with pytest.raises(RefusedError, match="answered with 502 and no reason"):
            await client.post("/products", {"name": "x"})


async def test_lists_are_read_to_their_last_page() -> None:
    pages = [
        (200, {"items": [1, 2], "pagination": {"after": "c", "before": None, "totalResultSize": 3}}, {}),
        (200, {"items": [3], "pagination": {"after": None, "before": "c", "totalResultSize": 3}}, {}),
    ]
    async with asking(*pages) as (client, _):
        assert await client.every("/invoices") == [1, 2, 3]


async def test_numbers_are_exact_in_both_directions() -> None:
    async with asking((200, {"value": 0.1}, {})) as (client, recorder):
        answer = await client.post("/x", {"price": Decimal("0.000000000000000001")})

    assert answer == {"value": Decimal("0.1")}
    assert Decimal(recorder.bodies[0].decode()[9:-1]) == Decimal("1e-18")
