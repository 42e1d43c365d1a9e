"""A client of our own HTTP API, for the demo and the importer.

Numbers stay exact in both directions: Decimal, never float. `send_events` is patient: a server that is full or away
(503, 429, no connection) is asked again with the same body until `patience_seconds` have passed, and the ids of the
events make that harmless. Everything else is asked once.

    ClientError
    ├── RefusedError       the server answered and said no
    └── UnreachableError   no answer, or busy for longer than our patience
"""

import asyncio
import base64
import re
import time
from collections.abc import Mapping
from decimal import Decimal
from types import TracebackType
from typing import Any, ClassVar, Self

import aiohttp
import msgspec

BUSY_STATUSES = frozenset({429, 503})
RETRY_SECONDS_DEFAULT = 1.0
RETRY_SECONDS_MAX = 30.0
REQUEST_SECONDS_MAX = 60.0

# An error of a batch says which event it is about: `[17].eventType`.
_INDEX = re.compile(r"\[(\d+)\]")
_DECODER = msgspec.json.Decoder(float_hook=Decimal)
ENCODER = msgspec.json.Encoder(decimal_format="number")


class ClientError(Exception):
    """The API did not do what was asked."""

    code: ClassVar[str] = "CLIENT"


class RefusedError(ClientError):
    """The API refused the request."""

    code = "REFUSED"

    def __init__(self, message: str, *, status: int, errors: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.status = status
        self.errors = errors


class UnreachableError(ClientError):
    """The API did not answer, or was busy for longer than we were ready to wait."""

    code = "UNREACHABLE"


class Rejection(msgspec.Struct, frozen=True, rename="camel"):
    """One event of a batch that the server did not take, by its place in the batch."""

    index: int
    code: str
    message: str
    customer_event_id: str | None = None


class Receipt(msgspec.Struct, frozen=True):
    """What became of a batch of events, and where they stand: a lookup can wait until that is counted."""

    accepted: int
    rejected: tuple[Rejection, ...] = ()
    position: str | None = None


class Client:
    """One API key's view of one server; an async context manager."""

    def __init__(
        self, url: str, *, client_id: str, secret: str, connections: int = 8, patience_seconds: float = 120
    ) -> None:
        self.url = url.rstrip("/")
        self.patience_seconds = patience_seconds
        self.waits = 0
        self.waited_seconds = 0.0
        token = base64.b64encode(f"{client_id}:{secret}".encode()).decode("ascii")
        self._headers = {"Authorization": f"Basic {token}", "Content-Type": "application/json"}
        self._connections = connections

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            headers=self._headers,
            connector=aiohttp.TCPConnector(limit=self._connections),
            timeout=aiohttp.ClientTimeout(total=REQUEST_SECONDS_MAX),
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._session.close()

    async def get(self, path: str, query: Mapping[str, str] | None = None) -> Any:
        return await self._ask("GET", path, query=query)

    async def post(self, path: str, body: object) -> Any:
        return await self._ask("POST", path, body=ENCODER.encode(body))

    async def put(self, path: str, body: object = None) -> Any:
        return await self._ask("PUT", path, body=b"" if body is None else ENCODER.encode(body))

    async def every(self, path: str, query: Mapping[str, str] | None = None) -> list[Any]:
        """All items of a list, page by page."""
        items: list[Any] = []
        after: str | None = None
        while True:
            page = await self.get(path, {**(query or {}), **({"after": after} if after else {})})
            items.extend(page["items"])
            after = (page.get("pagination") or {}).get("after")
            if not after or not page["items"]:
                return items

    async def send_events(self, body: bytes) -> Receipt:
        """Sends an encoded array of events, however long the server is busy within our patience."""
        deadline = time.monotonic() + self.patience_seconds
        attempt = 0
        while True:
            try:
                status, headers, payload = await self._request("POST", "/usage-events", body=body)
            except (aiohttp.ClientError, TimeoutError) as exc:
                # The fate of the batch is unknown; the same ids again change nothing.
                wait, reason = min(5.0, 0.1 * 2**attempt), f"no answer ({type(exc).__name__})"
            else:
                if status not in BUSY_STATUSES:
                    return _receipt(status, payload)
                wait, reason = _retry_after(headers), f"the server is busy ({status})"
            if time.monotonic() + wait > deadline:
                raise UnreachableError(f"{self.url}: {reason} for more than {self.patience_seconds:.0f} s.")
            attempt = min(attempt + 1, 10)
            await self._wait(wait)

    async def _wait(self, seconds: float) -> None:
        self.waits += 1
        self.waited_seconds += seconds
        await asyncio.sleep(seconds)

    async def _ask(
        self, method: str, path: str, *, body: bytes | None = None, query: Mapping[str, str] | None = None
    ) -> Any:
        try:
            status, _, payload = await self._request(method, path, body=body, query=query)
        except (aiohttp.ClientError, TimeoutError) as exc:
            raise UnreachableError(f"No answer from {self.url}: {exc or type(exc).__name__}.") from exc
        if status >= 400:
            raise _refusal(status, payload, asked=f"{method} {path}")
        return _DECODER.decode(payload) if payload else None

    async def _request(
        self, method: str, path: str, *, body: bytes | None = None, query: Mapping[str, str] | None = None
    ) -> tuple[int, Mapping[str, str], bytes]:
        async with self._session.request(method, f"{self.url}/api{path}", data=body, params=query) as response:
            return response.status, response.headers, await response.read()


def _receipt(status: int, payload: bytes) -> Receipt:
    answer = _decoded(payload)
    if isinstance(answer, dict) and isinstance(answer.get("rejected"), list):
        rejected = tuple(msgspec.convert(item, Rejection, strict=False) for item in answer["rejected"])
        return Receipt(int(answer.get("accepted", 0)), rejected, answer.get("position"))
    if status == 400 and (rejected := _all_rejected(answer)):
        return Receipt(accepted=0, rejected=rejected)
    raise _refusal(status, payload, asked="POST /usage-events")


def _all_rejected(answer: Any) -> tuple[Rejection, ...]:
    """The reasons of a batch in which every event was bad; empty when it is the request that was."""
    errors = (
        answer["error"].get("errors") if isinstance(answer, dict) and isinstance(answer.get("error"), dict) else None
    )
    found = [(_INDEX.match(str(item.get("key"))), item) for item in errors or ()]
    if not all(match for match, _ in found):
        return ()
    return tuple(
        Rejection(index=int(match[1]), code=item["code"], message=item["message"]) for match, item in found if match
    )


def _refusal(status: int, payload: bytes, *, asked: str) -> RefusedError:
    answer = _decoded(payload)
    error = answer.get("error") if isinstance(answer, dict) else None
    if not isinstance(error, dict):
        return RefusedError(f"{asked} was answered with {status} and no reason.", status=status)
    details = tuple(
        f"{item.get('code')}: {item.get('message')}" for item in error.get("errors") or () if isinstance(item, dict)
    )
    return RefusedError(f"{asked} was refused ({status}): {error.get('message')}", status=status, errors=details)


def _decoded(payload: bytes) -> Any:
    try:
        return _DECODER.decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError):  # a proxy's error page, say
        return None


def _retry_after(headers: Mapping[str, str]) -> float:
    text = headers.get("Retry-After", "")
    seconds = float(text) if text.isdigit() else RETRY_SECONDS_DEFAULT
    return min(max(seconds, 0.05), RETRY_SECONDS_MAX)
