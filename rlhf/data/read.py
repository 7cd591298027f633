"""Rows of a file or hub data set as they are, each with its place. What is broken is a finding."""

import csv
import gzip
import io
import json
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

from rlhf.errors import DataError
from rlhf.manifest import hash_file, hash_text

MAX_ROW_BYTES = 8 << 20  # no chat is that long: a file with its newlines lost looks like this
SUFFIXES = (".jsonl", ".json", ".csv", ".parquet")
# Cells of a CSV file are text; in these columns they hold JSON.
JSON_COLUMNS = ("messages", "responses", "ranks", "strength")
# Metadata of a Parquet file's schema: a JSON list of its columns that hold JSON as text.
JSON_COLUMNS_KEY = b"rlhf.json_columns"

Row = dict[str, Any]


@dataclass(frozen=True)
class Where:
    """The place of a row: file:line (for Parquet and hub sets the number of the row)."""

    file: str
    line: int  # from 1
    row: int | None = None  # from 1, in a .json array, which may be one line

    def __str__(self) -> str:
        return f"{self.file}:{self.line}" + (f" (row {self.row})" if self.row else "")


@dataclass(frozen=True)
class Unreadable:
    """A row that is there but is not a row."""

    reason: str
    raw: str = ""  # the beginning of its text


def read_rows(source: str) -> Iterator[tuple[Where, Row | Unreadable]]:
    """Every row of a local .jsonl, .json, .csv (each also .gz) or .parquet, or of `hub_id[:split]`.

    One row is held at a time (a .json array is held whole). Columns that are null are left out.

    Raises:
        DataError: no such file, a kind of file that is not known, an archive that is damaged.
    """
    path = Path(source)
    try:
        if not _is_local(path):
            yield from _read_hub(source)
        elif _suffix(path) == ".parquet":
            yield from _read_parquet(path)
        else:
            with _open(path) as file:
                yield from _read_text(path, file)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(f"{path} is a damaged archive ({error}); fetch or pack it again.") from None
    except csv.Error as error:
        raise DataError(f"{path} is no CSV file that can be read: {error}.") from None
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}.") from error


def source_sha256(source: str) -> str:
    """SHA-256 of a local file's bytes; of a hub set, of its rows as JSON lines."""
    path = Path(source)
    if path.is_file():
        return hash_file(path)
    lines = [hash_text(json.dumps(row, default=str)) for _, row in read_rows(source)]
    return hash_text("\n".join(lines))


def _is_local(path: Path) -> bool:
    """Whether the source is a file here.

    Raises:
        DataError: it is meant as a file and is not there, or is of an unknown kind.
    """
    if path.is_dir():
        raise DataError(f"{path} is a folder; name a file in it ({', '.join(SUFFIXES)}).")
    if path.is_file():
        if _suffix(path) not in SUFFIXES:
            raise DataError(f"{path}: rows are read from {', '.join(SUFFIXES)} (.gz too).")
        return True
    if _suffix(path) in SUFFIXES or str(path).startswith(("/", ".", "~")):
        raise DataError(f"{path} is not there; check the path (it counts from {Path.cwd()}).")
    return False


def _suffix(path: Path) -> str:
    return Path(path.name.removesuffix(".gz")).suffix


def _open(path: Path) -> BinaryIO:
    return cast(BinaryIO, gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb"))


def _read_text(path: Path, file: BinaryIO) -> Iterator[tuple[Where, Row | Unreadable]]:
    if _suffix(path) == ".csv":
        yield from _read_csv(path, file)
    elif _suffix(path) == ".json" and _starts_array(file):
        yield from _read_array(path, file)
    else:
        yield from _read_lines(path, file)


def _starts_array(file: BinaryIO) -> bool:
    start = file.read(1 << 16).removeprefix(b"\xef\xbb\xbf").lstrip()[:1]
    file.seek(0)
    return start == b"["


def _read_lines(path: Path, file: BinaryIO) -> Iterator[tuple[Where, Row | Unreadable]]:
    number = 0
    while line := file.readline(MAX_ROW_BYTES + 1):
        number += 1
        where = Where(str(path), number)
        if len(line) > MAX_ROW_BYTES:
            yield where, _too_long(_skip_line(file, line), line[:200])
            continue
        if number == 1:
            line = line.removeprefix(b"\xef\xbb\xbf")
        if line.strip():
            yield where, _row_of_line(line)


def _skip_line(file: BinaryIO, line: bytes) -> int:
    """Bytes of the line that began with `line`, after reading past its end."""
    size = len(line)
    while line and not line.endswith(b"\n"):
        line = file.readline(MAX_ROW_BYTES)
        size += len(line)
    return size


def _too_long(size: int, start: bytes) -> Unreadable:
    limit = f"{MAX_ROW_BYTES / 1e6:.0f} MB is the limit"
    reason = f"the row is {size / 1e6:.0f} MB long, {limit}"
    return Unreadable(reason, start.decode("utf-8", "replace"))


def _row_of_line(line: bytes) -> Row | Unreadable:
    try:
        text = line.decode("utf-8")
    except UnicodeDecodeError as error:
        reason = f"invalid UTF-8: byte 0x{line[error.start]:02x} at column {error.start + 1}"
        return Unreadable(reason, line[:200].decode("utf-8", "replace"))
    try:
        return _as_row(json.loads(text.rstrip("\r\n"), parse_constant=_refuse_constant), text)
    except (ValueError, RecursionError) as error:
        return Unreadable(f"not JSON: {error}", text[:200])


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON number")


def _as_row(value: Any, text: str) -> Row | Unreadable:
    if not isinstance(value, dict):
        return Unreadable(f"a {type(value).__name__} where a row {{...}} is expected", text[:200])
    try:
        json.dumps(value, ensure_ascii=False, default=str).encode("utf-8")
    except UnicodeEncodeError:
        # Bytes that were no UTF-8, or "\ud83d" alone in JSON: no tokenizer can take it.
        return Unreadable("invalid UTF-8: a text holds half of a character", ascii(text[:200]))
    return {key: content for key, content in value.items() if content is not None}


def _read_array(path: Path, file: BinaryIO) -> Iterator[tuple[Where, Row | Unreadable]]:
    text = file.read().decode("utf-8-sig", "surrogateescape")
    decoder = json.JSONDecoder(parse_constant=_refuse_constant)
    at, line = _past_space(text, text.index("[") + 1), 1
    seen = number = 0
    while not text.startswith("]", at):
        line, seen = line + text.count("\n", seen, at), at
        number += 1
        where = Where(str(path), line, number)
        try:
            value, end = decoder.raw_decode(text, at)
        except (ValueError, RecursionError) as error:
            # Where the broken row ends is unknown, so nothing after it can be trusted.
            raise DataError(f"{where} not JSON: {error}; correct it or write JSONL.") from None
        size = end - at
        raw = text[at:end]
        yield where, _as_row(value, raw) if size <= MAX_ROW_BYTES else _too_long(size, b"")
        at = _past_space(text, end)
        if text.startswith(",", at):
            at = _past_space(text, at + 1)
        elif not text.startswith("]", at):
            raise DataError(
                f"{where} is followed by neither `,` nor `]`: the array is cut off or damaged; "
                "fetch it again, correct it or write JSONL."
            )
    if text[at + 1 :].strip():
        raise DataError(f"{path} goes on after its array's `]`; correct it or write JSONL.")


def _past_space(text: str, at: int) -> int:
    while at < len(text) and text[at] in " \t\r\n":
        at += 1
    return at


def _read_csv(path: Path, file: BinaryIO) -> Iterator[tuple[Where, Row | Unreadable]]:
    csv.field_size_limit(1 << 30)  # the size is checked below, with a line number
    text = io.TextIOWrapper(file, "utf-8-sig", "surrogateescape", newline="")
    reader = csv.DictReader(text)
    columns = reader.fieldnames or []
    line = reader.line_num + 1
    for cells in reader:
        where, line = Where(str(path), line), reader.line_num + 1
        yield where, _row_of_cells(cells, len(columns))


def _row_of_cells(cells: dict[Any, Any], columns: int) -> Row | Unreadable:
    raw = str(cells)
    if None in cells or None in cells.values():
        return Unreadable(f"not {columns} cells, as the header has", raw[:200])
    if len(raw) > MAX_ROW_BYTES:
        return _too_long(len(raw), b"")
    try:
        decoded = {k: json.loads(v) if k in JSON_COLUMNS and v else v for k, v in cells.items()}
    except (ValueError, RecursionError) as error:
        return Unreadable(f"a cell of {', '.join(JSON_COLUMNS)} is not JSON: {error}", raw[:200])
    return _as_row(decoded, raw)


def _read_parquet(path: Path) -> Iterator[tuple[Where, Row | Unreadable]]:
    import pyarrow  # type: ignore[import-untyped]
    from pyarrow import parquet

    number = 0
    try:
        file = parquet.ParquetFile(path)
        texts = _json_columns(file.schema_arrow.metadata or {})
        for batch in file.iter_batches(batch_size=256):
            for row in batch.to_pylist():
                number += 1
                yield Where(str(path), number), _row_with_texts(row, texts)
    except pyarrow.ArrowException as error:
        raise DataError(f"{path} is no Parquet file that can be read: {error}") from error


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
    return _as_row({**row, **decoded}, "")


def _read_hub(source: str) -> Iterator[tuple[Where, Row | Unreadable]]:
    import datasets

    name, _, split = source.partition(":")
    try:
        rows = datasets.load_dataset(name, split=split or "train")
    except Exception as error:  # the hub client raises a dozen kinds; all mean the same here
        raise DataError(
            f"{source} is neither a file here nor a data set the hub would give "
            f"({type(error).__name__}); check the path, the id and the network."
        ) from error
    for number, row in enumerate(rows, start=1):
        yield Where(source, number), _as_row(dict(row), "")
