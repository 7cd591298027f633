"""Rows to train on and held-out rows: of the same sources, split by prompt, or of others."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Generic, Protocol, TypeVar

from rlhf.data.config import DataConfig
from rlhf.data.files.read import Data
from rlhf.data.rows.bad_rows import BadRows
from rlhf.data.rows.load import Loaded
from rlhf.data.rows.mix import load_sources
from rlhf.data.rows.sources import Source, parse_sources, source_of
from rlhf.data.rows.split import group_key, split_by_key
from rlhf.data.tokenization.tokenizer import ChatTokenizer
from rlhf.manifest import DataUse
from rlhf.types import Demonstration, PromptRow, Ranking, RatedResponse, SFTRow, Thumb

T = TypeVar("T", Demonstration, Ranking, RatedResponse, Thumb, SFTRow)
Row = TypeVar("Row", Demonstration, Ranking, RatedResponse, Thumb, PromptRow, SFTRow)


@dataclass(frozen=True, kw_only=True)
class TrainAndHeldOut(Generic[Row]):
    """The rows that a trainer reads and the rows that it is measured on."""

    train: Sequence[Row]
    held_out: Sequence[Row]  # those of a split share no prompt with `train`
    uses: Sequence[DataUse]  # for the manifest; those of `train` first
    origins: Sequence[int] = ()  # one per row of `train`, its place in `uses`


class PromptSources(Protocol):
    """The keys of a configuration that name sources of prompts."""

    @property
    def train_data(self) -> Sequence[str]: ...

    @property
    def eval_data(self) -> Sequence[str] | None: ...


def load_train_and_held_out(
    load: Callable[..., Loaded[T]],
    data: DataConfig,
    chat: ChatTokenizer,
    bad_rows: BadRows,
    *,
    seed: int,
    train: Data | None = None,
    held_out: Data | None = None,
) -> TrainAndHeldOut[T]:
    """Demonstrations, rankings or rows of SFT to train on, and held-out ones.

    Without held-out data, the training data is split by prompt, and plain texts by their words. A
    source with a weight below 1 gives that share of its rows, before the split; one above 1 gives
    its training rows several times, and its held-out rows once.

    Args:
        load: `load_demonstrations`, `load_rankings` or `load_sft_rows`, with further arguments
            bound.
        data: the keys train_data, eval_data, eval_fraction and max_length.
        chat: the tokenizer that lengths are counted with.
        bad_rows: collects the bad rows of all sources.
        seed: draws shares and the split.
        train: one file, hub set or rows in memory, instead of train_data.
        held_out: the same, instead of eval_data.

    Raises:
        DataError: a source that cannot be read or has no usable row.
    """

    def read(source: Data, role: str) -> Loaded[T]:
        return load(source, role=role, chat=chat, max_length=data.max_length, bad_rows=bad_rows)

    sources = _sources(train, data.train_data, "train_data")
    loaded = [read(source.data, "train") for source in sources]
    rows = [
        (place, row)
        for place, (source, each) in enumerate(zip(sources, loaded, strict=True))
        for row in source.share(each.rows, seed)
    ]
    held_out_rows: list[T]
    held_out_uses: list[DataUse]
    held_out_sources = _sources(held_out, data.eval_data, "eval_data", repeats=False)
    if held_out_sources:
        held_out_rows, held_out_uses = load_sources(
            lambda source: read(source, "eval"), held_out_sources, seed
        )
        train_rows = rows
    else:
        keys = [group_key(row) for _, row in rows]
        train_rows, rest = split_by_key(rows, keys, data.eval_fraction, seed)
        held_out_rows = [row for _, row in rest]
        held_out_uses = _uses_of_split(rest, sources, loaded)
    repeated = _repeated(train_rows, sources, seed)
    uses: list[DataUse] = [
        replace(each.use, rows=_count(repeated, place), weight=source.weight)
        for place, (source, each) in enumerate(zip(sources, loaded, strict=True))
    ]
    return TrainAndHeldOut(
        train=[row for _, row in repeated],
        held_out=held_out_rows,
        uses=[*uses, *held_out_uses],
        origins=[place for place, _ in repeated],
    )


def load_train_and_held_out_prompts(
    load: Callable[..., Loaded[PromptRow]],
    config: PromptSources,
    *,
    seed: int,
    train: Data | None = None,
    held_out: Data | None = None,
) -> TrainAndHeldOut[PromptRow]:
    """Prompts to train on, and held-out prompts, which are none without a source of them.

    Args:
        load: `load_prompts` with the tokenizer, lengths and `bad_rows` bound.
        config: the keys train_data and eval_data.
        seed: draws the shares of sources with a weight below 1.
        train: one file, hub set or rows in memory, instead of train_data.
        held_out: the same, instead of eval_data.

    Raises:
        DataError: a source that cannot be read or has no usable row.
    """
    sources = _sources(train, config.train_data, "train_data")
    held_out_sources = _sources(held_out, config.eval_data, "eval_data", repeats=False)
    rows, uses = load_sources(lambda source: load(source, role="prompts"), sources, seed)
    held_out_rows, held_out_uses = load_sources(
        lambda source: load(source, role="eval"), held_out_sources, seed
    )
    return TrainAndHeldOut(train=rows, held_out=held_out_rows, uses=[*uses, *held_out_uses])


def _sources(
    data: Data | None, texts: Sequence[str] | None, key: str, *, repeats: bool = True
) -> list[Source]:
    """`data` alone where it is not None, else the sources that the configuration's key names."""
    return parse_sources(texts, key, repeats=repeats) if data is None else [source_of(data)]


def _repeated(
    rows: Sequence[tuple[int, T]], sources: Sequence[Source], seed: int
) -> list[tuple[int, T]]:
    """The training rows, each as often as the weight of its source."""
    return [
        row
        for place, source in enumerate(sources)
        for row in source.repeated([row for row in rows if row[0] == place], seed)
    ]


def _uses_of_split(
    rest: Sequence[tuple[int, T]], sources: Sequence[Source], loaded: Sequence[Loaded[T]]
) -> list[DataUse]:
    """The uses of the held-out rows of a split, one for each source that has any."""
    uses = [
        replace(
            each.use,
            role="eval",
            rows=_count(rest, place),
            dropped=0,
            weight=min(source.weight, 1.0),
        )
        for place, (source, each) in enumerate(zip(sources, loaded, strict=True))
    ]
    return [use for use in uses if use.rows]


def _count(rows: Sequence[tuple[int, T]], place: int) -> int:
    return sum(origin == place for origin, _ in rows)
