"""Seats: their types, the totals that are reported, and what balances need."""

from migrations.sql import run

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    run(__file__)
