"""Scopes of keys, tokens of browsers, versions of events."""

from migrations.sql import run

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    run(__file__)
