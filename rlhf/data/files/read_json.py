"""Rows of .jsonl and .json files: one per line, an array, below a key, or object after object."""

import json
from collections.abc import Generator, Iterator
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
from rlhf.errors import DataError

PlacedRow = tuple[Where, Row | Unreadable]

# An object with one of these keys is a row, whatever lists of objects it contains.
ROW_KEYS = frozenset(
    "text prompt completion completions messages chosen rejected response responses ranks "
    "conversations conversation instruction question context history individual_preference".split()
)
_BOM = b"\xef\xbb\xbf"
_DECODER = json.JSONDecoder(parse_constant=reject_constant)


def read_json(name: str, file: BinaryIO, *, lines: bool) -> Iterator[PlacedRow]:
    """Every row of a JSON or JSON Lines file; its beginning decides which of the two it is.

    Rows on lines of their own are read one at a time. An array, an object over several lines,
    objects one after another, and an object with the rows below a key are read whole.
    `lines` is True for a name that promises a row per line: an array on the first of several
    lines is then a broken row, and an object on one line a row.

    Raises:
        DataError: the document is damaged, or has rows below several keys.
    """
    file = as_utf8(file, name)
    document = _is_document(file, lines)
    file.seek(0)
    if document:
        yield from _read_document(name, file.read().decode("utf-8-sig", "surrogateescape"))
    else:
        yield from _read_lines(name, file)


def _is_document(file: BinaryIO, lines: bool) -> bool:
    """Whether the file is one JSON text, or several that each span lines."""
    first = next((line for line in _lines(file) if line.removeprefix(_BOM).strip()), b"")
    start = first.removeprefix(_BOM).lstrip()[:1]
    if start == b"[" and not lines:
        return True
    if start not in (b"[", b"{"):
        return False
    try:
        value = json.loads(first.decode("utf-8-sig"))
    except (ValueError, RecursionError):
        file.seek(0)
        return _begins_with_long_value(file.read().decode("utf-8-sig", "surrogateescape"))
    has_rows = isinstance(value, list) or (not lines and bool(_row_lists(value)))
    return has_rows and not any(line.strip() for line in _lines(file))


def _lines(file: BinaryIO) -> Iterator[bytes]:
    return iter(lambda: file.readline(raw.MAX_ROW_BYTES), b"")


def _begins_with_long_value(text: str) -> bool:
    """Whether the first JSON value spans lines, or has all rows on one very long line."""
    at = _past_space(text, 0)
    try:
        value, end = _DECODER.raw_decode(text, at)
    except (ValueError, RecursionError):
        return text.startswith("[", at) and _past_space(text, at + 1) > text.find("\n", at) > 0
    return "\n" in text[at:end] or isinstance(value, list) or bool(_row_lists(value))


def _read_lines(name: str, file: BinaryIO) -> Iterator[PlacedRow]:
    number = 0
    while line := file.readline(raw.MAX_ROW_BYTES + 1):
        number += 1
        where = Where(name, number)
        if len(line) > raw.MAX_ROW_BYTES:
            yield where, too_long(_skip_line(file, line), line[:200])
            continue
        if number == 1:
            line = line.removeprefix(_BOM)
        if line.strip():
            yield where, _row_of_line(line)


def _skip_line(file: BinaryIO, line: bytes) -> int:
    """Bytes of the line that began with `line`, after reading past its end."""
    size = len(line)
    while line and not line.endswith(b"\n"):
        line = file.readline(raw.MAX_ROW_BYTES)
        size += len(line)
    return size


def _row_of_line(line: bytes) -> Row | Unreadable:
    try:
        text = line.decode("utf-8")
    except UnicodeDecodeError as error:
        reason = f"invalid UTF-8: byte 0x{line[error.start]:02x} at column {error.start + 1}"
        return Unreadable(reason, line[:200].decode("utf-8", "replace"))
    try:
        return as_row(json.loads(text.rstrip("\r\n"), parse_constant=reject_constant), text)
    except (ValueError, RecursionError) as error:
        return Unreadable(f"not JSON: {error}", text[:200])


def _read_document(name: str, text: str) -> Iterator[PlacedRow]:
    at = _past_space(text, 0)
    if text.startswith("[", at):
        end = yield from _read_elements(name, text, at)
        if text[end:].strip():
            raise DataError(
                f"{name} has text after its array's `]`; correct it or write JSONL.",
                code="unreadable-file",
            )
        return
    number = 0
    while at < len(text):
        number += 1
        where = Where(name, 1 + text.count("\n", 0, at), number)
        value, end = _decoded(where, text, at)
        after = _past_space(text, end)
        if number == 1 and after == len(text) and isinstance(value, dict) and _row_lists(value):
            yield from _read_elements(name, text, _start_of(text, at, _only_list(name, value)))
            return
        yield where, _row_of_span(value, text, at, end)
        at = after


def _row_lists(value: object) -> list[str]:
    """The keys below which `value` has lists of rows; none where it is a row itself."""
    if not isinstance(value, dict) or value.keys() & ROW_KEYS:
        return []
    return [
        key
        for key, below in value.items()
        if isinstance(below, list) and below and all(isinstance(item, dict) for item in below)
    ]


def _only_list(name: str, value: Row) -> str:
    keys = _row_lists(value)
    if len(keys) > 1:
        raise DataError(
            f"{name} has rows below several keys ({', '.join(keys)}); write a file for each.",
            code="unknown-format",
        )
    return keys[0]


def _start_of(text: str, at: int, key: str) -> int:
    """Where the value of `key` begins in the object that begins at `at`."""
    at = _past_space(text, at + 1)
    while True:
        next_key, at = _DECODER.raw_decode(text, at)
        at = _past_space(text, _past_space(text, at) + 1)  # the colon
        if next_key == key:
            return at
        _, at = _DECODER.raw_decode(text, at)
        at = _past_space(text, _past_space(text, at) + 1)  # the comma


def _read_elements(name: str, text: str, at: int) -> Generator[PlacedRow, None, int]:
    """The rows of the array that begins at `at`; returns where the array ends."""
    at = _past_space(text, at + 1)
    line, counted, number = 1, 0, 0
    while not text.startswith("]", at):
        line, counted = line + text.count("\n", counted, at), at
        number += 1
        where = Where(name, line, number)
        value, end = _decoded(where, text, at)
        yield where, _row_of_span(value, text, at, end)
        at = _past_space(text, end)
        if text.startswith(",", at):
            at = _past_space(text, at + 1)
        elif not text.startswith("]", at):
            raise DataError(
                f"{where} is followed by neither `,` nor `]`: the array is cut off or damaged; "
                "fetch it again, correct it or write JSONL.",
                code="unreadable-file",
            )
    return at + 1


def _decoded(where: Where, text: str, at: int) -> tuple[object, int]:
    try:
        return _DECODER.raw_decode(text, at)
    except (ValueError, RecursionError) as error:
        # Where the broken row ends is unknown, so nothing after it can be trusted.
        message = f"{where} not JSON: {error}; correct it or write JSONL."
        raise DataError(message, code="unreadable-file") from None


def _row_of_span(value: object, text: str, at: int, end: int) -> Row | Unreadable:
    size = end - at
    return as_row(value, text[at:end]) if size <= raw.MAX_ROW_BYTES else too_long(size)


def _past_space(text: str, at: int) -> int:
    while at < len(text) and text[at] in " \t\r\n":
        at += 1
    return at
