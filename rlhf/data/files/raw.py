"""A row as it was read, its place, and the reason where it is not a row."""

import json
from dataclasses import dataclass

from rlhf.errors import DataError

MAX_ROW_BYTES = 8 << 20  # no chat is that long: a file that lost its newlines looks like this

Row = dict[str, object]


@dataclass(frozen=True)
class Where:
    """The place of a row: file:line (for Parquet, hub sets and memory the number of the row)."""

    file: str
    line: int  # from 1
    row: int | None = None  # from 1, in a JSON document, which may be one line

    def __str__(self) -> str:
        return f"{self.file}:{self.line}" + (f" (row {self.row})" if self.row else "")


@dataclass(frozen=True)
class Unreadable:
    """Something in the place of a row that cannot be read as one."""

    reason: str
    raw: str = ""  # the beginning of its text


def as_row(value: object, text: str) -> Row | Unreadable:
    """`value` as a row without its null columns; `text` is kept where it is not a row."""
    if not isinstance(value, dict):
        return Unreadable(f"a {type(value).__name__} where a row {{...}} is expected", text[:200])
    try:
        json.dumps(value, ensure_ascii=False, default=str).encode("utf-8")
    except UnicodeEncodeError:
        # Bytes that were not UTF-8, or "\ud83d" alone in JSON: no tokenizer can take it.
        return Unreadable("invalid UTF-8: a text contains half a character", ascii(text[:200]))
    return {key: content for key, content in value.items() if content is not None}


def too_long(size: int, start: bytes = b"") -> Unreadable:
    """The finding for a row of `size` bytes."""
    limit = f"the limit is {MAX_ROW_BYTES / 1e6:.0f} MB"
    reason = f"the row is {size / 1e6:.0f} MB long, {limit}"
    return Unreadable(reason, start.decode("utf-8", "replace"))


def reject_constant(name: str) -> None:
    """Raise for NaN and Infinity, which are not JSON; for `parse_constant`."""
    raise ValueError(f"{name} is not a JSON number")


def reject_utf16(start: bytes, file: str) -> None:
    """Raise for UTF-16, in which spreadsheets save "Unicode text".

    Raises:
        DataError: `start`, the file's first bytes, is a UTF-16 byte order mark.
    """
    if start.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise DataError(
            f"{file} is UTF-16; save it as UTF-8 (in a spreadsheet: CSV UTF-8).",
            code="unreadable-file",
        )
