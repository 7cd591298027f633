"""Every kind of file gives the same rows with their places; broken rows are `Unreadable`."""

import gzip
import json
from pathlib import Path

import pyarrow
import pytest
from pyarrow import parquet

from rlhf.data.files import raw
from rlhf.data.files.read import Unreadable, Where, read_rows, source_sha256
from rlhf.errors import ErrorCode
from tests.errors import raises

ROWS = [
    {"prompt": "Wer fragt?", "responses": ["Äh, du", "ich"], "ranks": [1, 2]},
    {"prompt": 'a "b", c', "responses": ["x\ny", "z"], "ranks": [2, 1]},
]


def write_csv(path: Path) -> None:
    cells = [
        [row["prompt"], json.dumps(row["responses"]), json.dumps(row["ranks"])] for row in ROWS
    ]
    quoted = [",".join('"' + cell.replace('"', '""') + '"' for cell in line) for line in cells]
    path.write_text("\ufeffprompt,responses,ranks\n" + "\n".join(quoted), encoding="utf-8")


def write_any(path: Path) -> Path:
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in ROWS)
    plain = path.with_name(path.name.removesuffix(".gz"))
    if plain.suffix == ".csv":
        write_csv(plain)
    elif plain.suffix == ".parquet":
        parquet.write_table(pyarrow.Table.from_pylist(ROWS), plain)
    else:
        array = plain.stem == "array"
        plain.write_text(json.dumps(ROWS, indent=1) if array else lines, encoding="utf-8")
    if path.suffix == ".gz":
        path.write_bytes(gzip.compress(plain.read_bytes()))
    return path


@pytest.mark.parametrize(
    "name",
    ["a.jsonl", "a.jsonl.gz", "lines.json", "array.json", "array.json.gz", "a.csv", "a.csv.gz",
     "a.parquet"],
)  # fmt: skip
def test_every_kind_of_file_gives_the_same_rows(tmp_path: Path, name: str):
    path = write_any(tmp_path / name)
    assert [row for _, row in read_rows(str(path))] == ROWS


def test_place_of_a_row_is_its_line(tmp_path: Path):
    """Blank lines count as lines; a CSV row begins where it begins, quoted newlines or not."""
    lines = tmp_path / "a.jsonl"
    lines.write_text('{"text": "1"}\n\n{"text": "3"}\n')
    assert [str(where) for where, _ in read_rows(str(lines))] == [f"{lines}:1", f"{lines}:3"]
    table = tmp_path / "a.csv"
    table.write_text('text\n"one\ntwo"\nthree\n')
    assert [where.line for where, _ in read_rows(str(table))] == [2, 4]
    array = tmp_path / "a.json"
    array.write_text('[{"text": "1"},\n\n{"text": "3"}, {"text": "4"}]')
    places = [where for where, _ in read_rows(str(array))]
    assert [(where.line, where.row) for where in places] == [(1, 1), (3, 2), (3, 3)]
    assert str(places[1]) == f"{array}:3 (row 2)"


def reasons_of(path: Path) -> dict[int, str]:
    """Line of each unreadable row, and the reason."""
    rows = list(read_rows(str(path)))
    return {where.line: row.reason for where, row in rows if isinstance(row, Unreadable)}


def test_broken_lines_have_reasons_and_the_others_are_read(tmp_path: Path):
    path = tmp_path / "a.jsonl"
    path.write_bytes(
        b'{"text": "good"}\n'
        b'{"text": "caf\xe9"}\n'
        b'{"text": "half\n'
        b"[1, 2]\n"
        b'{"text": NaN}\n'
        b'{"text": "\\ud83d"}\n' + b"[" * 100_000 + b"\n"
        b'{"text": "good too"}\n'
    )
    reasons = reasons_of(path)
    assert list(reasons) == [2, 3, 4, 5, 6, 7]
    assert reasons[2] == "invalid UTF-8: byte 0xe9 at column 14"
    assert reasons[3].startswith("not JSON: Unterminated string")
    assert reasons[4] == "expected a row {...}, found list"
    assert reasons[5] == "not JSON: NaN is not a JSON number"
    assert reasons[6].startswith("invalid UTF-8")
    assert reasons[7].startswith("not JSON: ")


def test_row_of_50_mb_is_unreadable_and_the_next_is_read(tmp_path: Path):
    path = tmp_path / "a.jsonl"
    with path.open("w") as file:
        file.write('{"text": "' + "x" * 50_000_000 + '"}\n{"text": "small"}\n')
    (first, big), (second, small) = read_rows(str(path))
    assert isinstance(big, Unreadable)
    assert big.reason == "the row is 50 MB long, the limit is 8 MB"
    assert (first, second) == (Where(str(path), 1), Where(str(path), 2))
    assert small == {"text": "small"}


@pytest.mark.parametrize("suffix", ["json", "csv"])
def test_large_rows_and_bad_bytes_of_arrays_and_tables(tmp_path: Path, monkeypatch, suffix: str):
    monkeypatch.setattr(raw, "MAX_ROW_BYTES", 1_000)
    path = tmp_path / f"a.{suffix}"
    texts = ["x" * 1_001, "caf\udce9", "fine"]
    if suffix == "json":
        body = "[" + ",\n".join(f'{{"text": "{text}"}}' for text in texts) + "]"
    else:
        body = "text\n" + "\n".join(texts) + "\n"
    path.write_bytes(body.encode("utf-8", "surrogateescape"))
    assert list(reasons_of(path).values()) == [
        "the row is 0 MB long, the limit is 0 MB",
        "invalid UTF-8: a text contains half a character"
        + ("; save the file as CSV UTF-8" if suffix == "csv" else ""),
    ]
    assert list(read_rows(str(path)))[-1][1] == {"text": "fine"}


@pytest.mark.parametrize(
    ("name", "code", "place"),
    [
        ("missing.jsonl", "missing-file", "missing.jsonl"),
        ("notes.txt", "unknown-format", "notes.txt"),
        ("", "unreadable-file", "folder"),
        ("cut.jsonl.gz", "unreadable-file", "cut.jsonl.gz"),
        ("no.jsonl.gz", "unreadable-file", "no.jsonl.gz"),
        ("no.parquet", "unreadable-file", "Parquet"),
        ("broken.json", "unreadable-file", "broken.json:2 (row 2)"),
        ("cut.json", "unreadable-file", "cut.json:2 (row 2)"),
        ("comma.json", "unreadable-file", "comma.json:2 (row 2)"),
        ("unparted.json", "unreadable-file", "unparted.json:1 (row 1)"),
        ("more.json", "unreadable-file", "more.json"),
    ],
)
def test_file_without_readable_rows_raises(tmp_path: Path, name: str, code: ErrorCode, place: str):
    (tmp_path / "notes.txt").write_text("x")
    (tmp_path / "cut.jsonl.gz").write_bytes(gzip.compress(b'{"text": "x"}\n' * 1000)[:-20])
    (tmp_path / "no.jsonl.gz").write_text("not packed")
    (tmp_path / "no.parquet").write_text("not columns")
    (tmp_path / "cut.json").write_text('[{"text": "x"},\n{"text": "y"}\n')
    (tmp_path / "comma.json").write_text('[{"text": "x"},\n')
    (tmp_path / "unparted.json").write_text('[{"text": "x"} {"text": "y"}]')
    (tmp_path / "more.json").write_text('[{"text": "x"}] [{"text": "y"}]')
    (tmp_path / "broken.json").write_text('[{"text": "x"},\n{"text": }]')
    with raises(code, place):
        list(read_rows(str(tmp_path / name)))


def test_parquet_structs_and_maps_have_no_null_keys(tmp_path: Path):
    """A column gives each struct the keys of all rows; a tool call keeps its null content."""
    call = {"type": "function", "function": {"name": "f", "arguments": {"x": 1}}}
    rows = [
        {"messages": [{"role": "user", "content": "a"}]},
        {"messages": [{"role": "assistant", "content": None, "tool_calls": [call]}]},
    ]
    table = pyarrow.Table.from_pylist(rows)
    counts = pyarrow.array([[("a", 1)], None], pyarrow.map_(pyarrow.string(), pyarrow.int64()))
    parquet.write_table(table.append_column("counts", counts), tmp_path / "a.parquet")
    assert [row for _, row in read_rows(str(tmp_path / "a.parquet"))] == [
        {**rows[0], "counts": {"a": 1}},
        rows[1],
    ]


def test_hash_is_of_the_bytes_of_the_file(tmp_path: Path):
    """echo -n hello | sha256sum"""
    path = tmp_path / "a.jsonl"
    path.write_text("hello")
    expected = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"
    assert source_sha256(str(path)) == expected
