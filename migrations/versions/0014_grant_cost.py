"""What is needed to bill what credit grants of phases cost."""

from migrations.sql import run

revision = "0014"
down_revision = "0013"


def upgrade() -> None:
    run(__file__)
