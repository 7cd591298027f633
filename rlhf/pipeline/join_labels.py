"""Rankings of a round joined to those of all earlier rounds, each with its round and weight."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rlhf.data.rows.split import group_key, split_by_key
from rlhf.errors import DataError
from rlhf.manifest import write_atomically
from rlhf.pipeline.label_stage import HELD_OUT, TRAIN, write_rows
from rlhf.pipeline.rounds import FIRST
from rlhf.pipeline.stages import WEIGHT
from rlhf.runtime.printing import counted
from rlhf.types import Ranking

ROUND, COUNTS = "round", "counts.json"
MEASURED_WEIGHT = 0.5  # held-out rankings below it say little about the present taste

Row = Mapping[str, Any]  # a ranking, as in rankings_train.jsonl


@dataclass(frozen=True, kw_only=True)
class JoinedLabels:
    """Rankings of all rounds up to one."""

    train: Sequence[Row]
    held_out: Sequence[Row]
    new: int  # rankings of the last round
    repeated: int  # rankings of the last round that an earlier round has: left out


def join_labels(
    train: Sequence[Row],
    held_out: Sequence[Row],
    new: Sequence[Row],
    *,
    number: int,
    decay: float,
    fraction: float,
    seed: int,
) -> JoinedLabels:
    """The rankings of rounds 1 to `number`, with columns `round` and `weight`.

    The weight is decay^(rounds since). A prompt stays on the side of the split on which it was, and
    new prompts are split by `fraction`. Held-out rankings of a weight below 1/2 would measure the
    reward model by a taste that it is to forget; they are left out, unless there are no others.

    Args:
        train: rankings that the last round was trained on; without a column `round`, of round 1.
        held_out: its held-out rankings.
        new: rankings of this round.
        number: of this round.
        decay: weight of the round before.
        fraction: share of new prompts to hold out.
        seed: of the split.
    """
    fresh = _not_in(new, [*train, *held_out])
    held_out_keys = {_key(row) for row in held_out}
    train_keys = {_key(row) for row in train} - held_out_keys
    unseen = [row for row in fresh if _key(row) not in train_keys | held_out_keys]
    unseen_train, unseen_held_out = split_by_key(
        unseen, [_key(row) for row in unseen], fraction, seed
    )
    new_train = [row for row in fresh if _key(row) in train_keys] + unseen_train
    new_held_out = [row for row in fresh if _key(row) in held_out_keys] + unseen_held_out
    all_held_out = _weighted([*held_out, *_of_round(new_held_out, number)], number, decay)
    measured = [row for row in all_held_out if row[WEIGHT] >= MEASURED_WEIGHT]
    return JoinedLabels(
        train=_weighted([*train, *_of_round(new_train, number)], number, decay),
        held_out=measured or all_held_out,
        new=len(fresh),
        repeated=len(new) - len(fresh),
    )


def read_joined(folder: Path) -> tuple[list[Row], list[Row]]:
    """The rankings to train on and the held-out ones of a round's labels folder."""
    return read_ranking_rows(folder / TRAIN), read_ranking_rows(folder / HELD_OUT)


def read_ranking_rows(path: Path) -> list[Row]:
    """The rows of a file that this pipeline wrote."""
    # Not splitlines(): a text may contain U+2028, which ends a line there and not in JSON.
    lines = path.read_text(encoding="utf-8").split("\n")
    return [json.loads(line) for line in lines if line]


def write_joined(folder: Path, joined: JoinedLabels) -> None:
    """Write rankings_{train,heldout}.jsonl and counts.json.

    Raises:
        DataError: the round has no new ranking.
    """
    if not joined.new:
        raise DataError(
            f"{folder}: the round has no new rankings ({counted(joined.repeated, 'ranking')} of an "
            "earlier round came again); label more responses, or vote in a chat.",
            code="no-rows",
        )
    write_rows(folder / TRAIN, joined.train)
    write_rows(folder / HELD_OUT, joined.held_out)
    counts = {
        "train": len(joined.train),
        "held_out": len(joined.held_out),
        "new": joined.new,
        "repeated": joined.repeated,
    }
    write_atomically(folder / COUNTS, json.dumps(counts, indent=2) + "\n")


def _not_in(new: Sequence[Row], earlier: Sequence[Row]) -> list[Row]:
    """`new` without the rankings of an earlier round, which a cumulative file has again.

    Each earlier ranking takes away one: two unnamed annotators may agree.
    """
    left = Counter(map(_identity, earlier))
    fresh = []
    for row in new:
        if left[_identity(row)] > 0:
            left[_identity(row)] -= 1
        else:
            fresh.append(row)
    return fresh


def _of_round(rows: Sequence[Row], number: int) -> list[Row]:
    return [{**row, ROUND: number} for row in rows]


def _weighted(rows: Sequence[Row], number: int, decay: float) -> list[Row]:
    numbers = [int(row.get(ROUND, FIRST)) for row in rows]
    return [
        {**row, ROUND: of_row, WEIGHT: decay ** (number - of_row)}
        for row, of_row in zip(rows, numbers, strict=True)
    ]


def _identity(row: Row) -> str:
    """What makes two rankings the same one."""
    parts = [row["prompt"], list(row["responses"]), list(row["ranks"]), row.get("annotator", "")]
    return json.dumps(parts, ensure_ascii=False)


def _key(row: Row) -> str:
    """The prompt, by which rankings are split."""
    ranking = Ranking(prompt=row["prompt"], responses=row["responses"], ranks=row["ranks"])
    return group_key(ranking)
