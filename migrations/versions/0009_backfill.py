"""Backfills: loads of events that become visible at once, and can be taken back at once."""

from migrations.sql import run

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    run(__file__)
