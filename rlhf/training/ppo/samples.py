"""samples/tokens.jsonl and samples/embeddings.npz of a PPO run: for the report to draw."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rlhf.data.tokenization.tokenizer import ChatTokenizer
from rlhf.manifest import write_atomically
from rlhf.types import Rollouts, ScoredRollouts

TOKENS, EMBEDDINGS = "tokens.jsonl", "embeddings.npz"
ROWS_AT_ONCE = 8
DIGITS = 4


def write_tokens(
    folder: Path,
    evaluated: ScoredRollouts,
    advantages: Tensor | None,
    chat: ChatTokenizer,
    rows: Mapping[str, Sequence[int]],
    scores: Sequence[float],
) -> None:
    """Write `folder/samples/tokens.jsonl`: what each token of some answers was worth.

    One line an answer: {"prompt", "kind", "score", "tokens", "logprobs", "kl", "advantages",
    "values"}; kl is log(policy/reference) of the token, nats. Without `advantages` [B, R], where
    there is no critic, neither they nor values. rows: kind (best, worst, …) -> rows.
    """
    lines = [
        json.dumps(
            _line(evaluated, advantages, chat, row)
            | {"kind": kind, "score": round(scores[row], DIGITS)},
            ensure_ascii=False,
        )
        + "\n"
        for kind, chosen in rows.items()
        for row in chosen
    ]
    write_atomically(folder / "samples" / TOKENS, "".join(lines))


@torch.no_grad()
def write_embeddings(
    folder: Path, policy: Any, rollouts: Rollouts, scores: Sequence[float]
) -> None:
    """Write `folder/samples/embeddings.npz`: the policy's own view of its prompts.

    embeddings: float16 [B, D], mean of the last hidden states over a prompt's tokens. scores:
    float32 [B], of its answer. prompts: [B], their text.
    """
    batch = rollouts.batch
    parts = []
    for start in range(0, len(batch.prompts), ROWS_AT_ONCE):
        ids = batch.input_ids[start : start + ROWS_AT_ONCE]
        mask = batch.attention_mask[start : start + ROWS_AT_ONCE]
        states = policy(
            input_ids=ids,
            attention_mask=mask,
            position_ids=(mask.long().cumsum(1) - 1).clamp(min=0),
            output_hidden_states=True,
        ).hidden_states[-1]
        kept = torch.where(mask[..., None], states.float(), 0.0)
        parts.append((kept.sum(1) / mask.sum(1, keepdim=True)).cpu())
    path = folder / "samples" / EMBEDDINGS
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(
        path,
        embeddings=torch.cat(parts).numpy().astype(np.float16),
        scores=np.array(scores, dtype=np.float32),
        prompts=np.array([_text(prompt)[:200] for prompt in batch.prompts]),
    )


def _line(
    evaluated: ScoredRollouts, advantages: Tensor | None, chat: ChatTokenizer, row: int
) -> dict[str, Any]:
    rollouts = evaluated.rollouts
    mask = rollouts.response_mask[row]
    ids = rollouts.response_ids[row][mask].tolist()
    numbers = {
        "logprobs": rollouts.logprobs,
        "kl": rollouts.logprobs - evaluated.ref_logprobs,
    }
    if advantages is not None:
        numbers |= {"advantages": advantages, "values": evaluated.values}
    return {
        "prompt": rollouts.batch.prompts[row],
        "tokens": pieces(chat, ids),
        **{
            name: [round(value, DIGITS) for value in tensor[row][mask].tolist()]
            for name, tensor in numbers.items()
        },
    }


def pieces(chat: ChatTokenizer, ids: Sequence[int]) -> list[str]:
    """What each token adds to the text, its space too; control tokens by name.

    By itself a token loses the space before it in many tokenizers.
    """
    texts = [str(chat.tokenizer.decode(list(ids[:end]))) for end in range(len(ids) + 1)]
    return [
        after[len(before) :] if after.startswith(before) else str(chat.tokenizer.decode([token]))
        for before, after, token in zip(texts, texts[1:], ids, strict=False)
    ]


def _text(prompt: Any) -> str:
    return prompt if isinstance(prompt, str) else str(prompt[-1]["content"])
