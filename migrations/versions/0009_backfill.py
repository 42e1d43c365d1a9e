"""Backfills: loads of events that become visible at once, and can be taken back at once."""

from pathlib import Path

from migrations.sql import run

revision = "0009"
down_revision = max(path.stem[:4] for path in Path(__file__).parent.glob("[0-9]*.sql") if path.stem[:4] < revision)


def upgrade() -> None:
    run(__file__)
