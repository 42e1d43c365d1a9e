"""COPY in Postgres' own binary form, which we build: no other way in costs less than half of the time.

HEAD, rows, END     a row is its number of columns, then each column as its length and its value, big-endian
text(value)         a text as a column; NULL is a column without a value
"""

from struct import Struct

HEAD = b"PGCOPY\n\xff\r\n\0" + bytes(8)
END = b"\xff\xff"

_length = Struct(">i").pack
NULL = _length(-1)


def text(value: str) -> bytes:
    """A text as a column."""
    encoded = value.encode()
    return _length(len(encoded)) + encoded
