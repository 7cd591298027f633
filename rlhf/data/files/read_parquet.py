"""Rows of a Parquet file, and rows of typed columns as plain lists and dictionaries."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from rlhf.data.files.raw import Row, Unreadable, Where, as_row
from rlhf.errors import DataError

# Metadata of a Parquet file's schema: a JSON list of its columns that contain JSON as text.
JSON_COLUMNS_KEY = b"rlhf.json_columns"


def read_parquet(name: str, file: Path | BinaryIO) -> Iterator[tuple[Where, Row | Unreadable]]:
    """Every row; structs and maps become dictionaries without their null keys.

    Raises:
        DataError: the file is not Parquet, or damaged.
    """
    import pyarrow  # type: ignore[import-untyped]
    from pyarrow import parquet

    number = 0
    try:
        opened = parquet.ParquetFile(file)
        metadata = opened.schema_arrow.metadata or {}
        # The nulls of a table that this package wrote are values of its rows.
        is_own = JSON_COLUMNS_KEY in metadata
        json_columns = _json_columns(metadata)
        for batch in opened.iter_batches(batch_size=256):
            for row in batch.to_pylist(maps_as_pydicts="strict"):
                number += 1
                yield (
                    Where(name, number),
                    _row_with_json(row if is_own else without_nulls(row), json_columns),
                )
    except (pyarrow.ArrowException, KeyError) as error:  # KeyError: a map with a key twice
        message = f"{name} cannot be read as Parquet: {error}"
        raise DataError(message, code="unreadable-file") from error


def without_nulls(value: object) -> Any:
    """`value` without null keys in its dictionaries, at any depth.

    Columns give every struct the keys of all rows: a message would have `tool_calls: null` where
    another row's message calls a tool. A message's null content stays: a tool call has one.
    """
    if isinstance(value, dict):
        keys = {key for key, content in value.items() if content is not None}
        keys |= {"content"} & value.keys() if "role" in value else set()
        return {key: without_nulls(content) for key, content in value.items() if key in keys}
    return [without_nulls(item) for item in value] if isinstance(value, list) else value


def _json_columns(metadata: dict[bytes, bytes]) -> list[str]:
    try:
        names = json.loads(metadata.get(JSON_COLUMNS_KEY, b"[]"))
    except ValueError:
        return []
    return [name for name in names if isinstance(name, str)] if isinstance(names, list) else []


def _row_with_json(row: dict[str, Any], columns: list[str]) -> Row | Unreadable:
    try:
        decoded = {name: json.loads(row[name]) for name in columns if row.get(name) is not None}
    except (TypeError, ValueError, RecursionError) as error:
        return Unreadable(f"a cell of {', '.join(columns)} is not JSON: {error}", str(row)[:200])
    return as_row({**row, **decoded}, "")
