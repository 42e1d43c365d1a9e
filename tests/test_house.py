"""The house rules that a machine can check."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from prometheus_client import REGISTRY

from runtime import telemetry
from runtime.settings import Settings, key_of

ROOT = Path(__file__).parents[1]
PACKAGES = ("rating", "meter", "store", "invoicer", "api", "runtime", "usance", "loadtests")
SOURCES = sorted(path for package in (*PACKAGES, "migrations") for path in (ROOT / package).rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("*.py"))

MODULE_LINES_MAX = 400
FUNCTION_LINES_MAX = 60
HEADINGS = ("Owns", "Does not own", "Invariants", "Start reading at")
# A file is called after its noun; these are names of no noun.
NAMELESS = {"utils", "util", "helpers", "helper", "common", "base", "manager", "service", "models", "misc", "core"}
# Where an instant may be born: handlers, loops and the command line. Everybody else is told.
CLOCKS = {
    "meter/ingest.py",
    "meter/aggregate.py",
    "meter/backfill.py",
    "meter/eviction.py",
    "meter/repeat.py",
    "invoicer/run.py",
}
CLOCK_CALLS = {"now", "utcnow", "today"}

modules = pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
modules_and_tests = pytest.mark.parametrize("path", SOURCES + TESTS, ids=lambda path: str(path.relative_to(ROOT)))


@modules
def test_a_module_says_what_it_is(path: Path) -> None:
    assert ast.get_docstring(tree(path)), f"{path.relative_to(ROOT)} has no docstring"


@modules_and_tests
def test_a_module_has_its_limit(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= MODULE_LINES_MAX


@modules_and_tests
def test_a_function_fits_on_a_screen(path: Path) -> None:
    long = {one.name: one.end_lineno - one.lineno + 1 for one in functions(path) if one.end_lineno}

    assert [name for name, lines in long.items() if lines > FUNCTION_LINES_MAX] == []


@modules_and_tests
def test_a_file_is_called_after_its_noun(path: Path) -> None:
    assert path.stem not in NAMELESS


@modules
def test_only_settings_reads_the_environment(path: Path) -> None:
    if path.relative_to(ROOT).as_posix() == "runtime/settings.py":
        return

    assert not {"environ", "environb", "getenv", "getenvb"} & names(path)


@modules
def test_an_instant_is_born_at_the_edge_only(path: Path) -> None:
    place = path.relative_to(ROOT).as_posix()
    if place in CLOCKS or place.startswith(("usance/", "loadtests/")):
        return
    calls = [node for node in ast.walk(tree(path)) if isinstance(node, ast.Attribute) and node.attr in CLOCK_CALLS]

    assert [ast.unparse(call) for call in calls if ast.unparse(call.value).endswith(("datetime", "date"))] == []


@pytest.mark.parametrize("package", PACKAGES)
def test_a_package_says_what_is_in_the_room(package: str) -> None:
    docstring = ast.get_docstring(tree(ROOT / package / "__init__.py")) or ""

    assert [heading for heading in HEADINGS if not re.search(rf"^{heading}$", docstring, re.MULTILINE)] == []


def test_every_setting_is_documented_with_its_default() -> None:
    rows = documented("settings.md", r"^\| `(USANCE_\w+)` \| ([^|]*) \|")
    fields = msgspec.structs.fields(Settings)

    assert {key: default.strip() for key, default in rows} == {key_of(field.name): shown(field) for field in fields}


def test_every_metric_is_documented() -> None:
    rows = documented("metrics.md", r"^\| `(usance_\w+)` \| (\w+) \|")
    declared = {(family.name, family.type) for family in REGISTRY.collect() if family.name.startswith("usance_")}

    assert set(rows) == {(f"{name}_total" if kind == "counter" else name, kind) for name, kind in declared}
    assert telemetry.exposition()


def shown(field: msgspec.structs.FieldInfo) -> str:
    return "none" if field.default is None else f"`{field.default}`"


def documented(document: str, row: str) -> list[tuple[str, str]]:
    return re.findall(row, (ROOT / "docs" / document).read_text(encoding="utf-8"), re.MULTILINE)


def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def names(path: Path) -> set[str]:
    """Every name that the code uses, imports or looks up."""
    found: set[str] = set()
    for node in ast.walk(tree(path)):
        match node:
            case ast.Name(id=name) | ast.Attribute(attr=name) | ast.alias(name=name):
                found.add(name)
    return found
