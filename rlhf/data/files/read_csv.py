"""Rows of a CSV file: the delimiter from its header, cells as what their columns hold."""

import csv
import io
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, BinaryIO

from rlhf.data.files import raw
from rlhf.data.files.raw import (
    Row,
    Unreadable,
    Where,
    as_row,
    refuse_constant,
    refuse_utf16,
    too_long,
)
from rlhf.errors import DataError

DELIMITERS = (",", ";", "\t")
# Cells are text. In these columns they hold JSON …
JSON_COLUMNS = frozenset(
    "messages responses ranks scores conversations tools completions models".split()
)
# … in these a number or true and false where they look so …
VALUE_COLUMNS = frozenset(
    "label labels kto_tag strength margin score_chosen score_rejected score_ratio score_0 score_1 "
    "helpfulness correctness coherence complexity verbosity overall_preference "
    "preference_strength num_correct".split()
)
# … and in these a text, or a list of messages as JSON.
MESSAGE_COLUMNS = frozenset("prompt chosen rejected completion context".split())
# Column of our own tables: which cells of the row are JSON, and which have an apostrophe before
# a text that a spreadsheet would run as a formula.
CELLS_COLUMN = "rlhf_cells"


def read_csv(name: str, file: BinaryIO) -> Iterator[tuple[Where, Row | Unreadable]]:
    """Every row of a CSV file; blank cells are absent, rows of blank cells alone are none.

    Raises:
        DataError: a column stands twice in the header.
    """
    refuse_utf16(file.read(2), name)
    file.seek(0)
    csv.field_size_limit(1 << 30)  # the size is checked below, with a line number
    text = io.TextIOWrapper(file, "utf-8-sig", "surrogateescape", newline="")
    delimiter, skipped = _delimiter(text)
    reader = csv.reader(text, delimiter=delimiter)
    columns = [column.strip() for column in next(reader, [])]
    _refuse_repeated(columns, name)
    line = skipped + reader.line_num + 1
    for cells in reader:
        where, line = Where(name, line), skipped + reader.line_num + 1
        if any(cells):
            yield where, _row_of_cells(cells, columns)


def _delimiter(text: io.TextIOWrapper) -> tuple[str, int]:
    """The one of DELIMITERS that makes most columns of the header, or that `sep=` names.

    Leaves `text` at the header, and says how many lines stand before it.
    """
    first = text.readline()
    named = first.strip().removeprefix("sep=")
    if first.startswith("sep=") and (named in DELIMITERS or first.rstrip("\r\n") == "sep=\t"):
        return named or "\t", 1
    text.seek(0)
    widths = {each: len(next(csv.reader([first], delimiter=each), [])) for each in DELIMITERS}
    return max(DELIMITERS, key=widths.__getitem__), 0


def _refuse_repeated(columns: Sequence[str], name: str) -> None:
    twice = [column or "(blank)" for column, count in Counter(columns).items() if count > 1]
    if twice:
        raise DataError(
            f"{name}: columns {', '.join(twice)} stand more than once in the header; "
            "rename or remove one of them."
        )


def _row_of_cells(cells: Sequence[str], columns: Sequence[str]) -> Row | Unreadable:
    shown = str(dict(zip(columns, cells, strict=False)))
    if len(cells) != len(columns):
        reason = f"{len(cells)} cells where the header has {len(columns)} columns"
        return Unreadable(reason, shown[:200])
    if len(shown) > raw.MAX_ROW_BYTES:
        return too_long(len(shown))
    row = {column: cell for column, cell in zip(columns, cells, strict=True) if cell}
    try:
        own = row.pop(CELLS_COLUMN, None)
        values = _guessed(row) if own is None else _written(row, json.loads(own))
    except (ValueError, RecursionError, TypeError, AttributeError) as error:
        return Unreadable(str(error), shown[:200])
    return as_row(values, shown)


def _guessed(row: dict[str, str]) -> Row:
    """Cells of a table from elsewhere."""
    values: Row = {}
    for column, cell in row.items():
        if column in JSON_COLUMNS:
            values[column] = _json(column, cell)
        elif column in VALUE_COLUMNS:
            values[column] = _value(cell)
        elif column in MESSAGE_COLUMNS and cell.lstrip().startswith("["):
            values[column] = _messages(cell)
        else:
            values[column] = cell
    return values


def _written(row: dict[str, str], own: dict[str, list[str]]) -> Row:
    """Cells of a table of ours, as CELLS_COLUMN says what they are."""
    values: Row = dict(row)
    for column in own.get("json", []):
        values[column] = _json(column, row[column]) if column in row else None
    for column in own.get("quoted", []):
        values[column] = row.get(column, "").removeprefix("'")
    return values


def _json(column: str, cell: str) -> Any:
    # A spreadsheet writes true as TRUE.
    text = cell.lower() if cell in ("TRUE", "FALSE") else cell
    try:
        return json.loads(text, parse_constant=refuse_constant)
    except (ValueError, RecursionError) as error:
        hint = "; pandas writes lists so, use json.dumps" if cell.startswith("['") else ""
        raise ValueError(f"the cell of {column} is not JSON: {error}{hint}") from None


def _value(cell: str) -> Any:
    """True, False or a number where the cell reads so; else its text."""
    try:
        value = json.loads(cell.strip().lower(), parse_constant=refuse_constant)
    except (ValueError, RecursionError):
        return cell
    return value if isinstance(value, bool | int | float) else cell


def _messages(cell: str) -> Any:
    """The messages that the cell holds as JSON; else its text."""
    try:
        value = json.loads(cell)
    except (ValueError, RecursionError):
        return cell
    told = isinstance(value, list) and value
    return value if told and all(_is_message(one) for one in value) else cell


def _is_message(value: Any) -> bool:
    return isinstance(value, dict) and "role" in value and "content" in value
