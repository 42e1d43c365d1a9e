"""One installation for each module of faults; in the long form, which fills its database, for each test."""

from collections.abc import AsyncIterator
from typing import Literal

import pytest

from tests.fleet import Fleet, Shape
from tests.load import Load


@pytest.fixture(scope="session")
def is_long(request: pytest.FixtureRequest) -> bool:
    """Whether this is `make chaos`."""
    return bool(request.config.getoption("--chaos"))


@pytest.fixture(scope="session")
def rounds(is_long: bool) -> int:
    return 30 if is_long else 1


@pytest.fixture(scope="module")
def shape() -> Shape:
    """A module that wants another one has a fixture of this name."""
    return Shape()


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
def load(fleet: Fleet) -> Load:
    return fleet.load(seed=5)
