"""More ways of counting, groups, and history that is folded in the background."""

from migrations.sql import run

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    run(__file__)
