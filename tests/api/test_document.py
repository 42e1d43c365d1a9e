"""The documents list every route and every code, and nothing else."""

import re
from collections.abc import Iterator
from pathlib import Path

from redis.asyncio import Redis

from api import status
from runtime.settings import Settings
from store.db import Pool
from usance.app import make_app

DOCS = Path(__file__).parents[2] / "docs"

ROUTE = re.compile(r"^\| (GET|POST|PUT|DELETE) \| `(/[^`]*)` \| .+ \|$", re.MULTILINE)
CODE = re.compile(r"^\| `([A-Z_]+)` \| (\d{3}) \| .+ \| .+ \|$", re.MULTILINE)

ROOMS = {"api", "invoicer", "meter", "rating", "store"}
# Codes that say why a bill or a process stopped; no request is answered with them.
NEVER_ANSWERED = {
    *(
        "STORE",
        "METER",
        "INVOICER",
        "RATING",
        "UNBILLABLE",
        "UNREADABLE_ENTRY",
        "DEAD_LETTERS_FULL",
        "SCHEMA_MISMATCH",
    ),
    *("NOTHING_DUE", "MISSING_USAGE", "NEGATIVE_USAGE", "AMOUNT_TOO_LARGE", "INVALID_PERIOD"),
    *("INCONSISTENT_USAGE", "MISSING_SEATS"),
}


async def test_every_route_is_documented(pool: Pool, redis: Redis) -> None:
    app = make_app(settings=Settings(), pool=pool, redis=redis)
    served = {
        (route.method, route.resource.canonical)
        for route in app.router.routes()
        if route.method != "HEAD" and route.resource is not None
    }
    documented = {
        (method, path[1:] if path.startswith("//") else f"/api{path}")
        for method, path in ROUTE.findall((DOCS / "routes.md").read_text())
    }

    assert served == documented


def test_every_code_is_documented_with_its_status() -> None:
    documented = {code: int(number) for code, number in CODE.findall((DOCS / "errors.md").read_text())}

    assert documented == status.STATUS


def test_every_status_has_a_family() -> None:
    assert set(status.STATUS.values()) == set(status.FAMILIES)


def test_every_code_of_an_exception_has_a_status_or_answers_no_request() -> None:
    codes = {code for kind in below(Exception) if (code := vars(kind).get("code"))}

    assert {code for code in codes if isinstance(code, str)} - set(status.STATUS) - NEVER_ANSWERED == set()


def below(kind: type[Exception]) -> Iterator[type[Exception]]:
    """All exceptions of our rooms that are loaded, and usance.app loads every room."""
    for one in kind.__subclasses__():
        if one.__module__.partition(".")[0] in ROOMS:
            yield one
        yield from below(one)
