"""Rows to train on and rows held out: of the same files, split by prompt, or of others."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

from rlhf.data.config import DataConfig
from rlhf.data.rows.bad_rows import BadRows
from rlhf.data.rows.load import Loaded
from rlhf.data.rows.mix import load_sources
from rlhf.data.rows.sources import Source, parse_sources
from rlhf.data.rows.split import group_key, split_by_key
from rlhf.data.tokenization.tokenizer import ChatTokenizer
from rlhf.manifest import DataUse
from rlhf.types import Demonstration, Ranking

T = TypeVar("T", Demonstration, Ranking)


@dataclass(frozen=True, kw_only=True)
class TrainAndHeldOut(Generic[T]):
    """What a trainer reads and is measured on."""

    train: Sequence[T]
    held_out: Sequence[T]  # without eval_data these share no prompt with `train`
    uses: Sequence[DataUse]  # for the manifest; those of `train` first
    origins: Sequence[int] = ()  # one per row of `train`, its place in `uses`


def load_train_and_held_out(
    load: Callable[..., Loaded[T]],
    data: DataConfig,
    chat: ChatTokenizer,
    bad_rows: BadRows,
    *,
    seed: int,
) -> TrainAndHeldOut[T]:
    """Rows of `train_data` and `eval_data`, or of `train_data` split by prompt.

    A source with a weight below 1 gives that share of its rows, before the split; one above 1
    gives its training rows several times, and its held-out rows once. `load` is
    `load_demonstrations` or `load_rankings`.

    Raises:
        DataError: a file that cannot be read or holds no row that can be used.
    """

    def read(name: str, role: str) -> Loaded[T]:
        return load(name, role=role, chat=chat, max_length=data.max_length, bad_rows=bad_rows)

    sources = parse_sources(data.train_data, "train_data")
    found = [read(source.name, "train") for source in sources]
    rows = [
        (place, row)
        for place, (source, loaded) in enumerate(zip(sources, found, strict=True))
        for row in source.share(loaded.rows, seed)
    ]
    held: list[T]
    held_uses: list[DataUse]
    held_sources = parse_sources(data.eval_data, "eval_data", repeats=False)
    if held_sources:
        held, held_uses = load_sources(lambda name: read(name, "eval"), held_sources, seed)
        train = rows
    else:
        keys = [group_key(row) for _, row in rows]
        train, rest = split_by_key(rows, keys, data.eval_fraction, seed)
        held = [row for _, row in rest]
        held_uses = _held_uses(rest, sources, found)
    repeated = _repeated(train, sources, seed)
    uses: list[DataUse] = [
        replace(loaded.use, rows=_count(repeated, place), weight=source.weight)
        for place, (source, loaded) in enumerate(zip(sources, found, strict=True))
    ]
    return TrainAndHeldOut(
        train=[row for _, row in repeated],
        held_out=held,
        uses=[*uses, *held_uses],
        origins=[place for place, _ in repeated],
    )


def _repeated(
    rows: Sequence[tuple[int, T]], sources: Sequence[Source], seed: int
) -> list[tuple[int, T]]:
    """The training rows, each as often as the weight of its source says."""
    return [
        row
        for place, source in enumerate(sources)
        for row in source.repeated([row for row in rows if row[0] == place], seed)
    ]


def _held_uses(
    rest: Sequence[tuple[int, T]], sources: Sequence[Source], found: Sequence[Loaded[T]]
) -> list[DataUse]:
    uses = [
        replace(
            loaded.use,
            role="eval",
            rows=_count(rest, place),
            dropped=0,
            weight=min(source.weight, 1.0),
        )
        for place, (source, loaded) in enumerate(zip(sources, found, strict=True))
    ]
    return [use for use in uses if use.rows]


def _count(rows: Sequence[tuple[int, T]], place: int) -> int:
    return sum(origin == place for origin, _ in rows)
