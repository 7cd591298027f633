"""The format of a file, read off its first rows, and the command that converts it."""

import itertools

from rlhf.data.files.read import Row, Unreadable, read_rows
from rlhf.data.rows.fields import RESPONSES
from rlhf.data.rows.parse import parse_row
from rlhf.data.source_formats.formats import (
    FORMATS,
    convert_rows,
    fitting_formats,
    formats_with_columns_of,
)
from rlhf.errors import DataError
from rlhf.runtime.printing import counted
from rlhf.types import Demonstration, PromptRow, Ranking

NUM_ROWS_READ = 20


def detect(source: str) -> list[str]:
    """Lines that name the formats that fit the first rows of `source`, each with its command.

    Raises:
        DataError: the file cannot be read, or none of its first rows can.
    """
    first_rows = [row for _, row in itertools.islice(read_rows(source), NUM_ROWS_READ)]
    rows = [row for row in first_rows if not isinstance(row, Unreadable)]
    if not rows:
        broken = [row for row in first_rows if isinstance(row, Unreadable)]
        first = f"; the first: {broken[0].reason}" if broken else ""
        raise DataError(f"{source} has no readable row{first}.", code="no-rows")
    names = fitting_formats(rows)
    kind = "" if set(names) - {"opening"} else _kind(rows)  # any text has an opening
    if not names and not kind:
        return _describe_unknown(source, rows)
    lines = [f"{source}: its rows are {kind}, which recipes read directly."] if kind else []
    if kind == "rankings" and any("score_chosen" in row for row in rows):
        lines.append(
            "  The key score_columns of `rlhf reward` and `rlhf dpo` decides what score_chosen and "
            "score_rejected are used for: strength, or ignore."
        )
    if kind == "prompts" and (columns := [key for key in rows[0] if key != "prompt"]):
        lines.append(f"  Columns that only reward functions read: {', '.join(columns)}.")
    if len(names) > 1:
        lines.append(
            f"{source}: several formats fit its first {counted(len(rows), 'row')}; choose one:"
        )
    return lines + [_sentence(source, name, len(rows), alone=len(names) == 1) for name in names]


def _describe_unknown(source: str, rows: list[Row]) -> list[str]:
    """What the rows lack of a format whose columns they have; else which columns they have."""
    lines = [
        f"{source}: no known format fits its first {counted(len(rows), 'row')}, which have the "
        f"columns {', '.join(dict.fromkeys(key for row in rows for key in row))}."
    ]
    if rows[0].keys() & {"prompt", *RESPONSES}:
        try:
            parse_row(rows[0], "ignore")
        except DataError as error:
            lines.append(f"  Recipes cannot read the first row: {error}.")
    for name in formats_with_columns_of(rows):
        try:
            convert_rows(rows[:2], name)
        except DataError as error:
            lines.append(f"  They have the columns of `{name}`, but do not fit it: {error}.")
    return [
        *lines,
        "  docs/reference/formats.md lists the row types; `rlhf data convert --help` lists the "
        "formats that can be converted.",
        f"  Other names of columns: rlhf data convert {source} --columns prompt=COLUMN … "
        "--output ROWS.jsonl",
    ]


def _kind(rows: list[Row]) -> str:
    """The kind of rows that need no conversion; "" for others."""
    try:
        parsed = [parse_row(row, "ignore") for row in rows if "label" not in row]
    except DataError:
        return ""
    kinds = {Demonstration: "demonstrations", Ranking: "rankings", PromptRow: "prompts", str: ""}
    names = {kinds[type(row)] for row in parsed}
    plain = names == {""} and all(row.keys() == {"text"} for row in rows)
    return "texts" if plain else names.pop() if len(names) == 1 else ""


def _sentence(source: str, name: str, count: int, *, alone: bool) -> str:
    source_format = FORMATS[name]
    if source_format.unsupported:
        reason = source_format.unsupported
        return f"{source}: looks like {name}, which cannot be converted: {reason}."
    command = f"rlhf data convert {source} --from {name} --output ROWS.jsonl"
    description = (source_format.convert.__doc__ or "").strip()
    if not alone:
        return f"  {command}\n      {description}"
    return f"{source}: `{name}` fits its first {counted(count, 'row')}: {description}\n  {command}"
