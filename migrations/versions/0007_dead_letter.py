"""Dead letters."""

from migrations.sql import run

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    run(__file__)
