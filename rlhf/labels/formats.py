"""Rows -> what a file holds: JSON lines, a table for spreadsheets, Parquet; and its card."""

import csv
import io
import json
from collections.abc import Mapping, Sequence
from typing import Any

from rlhf.data.files.read_csv import CELLS_COLUMN
from rlhf.data.files.read_parquet import JSON_COLUMNS_KEY
from rlhf.errors import DataError

# A cell that begins so is a formula to a spreadsheet, which would run it; the wide ones to some.
FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")


def as_jsonl(rows: Sequence[dict[str, Any]]) -> str:
    """One JSON object a line."""
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def as_csv(rows: Sequence[dict[str, Any]]) -> str:
    """A table for spreadsheets: lists as JSON, and no cell that one would run as a formula.

    A last column says of each row which cells are JSON and which got an apostrophe, so that
    `read_rows` gives the rows back as they were, without what is null in them.

    Raises:
        DataError: a row has a column of that name itself.
    """
    text = io.StringIO()
    columns = list(dict.fromkeys(key for row in rows for key in row))
    if CELLS_COLUMN in columns:
        raise DataError(f"column {CELLS_COLUMN} has another meaning in CSV files; export .jsonl.")
    writer = csv.writer(text)
    names = [*columns, CELLS_COLUMN]
    if names != [name.strip() for name in names] or any(_is_formula(name) for name in names):
        raise DataError("a column's name begins as a formula, or with a space; export .jsonl.")
    writer.writerow(names)
    for row in rows:
        told = {name: row[name] for name in columns if row.get(name) is not None}
        cells = {name: _cell(value) for name, value in told.items()}
        of_json = [name for name, value in told.items() if _as_json(value)]
        quoted = [name for name in told if name not in of_json and _is_formula(told[name])]
        kept = {"json": of_json, "quoted": quoted}
        marks = json.dumps({key: names for key, names in kept.items() if names})
        writer.writerow([*(cells.get(name, "") for name in columns), marks])
    return text.getvalue()


def as_parquet(rows: Sequence[dict[str, Any]]) -> bytes:
    """The rows as a Parquet file.

    A column that Arrow would not give back as it was (objects, texts among lists) is JSON text;
    the schema's metadata names those columns, and `read_rows` reads them as what they were.
    """
    import pyarrow  # type: ignore[import-untyped]
    import pyarrow.parquet  # type: ignore[import-untyped]

    columns: dict[str, Any] = {}
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


def _typed(values: Sequence[Any]) -> Any:
    """The values as an Arrow array; None where that would not hold them as they are."""
    import pyarrow

    try:
        made = pyarrow.array(values)
    except pyarrow.ArrowException:
        return None
    # The keys of a struct would be those of all rows, and one of no keys cannot be written.
    if pyarrow.types.is_struct(made.type) or "struct<>" in str(made.type):
        return None
    back = made.to_pylist()
    # Compared as text too: a NaN is unequal to itself.
    same = back == values or json.dumps(back, sort_keys=True) == json.dumps(values, sort_keys=True)
    return made if same else None


def card(kind: str, rows: Sequence[dict[str, Any]], left_out: Mapping[str, int]) -> str:
    """What the file holds, as a dataset card."""
    names = sorted({str(row.get("annotator", "")) for row in rows})
    lines = [f"- left out: {count} {reason}" for reason, count in left_out.items()]
    return "\n".join(
        [
            "---",
            "tags: [preferences, rlhf]",
            "---",
            f"# {kind}",
            "",
            f"{len(rows)} rows of {len(names)} annotators, made with `rlhf label export`.",
            "",
            *lines,
            "",
        ]
    )


def _as_json(value: Any) -> bool:
    """Whether the cell is JSON: all but text, and the empty text, which a blank cell is not."""
    return not isinstance(value, str) or value == ""


def _is_formula(text: str) -> bool:
    return text.startswith(FORMULA)


def _cell(value: Any) -> str:
    if _as_json(value):
        return json.dumps(value, ensure_ascii=False)
    return "'" + value if _is_formula(value) else str(value)


def file_name(kind: str, suffix: str) -> str:
    """A name that the server chose: nothing of what anybody typed is in it."""
    return f"{kind}{suffix}"
