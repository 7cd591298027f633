"""Rows of several sources as one sequence."""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TypeVar

from rlhf.data.files.read import Data
from rlhf.data.rows.load import Loaded
from rlhf.data.rows.sources import Source
from rlhf.manifest import DataUse
from rlhf.types import Demonstration, PromptRow, Ranking, RatedResponse, SFTRow, Thumb

T = TypeVar("T", Demonstration, PromptRow, Ranking, RatedResponse, Thumb, str, SFTRow)


def load_sources(
    load: Callable[[Data], Loaded[T]], sources: Sequence[Source], seed: int
) -> tuple[list[T], list[DataUse]]:
    """The rows of all sources by their weights, one of each in turn, and a use of each."""
    rows: list[list[T]] = []
    uses = []
    for source in sources:
        loaded = load(source.data)
        rows.append(source.repeated(source.share(loaded.rows, seed), seed))
        uses.append(replace(loaded.use, rows=len(rows[-1]), weight=source.weight))
    absent = object()
    in_turn = itertools.chain.from_iterable(itertools.zip_longest(*rows, fillvalue=absent))
    return [row for row in in_turn if row is not absent], uses  # type: ignore[misc]
