"""A row as it was read, its place, and the reason where it is not a row."""

import io
import json
from dataclasses import dataclass
from typing import BinaryIO

from rlhf.errors import DataError

MAX_ROW_BYTES = 8 << 20  # no chat is that long: a file that lost its newlines looks like this

UTF_16 = (b"\xff\xfe", b"\xfe\xff")  # its byte order marks

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
        found = "null" if value is None else type(value).__name__
        return Unreadable(f"expected a row {{...}}, found {found}", text[:200])
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


def as_utf8(file: BinaryIO, name: str) -> BinaryIO:
    """The file from its beginning; one in UTF-16, such as a spreadsheet's "Unicode text", as UTF-8.

    Raises:
        DataError: the file begins as UTF-16 and is not.
    """
    start = file.read(2)
    file.seek(0)
    if start not in UTF_16:
        return file
    try:
        return io.BytesIO(file.read().decode("utf-16").encode())
    except UnicodeError as error:
        raise DataError(
            f"{name} begins as UTF-16 but is damaged ({error}); save it as UTF-8.",
            code="unreadable-file",
        ) from error
