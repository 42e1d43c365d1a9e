"""One installation for each module of faults; in the long form, which fills its database, for each test."""

from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, Literal

import pytest

from tests.fleet import FIGURES, STREAMS, Fleet, Shape
from tests.load import Load

# Each takes longer than all others that its worker can get: what begins last ends last.
LONG_TESTS = {
    "test_memory_stays_flat",
    "test_lines_to_postgres_that_die_unseen_are_replaced",
    "test_any_interleaving_ends_as_a_fresh_fold",
}


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--chaos"):
        items.sort(key=lambda item: item.name not in LONG_TESTS)


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Workers have no terminal: what tests have to say is said here."""
    stats = terminalreporter.stats
    for report in (*stats.get("", ()), *stats.get("error", ())):
        said = [value for name, value in report.user_properties if name == FIGURES]
        if report.when == "teardown" and said:
            terminalreporter.write_line(f"{report.nodeid}: {', '.join(said)}")


@pytest.fixture(scope="session")
def is_long(request: pytest.FixtureRequest) -> bool:
    """Whether this is `make chaos`."""
    return bool(request.config.getoption("--chaos"))


@pytest.fixture(scope="session")
def rounds(is_long: bool) -> int:
    return 30 if is_long else 1


@pytest.fixture(scope="module", params=[1, STREAMS], ids=["one_stream", "streams"])
def streams(request: pytest.FixtureRequest) -> int:
    """How many there are. Where there is one, batches are begun ahead (meter/ahead.py)."""
    number: int = request.param
    return number


@pytest.fixture(scope="module")
def shape(streams: int) -> Shape:
    """A module that wants another one has a fixture of this name."""
    return Shape(streams=streams)


def _life(fixture_name: str, config: pytest.Config) -> Literal["module", "function"]:  # noqa: ARG001 names are pytest's
    return "function" if config.getoption("--chaos") else "module"


@pytest.fixture(scope=_life)
async def fleet(tmp_path_factory: pytest.TempPathFactory, shape: Shape) -> AsyncIterator[Fleet]:
    one = Fleet(tmp_path_factory.mktemp("fleet"), shape)
    try:
        await one.start()
        yield one
    finally:
        await one.stop()


@pytest.fixture
def load(fleet: Fleet, record_property: Callable[[str, object], None]) -> Iterator[Load]:
    others = len(fleet.loads)
    yield fleet.load(seed=5)
    mine = fleet.loads[others:]
    accepted, unknown = (sum(len(getattr(one, kind)) for one in mine) for kind in ("accepted", "unknown"))
    record_property(FIGURES, f"{accepted:,} events accepted, {unknown:,} of unknown fate")
