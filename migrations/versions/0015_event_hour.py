"""Where old events stand in the order of receipt."""

from migrations.sql import run

revision = "0015"
down_revision = "0014"


def upgrade() -> None:
    run(__file__)
