"""Rows of files, hub sets and memory, each with its place; broken ones come as `Unreadable`."""

import csv
import gzip
import json
import zlib
from collections.abc import Iterator
from os import PathLike
from pathlib import Path
from typing import BinaryIO, cast

from rlhf.data.files.memory import Data as Data
from rlhf.data.files.memory import read_memory
from rlhf.data.files.memory import source_name as source_name
from rlhf.data.files.raw import Row as Row
from rlhf.data.files.raw import Unreadable as Unreadable
from rlhf.data.files.raw import Where as Where
from rlhf.data.files.read_csv import read_csv
from rlhf.data.files.read_hub import HUB_PATH, open_hub_file, read_hub
from rlhf.data.files.read_json import read_json
from rlhf.data.files.read_parquet import read_parquet
from rlhf.errors import DataError
from rlhf.manifest import hash_file, hash_stream, hash_text

SUFFIXES = (".jsonl", ".json", ".csv", ".tsv", ".parquet")


def read_rows(source: Data) -> Iterator[tuple[Where, Row | Unreadable]]:
    """Every row of a file, of a hub set or of rows in memory, each with its place.

    A file is a local .jsonl, .json, .csv, .tsv (each also .gz) or .parquet. A hub set is
    `name[:config][:split][@revision]`, or the path of one of its files,
    `hf://datasets/ORG/NAME/PATH`. Of files one row is held at a time (a JSON document is held
    whole). Columns that are null are left out, and so are null keys in the structs of columns.
    See `read_memory` for rows in memory.

    Raises:
        DataError: the file does not exist, is of an unknown kind or is a damaged archive; rows in
            memory are of an unknown type.
    """
    if isinstance(source, str | PathLike):
        yield from _read_named(str(source))
    else:
        yield from read_memory(source)


def source_sha256(source: Data) -> str:
    """SHA-256 of a file's bytes; of a hub set, of its rows; of rows in memory, of their JSON lines.

    Rows in memory have the hash of the file that `json.dumps(row)` and a newline each would make.
    """
    if not isinstance(source, str | PathLike):
        lines = (json.dumps(row, default=str) + "\n" for _, row in read_memory(source))
        return hash_text("".join(lines))
    path = Path(source)
    if path.is_file():
        return hash_file(path)
    if str(source).startswith(HUB_PATH):
        with open_hub_file(str(source)) as file:
            return hash_stream(file)
    hashes = [hash_text(json.dumps(row, default=str)) for _, row in read_rows(source)]
    return hash_text("\n".join(hashes))


def _read_named(source: str) -> Iterator[tuple[Where, Row | Unreadable]]:
    try:
        if source.startswith(HUB_PATH):
            _check_suffix(source)
            with open_hub_file(source) as file:
                yield from _read_open(source, file)
        elif is_local(source):
            with Path(source).open("rb") as file:
                yield from _read_open(source, file)
        else:
            yield from read_hub(source)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        message = f"{source} is a damaged archive ({error}); fetch or pack it again."
        raise DataError(message, code="unreadable-file") from None
    except csv.Error as error:
        message = f"{source} cannot be read as CSV: {error}."
        raise DataError(message, code="unreadable-file") from None
    except OSError as error:
        message = f"{source} cannot be read: {error.strerror or error}."
        raise DataError(message, code="unreadable-file") from error


def is_local(source: str) -> bool:
    """Whether the source is a local file.

    Raises:
        DataError: it looks like a path but does not exist, or is of an unknown kind.
    """
    if source.startswith(HUB_PATH):
        return False
    path = Path(source)
    if path.is_dir():
        raise DataError(
            f"{path} is a folder; name a file in it ({', '.join(SUFFIXES)}).",
            code="unreadable-file",
        )
    if path.is_file():
        _check_suffix(str(path))
        return True
    if _suffix(str(path)) in SUFFIXES or str(path).startswith(("/", ".", "~")):
        raise DataError(
            f"{path} does not exist; check the path (it is relative to {Path.cwd()}).",
            code="missing-file",
        )
    return False


def files_of(source: str) -> list[str]:
    """The files with rows in a folder and the folders below it, by name; else the source alone.

    Raises:
        DataError: a folder without such a file.
    """
    folder = Path(source)
    if not folder.is_dir():
        return [source]
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    names = [str(path) for path in files if _suffix(path.name) in SUFFIXES and path.name[0] != "."]
    if not names:
        raise DataError(
            f"{source} has no file with rows ({', '.join(SUFFIXES)}).", code="missing-file"
        )
    return names


def _check_suffix(source: str) -> None:
    if _suffix(source) not in SUFFIXES:
        raise DataError(
            f"{source}: rows are read from {', '.join(SUFFIXES)} (.gz too).",
            code="unknown-format",
        )


def _suffix(source: str) -> str:
    return Path(Path(source).name.removesuffix(".gz")).suffix


def _read_open(source: str, file: BinaryIO) -> Iterator[tuple[Where, Row | Unreadable]]:
    if source.endswith(".gz"):
        file = cast(BinaryIO, gzip.GzipFile(fileobj=file))
    suffix = _suffix(source)
    if suffix == ".parquet":
        yield from read_parquet(source, file)
    elif suffix in (".csv", ".tsv"):
        yield from read_csv(source, file)
    else:
        yield from read_json(source, file, lines=suffix == ".jsonl")
