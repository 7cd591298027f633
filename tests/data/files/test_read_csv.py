"""CSV files as programs and spreadsheets write them."""

import codecs
import gzip
from pathlib import Path

import pytest

from rlhf.data.files.read import Unreadable, read_rows
from rlhf.errors import ErrorCode
from tests.errors import raises


def reasons_of(path: Path) -> dict[int, str]:
    """Line of each unreadable row, and the reason."""
    rows = list(read_rows(str(path)))
    return {where.line: row.reason for where, row in rows if isinstance(row, Unreadable)}


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@pytest.mark.parametrize("before", ["", "\ufeff", "\ufeffsep={}\n"])
def test_delimiters_line_ends_and_bom_of_csv(tmp_path: Path, delimiter, newline, before):
    path = tmp_path / "a.csv"
    header = delimiter.join(["prompt", " chosen ", "rejected"])
    lines = [header, delimiter.join(["Name, it; now", '"a ""b"";,\tc"', "x"]), delimiter * 2]
    lines[1] = lines[1].replace("Name, it; now", '"Name, it; now"')
    text = before.format(delimiter) + newline.join(lines) + newline
    path.write_bytes(text.encode("utf-8"))
    [(where, row)] = read_rows(str(path))
    assert row == {"prompt": "Name, it; now", "chosen": 'a "b";,\tc', "rejected": "x"}
    assert where.line == (3 if "sep" in before else 2)


def test_tsv_is_read_by_its_suffix(tmp_path: Path):
    (tmp_path / "a.tsv").write_text("prompt\tcompletion\nq, r\ta\n")
    assert [row for _, row in read_rows(str(tmp_path / "a.tsv"))] == [
        {"prompt": "q, r", "completion": "a"}
    ]


@pytest.mark.parametrize(
    ("column", "cell", "value"),
    [
        ("label", "True", True),
        ("label", "FALSE", False),
        ("labels", "1", 1),
        ("label", "positive", "positive"),
        ("strength", "2.5", 2.5),
        ("helpfulness", "4", 4),
        ("scores", "[5, 1.5]", [5, 1.5]),
        ("text", "[1]", "[1]"),
        ("prompt", "1", "1"),
        ("chosen", '["a"]', '["a"]'),
        ("prompt", '[{"role": "user", "content": "Hi"}]', [{"role": "user", "content": "Hi"}]),
    ],
)
def test_cells_of_csv_are_parsed_by_their_column(tmp_path: Path, column, cell, value):
    path = tmp_path / "a.csv"
    path.write_text(f'{column},other\n"' + cell.replace('"', '""') + '",\n')
    [(_, row)] = read_rows(str(path))
    assert row == {column: value}
    assert type(row[column]) is type(value)


def test_python_list_in_a_cell_is_unreadable_with_a_hint(tmp_path: Path):
    path = tmp_path / "a.csv"
    path.write_text("responses\n\"['a', 'b']\"\n")
    [reason] = reasons_of(path).values()
    assert reason.startswith("the cell of responses is not JSON")
    assert reason.endswith("use json.dumps")


@pytest.mark.parametrize(
    ("content", "code", "name"),
    [
        (b"prompt,label,prompt\nx,y,z\n", "repeated-key", "prompt"),
        (b"\xff\xfep", "unreadable-file", "UTF-16"),
    ],
)
def test_csv_with_an_unclear_header_is_rejected(
    tmp_path: Path, content: bytes, code: ErrorCode, name: str
):
    (tmp_path / "a.csv").write_bytes(content)
    with raises(code, "a.csv", name):
        list(read_rows(str(tmp_path / "a.csv")))


@pytest.mark.parametrize("name", ["a.tsv", "a.jsonl", "a.json", "a.csv.gz"])
@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-be"])
def test_utf_16_is_read(tmp_path: Path, name, encoding):
    """Spreadsheets save "Unicode text" as UTF-16 with tabs."""
    text = "prompt\tcompletion\nWo ist sie, Ümit?\tHier\n"
    if "json" in name:
        text = '{"prompt": "Wo ist sie, Ümit?", "completion": "Hier"}\n'
    content = (codecs.BOM_UTF16_BE if encoding == "utf-16-be" else b"") + text.encode(encoding)
    path = tmp_path / name
    path.write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    [(where, row)] = read_rows(str(path))
    assert row == {"prompt": "Wo ist sie, Ümit?", "completion": "Hier"}
    assert where.line == (1 if "json" in name else 2)


@pytest.mark.parametrize(
    ("header", "columns"),
    [
        ("Prompt,CHOSEN,Rejected,Topic", ["prompt", "chosen", "rejected", "Topic"]),
        ("Instruction,Output,x,y", ["instruction", "output", "x", "y"]),
        # As they are: a column of that name is known, or the file is one of ours.
        ("prompt,Label,c,d", ["prompt", "Label", "c", "d"]),
        ("Prompt,prompt,c,d", ["Prompt", "prompt", "c", "d"]),
        ("Where,What,c,d", ["Where", "What", "c", "d"]),
    ],
)
def test_capital_headers_are_known_columns(tmp_path: Path, header, columns):
    (tmp_path / "a.csv").write_text(f"{header}\na,b,c,d\n")
    [(_, row)] = read_rows(str(tmp_path / "a.csv"))
    assert list(row) == columns


def test_columns_that_differ_by_case_alone_are_repeated(tmp_path: Path):
    (tmp_path / "a.csv").write_text("Prompt,PROMPT\na,b\n")
    with raises("repeated-key", "prompt"):
        list(read_rows(str(tmp_path / "a.csv")))


def test_csv_row_with_another_number_of_cells_is_unreadable(tmp_path: Path):
    path = tmp_path / "a.csv"
    path.write_text("prompt,completion\na,b\nonly\na,b,c\n")
    assert reasons_of(path) == {
        3: "1 cells where the header has 2 columns",
        4: "3 cells where the header has 2 columns",
    }
