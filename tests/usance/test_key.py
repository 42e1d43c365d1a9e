"""Keys that are made on the command line."""

import subprocess
import sys
from pathlib import Path

import pytest

from runtime.settings import Settings
from store import account as accounts
from store.account import ALL_SCOPES, Scope
from store.db import Connection

ROOT = Path(__file__).parents[2]


def create(database_url: str, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "usance.cli", "keys", "create", "--database-url", database_url, *options]
    environment = Settings().environment() | {"PATH": "/usr/bin:/bin"}
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=environment, check=False, timeout=60)


@pytest.mark.parametrize(
    ("options", "scopes"),
    [
        ([], ALL_SCOPES),
        (["--scope", "usage:write", "--scope", "read"], frozenset({Scope.USAGE_WRITE, Scope.READ})),
    ],
)
async def test_a_key_is_made_and_shown_once(
    database_url: str, conn: Connection, options: list[str], scopes: frozenset[Scope]
) -> None:
    done = create(database_url, *options)

    shown = dict(line.strip().split("=", 1) for line in done.stdout.splitlines() if "=" in line)
    key = await accounts.find_key(conn, shown["USANCE_CLIENT_ID"])
    assert done.returncode == 0, done.stderr
    assert key is not None
    assert key.secret_sha256 == accounts.hash_secret(shown["USANCE_CLIENT_SECRET"])
    assert key.principal.scopes == scopes


def test_a_scope_that_does_not_exist_is_refused(database_url: str) -> None:
    done = create(database_url, "--scope", "admin")

    assert done.returncode == 2
    assert "--scope: admin is not allowed; give usage:write, read, write" in done.stderr
