"""Rows -> contents of a file: JSON lines, CSV for spreadsheets, Parquet."""

import csv
import io
import json
from collections.abc import Sequence
from typing import TypeGuard

from rlhf.data.files.read_csv import CELLS_COLUMN
from rlhf.data.files.read_parquet import JSON_COLUMNS_KEY
from rlhf.errors import DataError

# At the beginning of a CSV file: without it Excel reads UTF-8 in the local code page.
BYTE_ORDER_MARK = "\ufeff"
# A spreadsheet runs a cell with such a beginning as a formula; the wide characters in some of them.
FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")


def as_jsonl(rows: Sequence[dict[str, object]]) -> str:
    """One JSON object per line."""
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def as_csv(rows: Sequence[dict[str, object]]) -> str:
    """A CSV table: lists are JSON, and no cell is a formula.

    A last column records for each row which cells are JSON and which got an apostrophe, so that
    `read_rows` restores the rows, except for null values.

    Raises:
        DataError: a row has a column with the name of that column, or with a name that a
            spreadsheet would change.
    """
    text = io.StringIO()
    columns = list(dict.fromkeys(key for row in rows for key in row))
    if CELLS_COLUMN in columns:
        raise DataError(
            f"column {CELLS_COLUMN} has another meaning in CSV files; export .jsonl.",
            code="bad-row",
        )
    writer = csv.writer(text)
    names = [*columns, CELLS_COLUMN]
    if names != [name.strip() for name in names] or any(_is_formula(name) for name in names):
        raise DataError(
            f"one of the columns {names} begins like a formula or with a space; export .jsonl.",
            code="bad-row",
        )
    writer.writerow(names)
    for row in rows:
        values = {name: row[name] for name in columns if row.get(name) is not None}
        cells = {name: _cell(value) for name, value in values.items()}
        json_names = [name for name, value in values.items() if not _is_text_cell(value)]
        quoted = [n for n, value in values.items() if _is_text_cell(value) and _is_formula(value)]
        encodings = {"json": json_names, "quoted": quoted}
        marks = json.dumps({key: names for key, names in encodings.items() if names})
        writer.writerow([*(cells.get(name, "") for name in columns), marks])
    return text.getvalue()


def as_parquet(rows: Sequence[dict[str, object]]) -> bytes:
    """The rows as a Parquet file.

    A column that Arrow would not restore exactly (objects, texts among lists) is stored as JSON
    text; the schema's metadata names those columns, and `read_rows` decodes them.
    """
    import pyarrow  # type: ignore[import-untyped]
    import pyarrow.parquet  # type: ignore[import-untyped]

    columns: dict[str, object] = {}
    json_columns = []
    for name in dict.fromkeys(key for row in rows for key in row):
        values = [row.get(name) for row in rows]
        columns[name] = _typed(values)
        if columns[name] is None:
            json_columns.append(name)
            columns[name] = pyarrow.array([json.dumps(v, ensure_ascii=False) for v in values])
    table = pyarrow.table(columns)
    table = table.replace_schema_metadata({JSON_COLUMNS_KEY: json.dumps(json_columns)})
    sink = pyarrow.BufferOutputStream()
    pyarrow.parquet.write_table(table, sink)
    return bytes(sink.getvalue())


def _typed(values: Sequence[object]) -> object:
    """The values as an Arrow array; None if it would not restore them exactly."""
    import pyarrow

    try:
        array = pyarrow.array(values)
    except (pyarrow.ArrowException, OverflowError):  # an integer of more than 64 bits
        return None
    # A struct would get the keys of all rows, and a struct without keys cannot be written.
    if pyarrow.types.is_struct(array.type) or "struct<>" in str(array.type):
        return None
    restored = array.to_pylist()
    if restored == values:
        return array
    # Compared as text too: a NaN is unequal to itself.
    same = json.dumps(restored, sort_keys=True) == json.dumps(values, sort_keys=True)
    return array if same else None


def _is_text_cell(value: object) -> TypeGuard[str]:
    """Whether the cell is plain text. The empty text is JSON, since a blank cell is null."""
    return isinstance(value, str) and value != ""


def _is_formula(text: str) -> bool:
    return text.startswith(FORMULA)


def _cell(value: object) -> str:
    if not _is_text_cell(value):
        return json.dumps(value, ensure_ascii=False)
    return "'" + value if _is_formula(value) else value


def file_name(kind: str, suffix: str) -> str:
    """A file name that contains no text from a request."""
    return f"{kind}{suffix}"
