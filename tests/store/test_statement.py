"""Every statement of the package is one that Postgres understands."""

import importlib
import pkgutil
from collections.abc import Iterator, Mapping

import asyncpg

import store
from store import cell
from store.db import Connection

FIRST_WORDS = {"select", "insert", "update", "delete", "merge", "with"}


def statements() -> Iterator[tuple[str, str]]:
    for module in pkgutil.iter_modules(store.__path__):
        for name, value in vars(importlib.import_module(f"store.{module.name}")).items():
            for text in value.values() if isinstance(value, Mapping) else [value]:
                if isinstance(text, str) and name.isupper() and text.split()[:1] and text.split()[0] in FIRST_WORDS:
                    yield f"{module.name}.{name}", text


async def test_every_statement_can_be_prepared(conn: Connection) -> None:
    await conn.execute(cell.STAGE)
    refused = {}
    for name, statement in statements():
        try:
            # store/recount.py puts the server's best way to ignore case there.
            await conn.prepare(statement.replace(" fold(", " lower("))
        except asyncpg.PostgresError as exc:
            refused[name] = str(exc)

    assert refused == {}


def test_statements_are_found() -> None:
    assert {"product._LIST", "due._CLAIM", "account._FIND_KEY"} <= {name for name, _ in statements()}
