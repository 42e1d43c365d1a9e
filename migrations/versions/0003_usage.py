"""Metrics, events and counters."""

from migrations.sql import run

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    run(__file__)
