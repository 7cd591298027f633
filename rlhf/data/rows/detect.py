"""Which shape a file has, by its first rows, and the command that makes rows of it."""

import itertools

from rlhf.data.files.read import Row, Unreadable, read_rows
from rlhf.data.rows.fields import RESPONSES
from rlhf.data.rows.parse import parse_row
from rlhf.data.source_formats.formats import SHAPES, converted, fitting_shapes, known_shapes
from rlhf.errors import DataError
from rlhf.types import Demonstration, PromptRow, Ranking

LOOKED_AT = 20


def detect(source: str) -> list[str]:
    """Lines that name the shapes that fit the first rows of `source`, each with its command.

    Raises:
        DataError: a file that cannot be read, or none of whose first rows is one.
    """
    found = [row for _, row in itertools.islice(read_rows(source), LOOKED_AT)]
    rows = [row for row in found if not isinstance(row, Unreadable)]
    if not rows:
        first = f"; the first: {found[0].reason}" if found else ""  # type: ignore[union-attr]
        raise DataError(f"{source} holds no row that can be read{first}.")
    shapes = fitting_shapes(rows)
    kind = "" if set(shapes) - {"opening"} else _kind(rows)  # any text has an opening
    if not shapes and not kind:
        return _unknown(source, rows)
    told = [f"{source}: its rows are {kind}, which the recipes take as they are."] if kind else []
    if kind == "rankings" and any("score_chosen" in row for row in rows):
        told.append(
            "  What score_chosen and score_rejected are for is a key of reward_model.py: "
            "score_columns: strength, or ignore."
        )
    if kind == "prompts" and (more := [key for key in rows[0] if key != "prompt"]):
        told.append(f"  Kept for reward functions, and nothing else: {', '.join(more)}.")
    if len(shapes) > 1:
        told.append(f"{source}: several shapes fit its first {len(rows)} rows; choose one:")
    return told + [_sentence(source, name, len(rows), alone=len(shapes) == 1) for name in shapes]


def _unknown(source: str, rows: list[Row]) -> list[str]:
    """What its rows lack, where they have the columns of a shape; else what they have."""
    lines = [
        f"{source}: no known shape fits its first {len(rows)} rows, of the columns "
        f"{', '.join(dict.fromkeys(key for row in rows for key in row))}."
    ]
    if rows[0].keys() & {"prompt", *RESPONSES}:
        try:
            parse_row(rows[0], "ignore")
        except DataError as error:
            lines.append(f"  The recipes cannot take the first one as it is: {error}.")
    for name in known_shapes(rows):
        try:
            converted(rows[:2], name)
        except DataError as error:
            lines.append(f"  They are not `{name}`, which has these columns: {error}.")
    return [
        *lines,
        "  docs/reference/formats.md lists the row types; `rlhf data convert --help` lists the "
        "formats that it converts.",
    ]


def _kind(rows: list[Row]) -> str:
    """What the rows are where they need no conversion."""
    try:
        parsed = [parse_row(row, "ignore") for row in rows if "label" not in row]
    except DataError:
        return ""
    kinds = {Demonstration: "demonstrations", Ranking: "rankings", PromptRow: "prompts", str: ""}
    names = {kinds[type(one)] for one in parsed}
    plain = names == {""} and all(row.keys() == {"text"} for row in rows)
    return "texts" if plain else names.pop() if len(names) == 1 else ""


def _sentence(source: str, name: str, count: int, *, alone: bool) -> str:
    shape = SHAPES[name]
    if shape.refusal:
        return f"{source}: looks like {name}, which cannot be converted: {shape.refusal}."
    command = f"rlhf data convert {source} --from {name} --output ROWS.jsonl"
    said = (shape.convert.__doc__ or "").strip()
    if not alone:
        return f"  {command}\n      {said}"
    return f"{source}: its first {count} rows fit `{name}`: {said}\n  {command}"
