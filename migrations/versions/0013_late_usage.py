"""What is needed to bill late usage as differences, to finalize and void, and to edit a schedule that runs."""

from migrations.sql import run

revision = "0013"
down_revision = "0012"


def upgrade() -> None:
    run(__file__)
