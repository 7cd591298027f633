"""Sources of rows, each with a weight: `a.jsonl`, `0.5*hub_id:split`, `2*b.parquet`."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from random import Random
from typing import TypeVar

from rlhf.data.files.memory import Data, RowsInMemory, source_name
from rlhf.errors import ConfigError

Item = TypeVar("Item")
_WEIGHTED = re.compile(r"([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)\*(.+)")


@dataclass(frozen=True)
class Source:
    """A file, a hub dataset or rows in memory, and how often each of its rows is used."""

    name: str
    weight: float = 1.0
    rows: RowsInMemory | None = field(default=None, compare=False, repr=False)

    @property
    def data(self) -> Data:
        """What `read_rows` reads: the rows in memory, else the file or hub set of this name."""
        return self.name if self.rows is None else self.rows

    def share(self, rows: Sequence[Item], seed: int) -> list[Item]:
        """All rows; with a weight below 1 that share of them, drawn by the seed, in file order."""
        return self._draw(rows, min(self.weight, 1.0), seed)

    def repeated(self, rows: Sequence[Item], seed: int) -> list[Item]:
        """Every row as often as its weight; 2.5 is each row twice and half of them once more."""
        if self.weight <= 1:
            return list(rows)
        rest, whole = math.modf(self.weight)
        extra = self._draw(rows, rest, seed) if rest else []
        return [*list(rows) * int(whole), *extra]

    def _draw(self, rows: Sequence[Item], share: float, seed: int) -> list[Item]:
        count = max(round(share * len(rows)), 1) if rows else 0
        if count == len(rows):
            return list(rows)
        places = Random(f"{seed} {self.name}").sample(range(len(rows)), count)
        return [rows[place] for place in sorted(places)]


def listed(texts: str | Sequence[str]) -> list[str]:
    """A list of sources; one source alone is a list of one."""
    return [texts] if isinstance(texts, str) else list(texts)


def split_weight(text: str) -> tuple[float, str]:
    """(weight, source) of `WEIGHT*SOURCE`; the weight is 1.0 where it is left out."""
    match = _WEIGHTED.fullmatch(text)
    return (float(match.group(1)), match.group(2)) if match else (1.0, text)


def parse_source(text: str) -> Source:
    """The source of `WEIGHT*SOURCE`, or of a source alone; an existing file is always a source."""
    weight, name = split_weight(text)
    return Source(text) if Path(text).is_file() else Source(name, weight)


def source_of(data: Data) -> Source:
    """`data` as a source of weight 1: a file or hub set by its name, or rows in memory."""
    rows = None if isinstance(data, str | PathLike) else data
    return Source(source_name(data), rows=rows)


def parse_sources(
    texts: str | Sequence[str] | None, key: str, *, repeats: bool = True
) -> list[Source]:
    """The sources of a configuration's key, one or a list; none for None.

    Raises:
        ConfigError: an empty list, a repeated source, a weight that is not above 0, or one above
            1 without `repeats`.
    """
    if texts is None:
        return []
    sources = [parse_source(text) for text in listed(texts)]
    names = [source.name for source in sources]
    if not names:
        raise ConfigError(
            f"{key} is an empty list; name a file or a hub dataset, or leave the key out.",
            code="bad-value",
        )
    for source in sources:
        if not 0 < source.weight < math.inf:
            raise ConfigError(
                f"{key}: a weight of {source.weight:g} for {source.name} uses none of its rows; "
                "give one above 0, or leave the source out.",
                code="bad-value",
            )
        if source.weight > 1 and not repeats:
            raise ConfigError(
                f"{key}: a weight of {source.weight:g} would count rows of {source.name} several "
                "times in every metric; give 1 or less.",
                code="bad-value",
            )
        if names.count(source.name) > 1:
            raise ConfigError(
                f"{key} names {source.name} twice; write WEIGHT*{source.name} once.",
                code="repeated-key",
            )
    return sources


def list_sources(config: object) -> None:
    """Make `train_data` and `eval_data` of a configuration lists where they are one source."""
    for key in ("train_data", "eval_data"):
        if isinstance(source := getattr(config, key), str | PathLike):
            object.__setattr__(config, key, [str(source)])  # its dataclass is frozen


def check_sources(train_data: Sequence[str], eval_data: Sequence[str] | None) -> None:
    """Check these keys of a configuration.

    Raises:
        ConfigError: see `parse_sources`; an eval_data source cannot have a weight above 1.
    """
    parse_sources(train_data, "train_data")
    parse_sources(eval_data, "eval_data", repeats=False)
