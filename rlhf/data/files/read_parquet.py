"""Rows of a Parquet file, and rows of columns as plain lists and dictionaries."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from rlhf.data.files.raw import Row, Unreadable, Where, as_row
from rlhf.errors import DataError

# Metadata of a Parquet file's schema: a JSON list of its columns that hold JSON as text.
JSON_COLUMNS_KEY = b"rlhf.json_columns"


def read_parquet(name: str, file: Path | BinaryIO) -> Iterator[tuple[Where, Row | Unreadable]]:
    """Every row; structs and maps are dictionaries without the keys that are null in it.

    Raises:
        DataError: no Parquet file, or a damaged one.
    """
    import pyarrow  # type: ignore[import-untyped]
    from pyarrow import parquet

    number = 0
    try:
        opened = parquet.ParquetFile(file)
        metadata = opened.schema_arrow.metadata or {}
        # A table of ours holds its nulls as they were.
        own = JSON_COLUMNS_KEY in metadata
        texts = _json_columns(metadata)
        for batch in opened.iter_batches(batch_size=256):
            for row in batch.to_pylist(maps_as_pydicts="strict"):
                number += 1
                yield (
                    Where(name, number),
                    _row_with_texts(row if own else without_nulls(row), texts),
                )
    except (pyarrow.ArrowException, KeyError) as error:  # KeyError: a map with a key twice
        raise DataError(f"{name} is no Parquet file that can be read: {error}") from error


def without_nulls(value: Any) -> Any:
    """`value` without null keys in its dictionaries, at any depth.

    Columns give every struct the keys of all rows: a message would have `tool_calls: null` where
    another row's message calls a tool. A message's null content stays, which is what a call of a
    tool has.
    """
    if isinstance(value, dict):
        kept = {key for key, one in value.items() if one is not None}
        kept |= {"content"} & value.keys() if "role" in value else set()
        return {key: without_nulls(one) for key, one in value.items() if key in kept}
    return [without_nulls(one) for one in value] if isinstance(value, list) else value


def _json_columns(metadata: dict[bytes, bytes]) -> list[str]:
    try:
        names = json.loads(metadata.get(JSON_COLUMNS_KEY, b"[]"))
    except ValueError:
        return []
    return [name for name in names if isinstance(name, str)] if isinstance(names, list) else []


def _row_with_texts(row: Row, texts: list[str]) -> Row | Unreadable:
    try:
        decoded = {name: json.loads(row[name]) for name in texts if row.get(name) is not None}
    except (TypeError, ValueError, RecursionError) as error:
        return Unreadable(f"a cell of {', '.join(texts)} is not JSON: {error}", str(row)[:200])
    return as_row({**row, **decoded}, "")
