"""Raw events that are not kept for ever, and dead letters that are discarded."""

from migrations.sql import run

revision = "0012"
down_revision = "0011"


def upgrade() -> None:
    run(__file__)
