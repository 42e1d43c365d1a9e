"""Hot indexes begin with the column that tells rows apart."""

from migrations.sql import run

revision = "0016"
down_revision = "0015"


def upgrade() -> None:
    run(__file__)
