"""Rows to train on and rows held out: of one file, split by prompt, or of two."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

from rlhf.data.bad_rows import BadRows
from rlhf.data.config import DataConfig
from rlhf.data.rows import Loaded
from rlhf.data.split import split_by_prompt
from rlhf.data.tokenizer import ChatTokenizer
from rlhf.manifest import DataUse
from rlhf.types import Demonstration, Ranking

T = TypeVar("T", Demonstration, Ranking)


@dataclass(frozen=True, kw_only=True)
class TrainAndHeldOut(Generic[T]):
    """What a trainer reads and is measured on."""

    train: Sequence[T]
    held_out: Sequence[T]  # without eval_data these share no prompt with `train`
    uses: Sequence[DataUse]  # for the manifest


def load_train_and_held_out(
    load: Callable[..., Loaded[T]],
    data: DataConfig,
    chat: ChatTokenizer,
    bad_rows: BadRows,
    *,
    seed: int,
) -> TrainAndHeldOut[T]:
    """Rows of `train_data` and `eval_data`, or of `train_data` split by prompt.

    `load` is `load_demonstrations` or `load_rankings`.

    Raises:
        DataError: a file that cannot be read or holds no row that can be used.
    """

    def read(source: str, role: str) -> Loaded[T]:
        return load(source, role=role, chat=chat, max_length=data.max_length, bad_rows=bad_rows)

    found = read(data.train_data, "train")
    if data.eval_data is not None:
        held = read(data.eval_data, "eval")
        return TrainAndHeldOut(train=found.rows, held_out=held.rows, uses=[found.use, held.use])
    train, rest = split_by_prompt(found.rows, data.eval_fraction, seed)
    uses = [replace(found.use, rows=len(train))]
    if rest:
        uses.append(replace(found.use, role="eval", rows=len(rest), dropped=0))
    return TrainAndHeldOut(train=train, held_out=rest, uses=uses)
