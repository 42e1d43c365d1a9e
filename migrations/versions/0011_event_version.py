"""Times of receipt in the history of ids, and how far repeats were forgotten."""

from migrations.sql import run

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    run(__file__)
