"""Which prompts an iteration answers, who answers which, and the answering."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from rlhf.data.chat import decode, prompt_ids
from rlhf.data.tokenizer import ChatTokenizer
from rlhf.models.generate import generate, prompt_batch
from rlhf.training.ppo_config import PPOConfig
from rlhf.training.ppo_models import autocast, computes_in_bf16
from rlhf.types import PromptBatch, PromptRow, Rollouts


def rows_of_step(
    prompts: Sequence[PromptRow], step: int, *, num_prompts: int, seed: int
) -> list[PromptRow]:
    """The prompts of iteration `step` (from 1), over all processes.

    The data are walked through in a fresh order each epoch; where in them an iteration
    stands follows from its number.
    """
    rows, total = [], len(prompts)
    for place in range((step - 1) * num_prompts, step * num_prompts):
        order = np.random.default_rng((seed, place // total)).permutation(total)
        rows.append(prompts[order[place % total]])
    return rows


def share_of_process(
    rows: Sequence[PromptRow],
    chat: ChatTokenizer,
    *,
    num_generations: int,
    process_index: int,
    num_processes: int,
    device: torch.device,
) -> PromptBatch:
    """This process's share of `rows`, dealt out by length so that ranks get like amounts.

    Each prompt stands `num_generations` times in a row.
    """
    encoded = [prompt_ids(chat, row.prompt) for row in rows]
    by_length = sorted(range(len(rows)), key=lambda index: len(encoded[index]))
    mine = by_length[process_index::num_processes]
    return prompt_batch(
        [encoded[index] for index in mine],
        [rows[index].prompt for index in mine],
        prompt_indices=mine,
        num_responses=num_generations,
        pad_token_id=chat.pad_token_id,
        device=device,
        columns=[rows[index].columns for index in mine],
    )


def roll_out(
    policy: Any,
    batch: PromptBatch,
    config: PPOConfig,
    chat: ChatTokenizer,
    *,
    seed: int,
    iteration: int,
) -> Rollouts:
    """A sampled response to every row, with the log-probs it was sampled with."""
    with autocast(batch.input_ids.device, computes_in_bf16(config)):
        generated = generate(
            policy,
            batch,
            max_new_tokens=config.max_completion_length,
            temperature=config.temperature,
            eos_token_ids=chat.eos_token_ids,
            pad_token_id=chat.pad_token_id,
            seed=seed,
            iteration=iteration,
        )
    lengths = generated.response_mask.sum(1).tolist()
    ids = generated.response_ids.tolist()
    return Rollouts(
        batch=batch,
        response_ids=generated.response_ids,
        response_mask=generated.response_mask,
        logprobs=generated.logprobs,
        entropies=generated.entropies,
        ended_with_eos=generated.ended_with_eos,
        texts=[decode(chat, row[:n]) for row, n in zip(ids, lengths, strict=True)],
    )
