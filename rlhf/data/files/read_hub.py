"""Rows of a dataset on the Hugging Face hub, by its name or by the path of one of its files."""

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
    """The parts of a source's name; `part` is a split, or else a configuration."""

    name: str
    part: str = ""
    split: str = ""  # where it is set, `part` is a configuration
    revision: str = ""


def hub_name(source: str) -> HubName:
    """The parts of `name[:config][:split][@revision]`.

    Raises:
        DataError: the source does not have this form.
    """
    match = _NAME.fullmatch(source)
    if match is None:
        raise DataError(
            f"{source} is neither a local file nor the name of a hub dataset ({NAMES}).",
            code="bad-hub-id",
        )
    return HubName(*(part or "" for part in match.groups()))


def read_hub(source: str) -> Iterator[tuple[Where, Row | Unreadable]]:
    """Every row of a dataset; the split is `train` where the source names none.

    Raises:
        DataError: the library's message for an unknown name, configuration, split or revision.
    """
    for number, row in enumerate(_load(source, hub_name(source)), start=1):
        yield Where(source, number), as_row(without_nulls(dict(row)), "")


def open_hub_file(source: str) -> BinaryIO:
    """The file at `hf://datasets/ORG/NAME/PATH`, or at `hf://datasets/ORG/NAME@REVISION/PATH`.

    Raises:
        DataError: it does not exist, or the hub does not allow access to it.
    """
    import fsspec  # type: ignore[import-untyped]

    try:
        return cast(BinaryIO, fsspec.open(source, "rb").open())
    except Exception as error:
        raise _load_error(source, error) from error


def _load(source: str, hub: HubName) -> Any:
    import datasets

    revision = {"revision": hub.revision} if hub.revision else {}
    try:
        if hub.split:
            return datasets.load_dataset(hub.name, hub.part, split=hub.split, **revision)
        try:
            return datasets.load_dataset(hub.name, split=hub.part or "train", **revision)
        except ValueError as error:  # no such split, or a configuration has to be named
            if not hub.part:
                raise
            try:
                return datasets.load_dataset(hub.name, hub.part, split="train", **revision)
            except ValueError:
                raise error from None
    except Exception as error:  # the hub client raises a dozen types that mean the same here
        raise _load_error(source, error) from error


def _load_error(source: str, error: Exception) -> DataError:
    message = " ".join(str(error).split())
    return DataError(
        f"{source} is not a local file and cannot be loaded from the hub "
        f"({type(error).__name__}: {message[:300]}); check the name ({NAMES}) and the network.",
        code="bad-hub-id",
    )
