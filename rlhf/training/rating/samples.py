"""samples/ of a reward model of verdicts or ratings: held-out responses, for people to read."""

import json
import random
from collections.abc import Sequence
from pathlib import Path

from torch import Tensor

from rlhf.data.tokenization.thoughts import split_thought
from rlhf.manifest import write_atomically
from rlhf.models.axes import Axis
from rlhf.types import RatedResponse


def write_rated_samples(
    folder: Path,
    rows: Sequence[RatedResponse],
    predicted: Tensor,
    losses: Tensor,
    axes: Sequence[Axis],
    *,
    is_outcome: bool,
    count: int,
    seed: int,
) -> None:
    """Write `folder/samples/{best,worst,random}.jsonl`, one held-out response per line.

    {"prompt", "answers": {"correct 1": {"text", "thought"?, "scores": {axis: prediction}}}}; the
    name of the response has its labels. Best and worst are by the loss. A prediction is in the
    units of the ratings; of a verdict it is the probability of being correct.

    Args:
        folder: the run folder.
        rows: held-out responses; may be none.
        predicted: outputs of the heads, float [N, A].
        losses: float [N], of each response.
        axes: of the heads.
        is_outcome: whether the axis is a verdict.
        count: responses of each file.
        seed: draws the random ones.
    """
    if not rows or not count:
        return
    values = predicted.sigmoid() if is_outcome else predicted
    order: list[int] = losses.argsort(stable=True).tolist()
    picks = {
        "best": order[:count],
        "worst": order[::-1][:count],
        "random": random.Random(seed).sample(range(len(rows)), min(count, len(rows))),
    }
    for name, chosen in picks.items():
        lines = [_line(rows[index], values[index].tolist(), axes) for index in chosen]
        write_atomically(folder / "samples" / f"{name}.jsonl", "".join(lines))


def _line(row: RatedResponse, values: Sequence[float], axes: Sequence[Axis]) -> str:
    label = ", ".join(f"{axis} {rating:g}" for axis, rating in row.ratings.items())
    thought, text = split_thought(row.completion)
    scores = {
        axis.name: axis.mean + axis.std * value for axis, value in zip(axes, values, strict=True)
    }
    response = {"text": text, **({"thought": thought} if thought else {}), "scores": scores}
    return (
        json.dumps({"prompt": row.prompt, "answers": {label: response}}, ensure_ascii=False) + "\n"
    )
