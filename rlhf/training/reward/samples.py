"""samples/ of a reward model: held-out rankings with their rewards, for people to read."""

import json
import random
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from rlhf.data.tokenization.thoughts import split_thought
from rlhf.manifest import write_atomically
from rlhf.ops.ranking import soft_ranking_loss
from rlhf.training.reward.data import preferred_of
from rlhf.training.reward.metrics import Normalization
from rlhf.types import Ranking


def write_ranked_samples(
    folder: Path,
    rows: Sequence[Ranking],
    scores: Sequence[Tensor],
    scale: Normalization,
    *,
    count: int,
    seed: int,
) -> None:
    """Write `folder/samples/{best,worst,random}.jsonl`, one held-out prompt per line.

    {"prompt", "answers": {"rank 1, answer 3": {"text", "thought"?, "scores": {"reward"}}, …}}, the
    best rank first. Best and worst are by the loss of the prompt's pairs.

    Args:
        folder: the run folder.
        rows: held-out rankings; may be none.
        scores: of each ranking's responses, float [K] raw logits.
        scale: normalises the rewards.
        count: rankings of each file.
        seed: draws the random ones.
    """
    if not rows or not count:
        return
    losses = [_loss(row, values) for row, values in zip(rows, scores, strict=True)]
    rewards = [(values - scale.mean) / scale.std for values in scores]
    order = sorted(range(len(rows)), key=lambda index: losses[index])
    picks = {
        "best": order[:count],
        "worst": order[::-1][:count],
        "random": random.Random(seed).sample(range(len(rows)), min(count, len(rows))),
    }
    for name, chosen in picks.items():
        lines = [_line(rows[index], rewards[index].tolist()) for index in chosen]
        write_atomically(folder / "samples" / f"{name}.jsonl", "".join(lines))


def _loss(row: Ranking, scores: Tensor) -> float:
    """The Bradley-Terry loss of the pairs of a ranking; 0 without any."""
    group = torch.zeros(len(row.ranks), dtype=torch.long)
    return float(soft_ranking_loss(scores, preferred_of(row.ranks, row.probabilities), group))


def _text(response: str) -> dict[str, str]:
    thought, text = split_thought(response)
    return {"text": text, **({"thought": thought} if thought else {})}


def _line(row: Ranking, rewards: Sequence[float]) -> str:
    order = sorted(range(len(row.ranks)), key=lambda index: row.ranks[index])
    responses = {
        f"rank {row.ranks[index]}, answer {index + 1}": {
            **_text(row.responses[index]),
            "scores": {"reward": rewards[index]},
        }
        for index in order
    }
    return json.dumps({"prompt": row.prompt, "answers": responses}, ensure_ascii=False) + "\n"
