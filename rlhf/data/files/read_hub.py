"""Rows of a data set of the Hugging Face hub: by its name, or by the path of one of its files."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO, cast

from rlhf.data.files.raw import Row, Unreadable, Where, as_row
from rlhf.data.files.read_parquet import without_nulls
from rlhf.errors import DataError

HUB_PATH = "hf://"
NAMES = "name[:config][:split][@revision]"
_PART = r"[^:@\[\]]+(?:\[[^\]]*\])?"  # a split may be a slice, train[:100]
_NAME = re.compile(rf"([^:@]+)(?::({_PART}))?(?::({_PART}))?(?:@([^@]+))?")


@dataclass(frozen=True)
class HubName:
    """What a source names; `part` is a split, or a configuration where no split is named so."""

    name: str
    part: str = ""
    split: str = ""  # given with a configuration, which `part` is then
    revision: str = ""


def hub_name(source: str) -> HubName:
    """The parts of `name[:config][:split][@revision]`.

    Raises:
        DataError: another form.
    """
    match = _NAME.fullmatch(source)
    if match is None:
        raise DataError(f"{source} is no file here and no name of a data set ({NAMES}).")
    return HubName(*(part or "" for part in match.groups()))


def read_hub(source: str) -> Iterator[tuple[Where, Row | Unreadable]]:
    """Every row of a data set; without a split those of `train`.

    Raises:
        DataError: what the library says of a name, configuration, split or revision it has not.
    """
    for number, row in enumerate(_load(source, hub_name(source)), start=1):
        yield Where(source, number), as_row(without_nulls(dict(row)), "")


def open_hub_file(source: str) -> BinaryIO:
    """The file at `hf://datasets/ORG/NAME/PATH`, or at `hf://datasets/ORG/NAME@REVISION/PATH`.

    Raises:
        DataError: there is none, or the hub does not give it.
    """
    import fsspec  # type: ignore[import-untyped]

    try:
        return cast(BinaryIO, fsspec.open(source, "rb").open())
    except Exception as error:
        raise _refusal(source, error) from error


def _load(source: str, wanted: HubName) -> Any:
    import datasets

    revision = {"revision": wanted.revision} if wanted.revision else {}
    try:
        if wanted.split:
            return datasets.load_dataset(wanted.name, wanted.part, split=wanted.split, **revision)
        try:
            return datasets.load_dataset(wanted.name, split=wanted.part or "train", **revision)
        except ValueError as error:  # no such split, or a configuration has to be named
            if not wanted.part:
                raise
            try:
                return datasets.load_dataset(wanted.name, wanted.part, split="train", **revision)
            except ValueError:
                raise error from None
    except Exception as error:  # the hub client raises a dozen kinds; all mean the same here
        raise _refusal(source, error) from error


def _refusal(source: str, error: Exception) -> DataError:
    said = " ".join(str(error).split())
    return DataError(
        f"{source} is neither a file here nor a data set the hub would give "
        f"({type(error).__name__}: {said[:300]}); check the name ({NAMES}) and the network."
    )
