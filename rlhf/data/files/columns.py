"""Rows under the names of columns that rlhf reads."""

from collections.abc import Mapping, Sequence

from rlhf.data.files.raw import Row
from rlhf.data.files.read_csv import cells_of
from rlhf.errors import ConfigError, reject_row


def parse_columns(words: Sequence[str]) -> dict[str, str]:
    """New name -> name in the file, from words such as `prompt=Question`.

    Raises:
        ConfigError: a word of another form, or a name that occurs twice.
    """
    columns: dict[str, str] = {}
    for word in words:
        new, equals, old = word.partition("=")
        if not (new and equals and old):
            raise ConfigError(
                f"--columns {word!r} is not NAME=COLUMN; write for example prompt=Question.",
                code="bad-value",
            )
        if new in columns or old in columns.values():
            raise ConfigError(f"--columns {word!r}: {new} or {old} occurs twice; give it once.",
                              code="repeated-key")  # fmt: skip
        columns[new] = old
    return columns


def renamed(row: Row, columns: Mapping[str, str]) -> Row:
    """The row with its columns under their new names; other columns stay.

    A text is read as a cell of its new column in a CSV file: the label 1 is a number.

    Raises:
        DataError: the row lacks a column, or has one of the new names already.
    """
    names = {old: _name_in(row, old) for old in columns.values()}
    others = {key: value for key, value in row.items() if key not in names.values()}
    new_values: Row = {}
    for new, given in columns.items():
        old = names[given]
        if new in others:
            reject_row(f"a column {new} next to {old}, which is to get that name; rename it too")
        new_values[new] = row[old]
    texts = {key: value for key, value in new_values.items() if isinstance(value, str)}
    try:
        return {**new_values, **cells_of(texts), **others}
    except ValueError as error:
        reject_row(str(error))


def _name_in(row: Row, name: str) -> str:
    """The row's column of this name; reading a CSV file may have changed it to lower case."""
    column = name if name in row else name.lower()
    if column not in row:
        reject_row(f"no column {name}; this row has {', '.join(row)}")
    return column
