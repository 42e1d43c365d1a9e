"""A revision is a SQL file; the Python file of the same name only tells alembic its number and runs it.

To add one: NNNN_noun.sql with a header that says why, and NNNN_noun.py, a copy of the last one with raised numbers.
Forward only.
"""

from pathlib import Path

from alembic import op


def run(revision_file: str) -> None:
    """Run the SQL beside the revision's file, inside the transaction of the whole upgrade."""
    statements = Path(revision_file).with_suffix(".sql").read_text(encoding="utf-8")
    bind = op.get_bind()
    # Opens the transaction, as far as SQLAlchemy knows. The file goes past it: op.execute would take `:word` for a
    # parameter, and a prepared statement holds one command only.
    bind.exec_driver_sql("select 1")
    driver = bind.connection.dbapi_connection
    driver.run_async(lambda connection: connection.execute(statements))  # type: ignore[union-attr]
