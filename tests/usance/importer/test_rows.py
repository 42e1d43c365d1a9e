"""Files become rows: ids that follow from the file, places to go on from, and rows that are broken."""

from pathlib import Path

import pytest

from usance.importer import rows
from usance.importer.rows import Row, RowFile, SourceError

CSV = b"a,b\n1,x\n2,y\n2,y\n"


def written(folder: Path, content: bytes, name: str = "file.csv") -> Path:
    path = folder / name
    path.write_bytes(content)
    return path


def read(path: Path) -> list[Row]:
    with RowFile(path, is_ndjson=path.suffix == ".ndjson") as source:
        return list(source)


def ids(path: Path) -> list[str]:
    return [row.id for row in read(path)]


def codes(path: Path) -> list[str | None]:
    return [row.problem.code if row.problem else None for row in read(path)]


def test_rows_are_numbered_from_below_the_header(tmp_path: Path) -> None:
    found = read(written(tmp_path, CSV))

    assert [(row.number, dict(row.values)) for row in found] == [
        (1, {"a": "1", "b": "x"}),
        (2, {"a": "2", "b": "y"}),
        (3, {"a": "2", "b": "y"}),
    ]


def test_equal_rows_have_ids_of_their_own(tmp_path: Path) -> None:
    assert len(set(ids(written(tmp_path, CSV)))) == 3


def test_ids_follow_from_the_content_not_from_the_name(tmp_path: Path) -> None:
    assert ids(written(tmp_path, CSV)) == ids(written(tmp_path, CSV, "other.csv"))


def test_rows_that_are_appended_leave_earlier_ids_alone(tmp_path: Path) -> None:
    before = ids(written(tmp_path, CSV.rstrip(b"\n")))
    after = ids(written(tmp_path, CSV + b"3,z\n"))

    assert after[:3] == before


def test_another_file_has_other_ids(tmp_path: Path) -> None:
    assert not set(ids(written(tmp_path, CSV))) & set(ids(written(tmp_path, b"a,c\n1,x\n2,y\n")))


def test_reading_goes_on_behind_any_row(tmp_path: Path) -> None:
    path = written(tmp_path, b'\xef\xbb\xbfa,b\r\n1,"x\r\ny"\r\n\r\n2,y\r\n3,z')
    with RowFile(path, is_ndjson=False) as source:
        places = [(source.place, row) for row in source]

    for place, row in places:
        with RowFile(path, is_ndjson=False) as again:
            again.go_on(place)
            assert list(again) == [later for _, later in places if later.number > row.number]


def test_a_quoted_line_break_belongs_to_its_row(tmp_path: Path) -> None:
    assert read(written(tmp_path, b'a,b\n1,"x\ny"\n'))[0].values == {"a": "1", "b": "x\ny"}


def test_blank_lines_are_no_rows(tmp_path: Path) -> None:
    assert [row.number for row in read(written(tmp_path, b"a\n\n1\n\n2\n\n"))] == [1, 2]


def test_a_broken_row_does_not_stop_the_others(tmp_path: Path) -> None:
    path = written(tmp_path, b'a,b\n1,x\n1\n"q"x,2\n\xff,2\n2,y\n')

    assert codes(path) == [None, "BAD_CSV", "BAD_CSV", "BAD_ENCODING", None]


def test_a_broken_line_of_json_does_not_stop_the_others(tmp_path: Path) -> None:
    path = written(tmp_path, b'{"a":1}\n{"a":\n[1]\n\n{"a":"\xff"}\n{"a":2}', "file.ndjson")

    assert codes(path) == [None, "BAD_JSON", "BAD_JSON", "BAD_JSON", None]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        pytest.param(b"", "has no header line", id="empty"),
        pytest.param(b"a,b,a\n1,2,3\n", "names a column twice: a", id="twice"),
        pytest.param(b"\xff\xfea\n", "not a CSV header in UTF-8", id="utf-16"),
        pytest.param(b'a,b\n1,"x\n2,y\n', "a quote is opened and never closed", id="open-quote"),
        pytest.param(b"a\n" + b"x" * (rows.LINE_BYTES_MAX + 1), "Row 1 is longer than 1024 KiB", id="no-lines"),
    ],
)
def test_a_file_that_cannot_be_read_says_why(tmp_path: Path, content: bytes, reason: str) -> None:
    with pytest.raises(SourceError, match=reason):
        read(written(tmp_path, content))


def test_sample_columns_reach_into_objects(tmp_path: Path) -> None:
    path = written(tmp_path, b'{"a":{"b":1}}\n{"c":2}\n', "file.ndjson")

    assert rows.sample_columns(path) == ("a", "a.b", "c")
