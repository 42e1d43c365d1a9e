"""Contracts with all their terms, credit grants and tax rates."""

from migrations.sql import run

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    run(__file__)
