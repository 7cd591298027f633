"""Rows that a program passes in memory: lists, datasets, pandas data frames."""

import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any, Protocol, TypeAlias

from rlhf.data.files.raw import Row, Unreadable, Where, as_row
from rlhf.data.files.read_parquet import without_nulls
from rlhf.errors import DataError

IN_MEMORY = "rows"  # the name of such rows in places and manifests: rows:3
_ARRAYS = frozenset({"numpy", "torch"})  # packages whose scalars and arrays have tolist()


class HubDataset(Protocol):
    """The part of a `datasets.Dataset` that is read."""

    @property
    def column_names(self) -> object: ...

    def __iter__(self) -> Iterator[object]: ...


class DataFrame(Protocol):
    """The part of a `pandas.DataFrame` that is read."""

    @property
    def columns(self) -> Iterable[object]: ...

    def itertuples(self, index: bool, name: str | None) -> Iterable[tuple[object, ...]]: ...


RowsInMemory: TypeAlias = (
    Sequence[Mapping[str, object]]
    | Sequence[str]
    | Sequence[Sequence[Mapping[str, object]]]
    | HubDataset
    | DataFrame
)
# What rows are read from: a file's path, the name of a hub set, or the rows themselves. Strings and
# lists of messages in a list are prompts.
Data: TypeAlias = str | Path | RowsInMemory


def source_name(source: Data) -> str:
    """The path or hub name of a source; `rows` for rows in memory."""
    return str(source) if isinstance(source, str | PathLike) else IN_MEMORY


def read_memory(rows: RowsInMemory) -> Iterator[tuple[Where, Row | Unreadable]]:
    """Every row with its number, as its JSON line would give it.

    A string or a list of messages is a prompt. Arrays and scalars of NumPy become lists and
    numbers. Missing cells of a data frame (NaN, NaT, NA) and null columns are absent.

    Raises:
        DataError: the object is of another type, such as a generator, which can be read only once;
            a string in a list names a file.
    """
    for number, row in enumerate(_items(rows), start=1):
        yield Where(IN_MEMORY, number), _row_of_item(row)


def with_column(data: Data, column: str) -> Data:
    """`data` with each string of a list as a row of that column: texts instead of prompts."""
    if isinstance(data, str | PathLike) or not isinstance(data, Sequence):
        return data
    rows: list[Any] = [
        {column: item} if isinstance(item, str) else item for item in _checked_items(data)
    ]
    return rows


def _items(rows: Any) -> Iterable[object]:
    packages = {kind.__module__.partition(".")[0] for kind in type(rows).__mro__}
    if "pandas" in packages and hasattr(rows, "itertuples"):
        return _items_of_frame(rows)
    if "datasets" in packages and isinstance(rows, Iterable) and not isinstance(rows, dict):
        return (without_nulls(_plain(dict(row))) for row in rows)
    if isinstance(rows, Sequence) and not isinstance(rows, bytes | bytearray):
        return _checked_items(rows)
    splits = f" with the splits {', '.join(map(str, rows))}" if isinstance(rows, dict) else ""
    raise DataError(
        f"rows cannot be read from a {type(rows).__name__}{splits}; pass a path, a hub name, a "
        "list of dictionaries or of prompts, one split of a dataset, or a data frame.",
        code="bad-value",
    )


def _checked_items(rows: Sequence[Any]) -> Iterator[Any]:
    """The items of a list; raises `DataError` for a string that names a file."""
    for index, item in enumerate(rows):
        # Path.is_file raises for a text that is too long for a name.
        if isinstance(item, str) and Path(item).suffix and os.path.isfile(item):  # noqa: PTH113
            raise DataError(
                f"rows[{index}]={item!r} is the name of a file, but a string in a list is a row by "
                "itself; give the file instead of a list.",
                code="bad-value",
            )
        yield item


def _items_of_frame(frame: DataFrame) -> Iterator[object]:
    import pandas  # type: ignore[import-untyped,unused-ignore]

    columns = [str(column) for column in frame.columns]
    repeated = sorted({column for column in columns if columns.count(column) > 1})
    if repeated:
        raise DataError(
            f"the data frame has columns {', '.join(repeated)} more than once; "
            "rename or remove one of them.",
            code="repeated-key",
        )
    for cells in frame.itertuples(index=False, name=None):
        present = {
            column: cell
            for column, cell in zip(columns, cells, strict=True)
            if not (pandas.api.types.is_scalar(cell) and pandas.isna(cell))
        }
        yield without_nulls(_plain(present))


def _row_of_item(item: object) -> Row | Unreadable:
    try:
        row = {"prompt": _plain(item)} if _is_prompt(item) else _plain(item)
        json.dumps(row, default=str, allow_nan=False)
    except (ValueError, RecursionError) as error:
        # NaN and Infinity, as in a file; a row that contains itself.
        return Unreadable(f"not JSON: {error}", str(item)[:200])
    return as_row(row, str(item))


def _is_prompt(item: object) -> bool:
    """Whether an item of a list is a prompt by itself: a string, or a list of messages."""
    if isinstance(item, list | tuple):
        return bool(item) and all(isinstance(turn, Mapping) and "role" in turn for turn in item)
    return isinstance(item, str)


def _plain(value: object) -> object:
    """`value` in the types that JSON gives, at any depth; other objects unchanged."""
    if type(value).__module__.partition(".")[0] in _ARRAYS and hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, Mapping):
        return {str(key): _plain(content) for key, content in value.items()}
    return [_plain(each) for each in value] if isinstance(value, list | tuple) else value
