"""Rows of a CSV file: the delimiter is read off its header, cells are parsed by their column."""

import csv
import io
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import BinaryIO

from rlhf.data.files import raw
from rlhf.data.files.raw import (
    Row,
    Unreadable,
    Where,
    as_row,
    as_utf8,
    reject_constant,
    too_long,
)
from rlhf.data.files.read_json import ROW_KEYS
from rlhf.errors import DataError

DELIMITERS = (",", ";", "\t")
# Cells are text. In these columns they contain JSON …
JSON_COLUMNS = frozenset(
    "messages responses ranks scores ratings conversations tools completions models".split()
)
# … in these a number, true or false, where they look like one …
VALUE_COLUMNS = frozenset(
    "label labels correct kto_tag strength margin score_chosen score_rejected score_ratio "
    "score_0 score_1 helpfulness correctness coherence complexity verbosity overall_preference "
    "preference_strength num_correct".split()
)
# … and in these a text, or a list of messages as JSON.
MESSAGE_COLUMNS = frozenset("prompt chosen rejected completion context".split())
_KNOWN = JSON_COLUMNS | VALUE_COLUMNS | MESSAGE_COLUMNS | ROW_KEYS | {"output", "answer"}
# Column of our own tables: which cells of the row are JSON, and which have an apostrophe before
# a text that a spreadsheet would otherwise run as a formula.
CELLS_COLUMN = "rlhf_cells"


def read_csv(name: str, file: BinaryIO) -> Iterator[tuple[Where, Row | Unreadable]]:
    """Every row of a CSV file; blank cells are absent, rows of blank cells are skipped.

    Raises:
        DataError: a column is repeated in the header.
    """
    file = as_utf8(file, name)
    csv.field_size_limit(1 << 30)  # the size is checked below, with a line number
    text = io.TextIOWrapper(file, "utf-8-sig", "surrogateescape", newline="")
    delimiter, skipped = _delimiter(text)
    reader = csv.reader(text, delimiter=delimiter)
    columns = _known_columns([column.strip() for column in next(reader, [])])
    _check_repeated(columns, name)
    line = skipped + reader.line_num + 1
    for cells in reader:
        where, line = Where(name, line), skipped + reader.line_num + 1
        if any(cells):
            yield where, _row_of_cells(cells, columns)


def _delimiter(text: io.TextIOWrapper) -> tuple[str, int]:
    """(delimiter, number of lines before the header); leaves `text` at the header.

    The delimiter is the one that splits the header into the most columns, or the one that a line
    `sep=` names.
    """
    first = text.readline()
    named = first.strip().removeprefix("sep=")
    if first.startswith("sep=") and (named in DELIMITERS or first.rstrip("\r\n") == "sep=\t"):
        return named or "\t", 1
    text.seek(0)
    widths = {each: len(next(csv.reader([first], delimiter=each), [])) for each in DELIMITERS}
    return max(DELIMITERS, key=widths.__getitem__), 0


def _known_columns(header: Sequence[str]) -> list[str]:
    """The header; with `Prompt` as `prompt`, and so on, where it knows no column as it is written.

    A header that has a known column keeps its others, which may differ from it by their case alone.
    """
    if any(column in _KNOWN or column == CELLS_COLUMN for column in header):
        return list(header)
    return [column.lower() if column.lower() in _KNOWN else column for column in header]


def _check_repeated(columns: Sequence[str], name: str) -> None:
    repeated = [column or "(blank)" for column, count in Counter(columns).items() if count > 1]
    if repeated:
        raise DataError(
            f"{name}: the header has columns {', '.join(repeated)} more than once; "
            "rename or remove one of them.",
            code="repeated-key",
        )


def _row_of_cells(cells: Sequence[str], columns: Sequence[str]) -> Row | Unreadable:
    text = str(dict(zip(columns, cells, strict=False)))
    if len(cells) != len(columns):
        reason = f"{len(cells)} cells where the header has {len(columns)} columns"
        return Unreadable(reason, text[:200])
    if len(text) > raw.MAX_ROW_BYTES:
        return too_long(len(text))
    row = {column: cell for column, cell in zip(columns, cells, strict=True) if cell}
    try:
        kinds = row.pop(CELLS_COLUMN, None)
        values = cells_of(row) if kinds is None else _decode_cells(row, json.loads(kinds))
    except (ValueError, RecursionError, TypeError, AttributeError) as error:
        return Unreadable(str(error), text[:200])
    checked = as_row(values, text)
    if isinstance(checked, Unreadable):  # a spreadsheet saved it in the code page of its country
        return Unreadable(f"{checked.reason}; save the file as CSV UTF-8", checked.raw)
    return checked


def cells_of(row: Mapping[str, str]) -> Row:
    """Values of a table that another program wrote, by the names of its columns.

    Raises:
        ValueError: the cell of a column that holds JSON is not JSON.
    """
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


def _decode_cells(row: dict[str, str], cell_kinds: dict[str, list[str]]) -> Row:
    """Values of a table that this package wrote; CELLS_COLUMN names the kinds of its cells."""
    values: Row = dict(row)
    for column in cell_kinds.get("json", []):
        values[column] = _json(column, row[column]) if column in row else None
    for column in cell_kinds.get("quoted", []):
        values[column] = row.get(column, "").removeprefix("'")
    return values


def _json(column: str, cell: str) -> object:
    # A spreadsheet writes true as TRUE.
    text = cell.lower() if cell in ("TRUE", "FALSE") else cell
    try:
        return json.loads(text, parse_constant=reject_constant)
    except (ValueError, RecursionError) as error:
        hint = "; this is how pandas writes lists, use json.dumps" if cell.startswith("['") else ""
        raise ValueError(f"the cell of {column} is not JSON: {error}{hint}") from None


def _value(cell: str) -> object:
    """True, False or a number where the cell contains one; else its text."""
    try:
        value = json.loads(cell.strip().lower(), parse_constant=reject_constant)
    except (ValueError, RecursionError):
        return cell
    return value if isinstance(value, bool | int | float) else cell


def _messages(cell: str) -> object:
    """The messages that the cell contains as JSON; else its text."""
    try:
        value = json.loads(cell)
    except (ValueError, RecursionError):
        return cell
    is_list = isinstance(value, list) and value
    return value if is_list and all(_is_message(item) for item in value) else cell


def _is_message(value: object) -> bool:
    return isinstance(value, dict) and "role" in value and "content" in value
