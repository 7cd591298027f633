"""Rows -> what a file holds: JSON lines, a table for spreadsheets, Parquet; and its card."""

import csv
import io
import json
from collections.abc import Mapping, Sequence
from typing import Any

from rlhf.data.read_parquet import JSON_COLUMNS_KEY

# A cell that begins so is a formula to a spreadsheet, which would run it; the wide ones to some.
FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")


def as_jsonl(rows: Sequence[dict[str, Any]]) -> str:
    """One JSON object a line."""
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def as_csv(rows: Sequence[dict[str, Any]]) -> str:
    """A table for spreadsheets: lists as JSON, and no cell that one would run as a formula."""
    text = io.StringIO()
    columns = list(dict.fromkeys(key for row in rows for key in row))
    writer = csv.writer(text)
    writer.writerow([_cell(name) for name in columns])
    for row in rows:
        writer.writerow([_cell(row.get(name)) for name in columns])
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
    if pyarrow.types.is_struct(made.type):  # the keys would be those of all rows
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


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool | int | float):
        return str(value)
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return "'" + text if text.startswith(FORMULA) else text


def file_name(kind: str, suffix: str) -> str:
    """A name that the server chose: nothing of what anybody typed is in it."""
    return f"{kind}{suffix}"
