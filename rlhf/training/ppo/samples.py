"""samples/ of a PPO run: responses before and after, token values, embeddings of the prompts."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from peft import PeftModel
from torch import Tensor
from transformers import PreTrainedModel

from rlhf.data.tokenization.tokenizer import ChatTokenizer
from rlhf.manifest import write_atomically
from rlhf.types import Prompt, Rollouts, ScoredRollouts

TOKENS, EMBEDDINGS = "tokens.jsonl", "embeddings.npz"
ROWS_AT_ONCE = 8
DIGITS = 4


def write_tokens(
    folder: Path,
    scored: ScoredRollouts,
    advantages: Tensor | None,
    chat: ChatTokenizer,
    rows: Mapping[str, Sequence[int]],
    scores: Sequence[float],
) -> None:
    """Write `folder/samples/tokens.jsonl`: numbers for each token of some responses.

    One line per response: {"prompt", "kind", "score", "tokens", "logprobs", "kl", "advantages",
    "values"}; kl is log(policy/reference) of the token, in nats. Of an episode also "action_mask":
    the numbers of tokens that the model did not write are 0.

    Args:
        folder: the run folder.
        scored: rollouts.
        advantages: float [B, R]; None leaves advantages and values out.
        chat: decodes tokens.
        rows: kind (best, worst) -> rows.
        scores: B, of the responses.
    """
    lines = [
        json.dumps(
            _line(scored, advantages, chat, row)
            | {"kind": kind, "score": round(scores[row], DIGITS)},
            ensure_ascii=False,
        )
        + "\n"
        for kind, selected in rows.items()
        for row in selected
    ]
    write_atomically(folder / "samples" / TOKENS, "".join(lines))


@torch.no_grad()
def write_embeddings(
    folder: Path,
    policy: PreTrainedModel | PeftModel,
    rollouts: Rollouts,
    scores: Sequence[float],
) -> None:
    """Write `folder/samples/embeddings.npz`: where the policy's hidden states place its prompts.

    embeddings: float16 [B, D], mean of the last hidden states over a prompt's tokens. scores:
    float32 [B], of its response. prompts: [B], their text.
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
        masked = torch.where(mask[..., None], states.float(), 0.0)
        parts.append((masked.sum(1) / mask.sum(1, keepdim=True)).cpu())
    path = folder / "samples" / EMBEDDINGS
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(
        path,
        embeddings=torch.cat(parts).numpy().astype(np.float16),
        scores=np.array(scores, dtype=np.float32),
        prompts=np.array([_text(prompt)[:200] for prompt in batch.prompts]),
    )


def _line(
    scored: ScoredRollouts, advantages: Tensor | None, chat: ChatTokenizer, row: int
) -> dict[str, object]:
    rollouts = scored.rollouts
    mask = rollouts.response_mask[row]
    ids = rollouts.response_ids[row][mask].tolist()
    numbers = {
        "logprobs": rollouts.logprobs,
        "kl": rollouts.logprobs - scored.ref_logprobs,
    }
    if advantages is not None and scored.values is not None:
        numbers |= {"advantages": advantages, "values": scored.values}
    written = {}
    if rollouts.episodes is not None:
        written = {"action_mask": rollouts.action_mask[row][mask].tolist()}
    return {
        "prompt": rollouts.batch.prompts[row],
        "tokens": pieces(chat, ids),
        **written,
        **{
            name: [round(value, DIGITS) for value in tensor[row][mask].tolist()]
            for name, tensor in numbers.items()
        },
    }


def pieces(chat: ChatTokenizer, ids: Sequence[int]) -> list[str]:
    """What each token adds to the text, including its space; control tokens by name.

    Decoded alone, a token loses the space before it in many tokenizers.
    """
    texts = [str(chat.tokenizer.decode(list(ids[:end]))) for end in range(len(ids) + 1)]
    return [
        after[len(before) :] if after.startswith(before) else str(chat.tokenizer.decode([token]))
        for before, after, token in zip(texts, texts[1:], ids, strict=False)
    ]


def _text(prompt: Prompt) -> str:
    return prompt if isinstance(prompt, str) else str(prompt[-1]["content"])
