"""The package exports every noun of its modules, and nothing that does not exist."""

import inspect
import pkgutil
from importlib import import_module

import pytest

import rating

MODULES = [import_module(f"rating.{item.name}") for item in pkgutil.iter_modules(rating.__path__)]


def nouns(module):
    return {
        name
        for name, item in vars(module).items()
        if inspect.isclass(item) and item.__module__ == module.__name__ and not name.startswith("_")
    }


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__)
def test_every_noun_is_exported(module):
    assert nouns(module) <= set(rating.__all__)


def test_every_export_exists_and_stands_in_order():
    assert rating.__all__ == sorted(set(rating.__all__))
    assert all(hasattr(rating, name) for name in rating.__all__)


def test_modules_are_not_hidden_by_their_own_verbs():
    assert all(getattr(rating, module.__name__.removeprefix("rating.")) is module for module in MODULES)


@pytest.mark.parametrize("heading", ["Owns", "Does not own", "Words for time", "Invariants", "Start reading at"])
def test_the_readme_of_the_room_has_its_headings(heading):
    assert f"\n{heading}\n" in (rating.__doc__ or "")
