"""samples/ of a reward model: held-out rankings with their rewards, for people to read."""

import json
import random
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from rlhf.data.tokenization.thoughts import split_thought
from rlhf.data.tokenization.tokenizer import ChatTokenizer
from rlhf.manifest import write_atomically
from rlhf.models.scorer import Scorer, score_ids
from rlhf.ops.ranking import ranking_loss
from rlhf.training.reward.data import flatten, tokenize
from rlhf.training.reward.metrics import CHUNK, Normalization
from rlhf.types import Ranking


def write_ranked_samples(
    folder: Path,
    scorer: Scorer,
    chat: ChatTokenizer,
    rows: Sequence[Ranking],
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
        scorer: the trained model.
        chat: its tokenizer.
        rows: held-out rankings; may be none.
        scale: normalises the rewards.
        count: rankings of each file.
        seed: draws the random ones.
    """
    if not rows or not count:
        return
    parts = [_scored(scorer, chat, rows[i : i + CHUNK]) for i in range(0, len(rows), CHUNK)]
    scores, losses = torch.cat([s for s, _ in parts]), torch.cat([x for _, x in parts]).tolist()
    rewards = torch.split((scores - scale.mean) / scale.std, [len(row.ranks) for row in rows])
    order = sorted(range(len(rows)), key=lambda index: losses[index])
    picks = {
        "best": order[:count],
        "worst": order[::-1][:count],
        "random": random.Random(seed).sample(range(len(rows)), min(count, len(rows))),
    }
    for name, chosen in picks.items():
        lines = [_line(rows[index], rewards[index].tolist()) for index in chosen]
        write_atomically(folder / "samples" / f"{name}.jsonl", "".join(lines))


def _scored(scorer: Scorer, chat: ChatTokenizer, rows: Sequence[Ranking]) -> tuple[Tensor, Tensor]:
    """Raw scores of all responses [N], and each ranking's loss [G]."""
    flat = flatten(tokenize(chat, rows))
    scores = score_ids(scorer, flat.ids, chat.pad_token_id)[flat.index]
    return scores, ranking_loss(scores, flat.ranks, flat.group_ids)


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
