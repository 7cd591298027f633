"""Which prompts an iteration answers, who answers which, and the answering."""

from collections.abc import Sequence
from typing import Any, TypeVar

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor

from rlhf.data.tokenization.chat import prompt_ids
from rlhf.data.tokenization.decode import decode, thought_length
from rlhf.data.tokenization.thoughts import split_thought
from rlhf.data.tokenization.tokenizer import ChatTokenizer
from rlhf.models.forward import response_logprobs
from rlhf.models.generation.generate import generate, prompt_batch
from rlhf.ops.losses import importance_weights
from rlhf.training.ppo.config import PPOConfig
from rlhf.training.ppo.models import autocast, computes_in_bf16
from rlhf.types import PromptBatch, PromptRow, Rollouts

T = TypeVar("T")


def prompts_for_step(rows: Sequence[T], number: int, *, count: int, seed: int) -> list[T]:
    """The `count` rows that come up for the number-th time (from 0) that rows are taken.

    The data are walked through in a fresh order each epoch; where in them one stands follows
    from the number alone.
    """
    total, first = len(rows), number * count
    orders = {
        epoch: np.random.default_rng((seed, epoch)).permutation(total)
        for epoch in range(first // total, (first + count - 1) // total + 1)
    }
    return [rows[orders[i // total][i % total]] for i in range(first, first + count)]


def local_shard(
    rows: Sequence[PromptRow],
    chat: ChatTokenizer,
    accelerator: Accelerator,
    *,
    num_generations: int,
) -> PromptBatch:
    """This process's share of `rows`, dealt out by length so that ranks get like amounts.

    Each prompt stands `num_generations` times in a row.
    """
    encoded = [prompt_ids(chat, row.prompt, row.tools) for row in rows]
    by_length = sorted(range(len(rows)), key=lambda index: len(encoded[index]))
    mine = by_length[accelerator.process_index :: accelerator.num_processes]
    return prompt_batch(
        [encoded[index] for index in mine],
        [rows[index].prompt for index in mine],
        prompt_indices=mine,
        num_responses=num_generations,
        pad_token_id=chat.pad_token_id,
        device=accelerator.device,
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
    """A sampled response to every row, with the log-probs it was sampled with.

    With `importance_weight_cap` the log-probs are those of the forward pass that trains, and
    each token is weighed by how much likelier that pass finds it than the decode loop did.
    """
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
            cuda_graphs=config.cuda_graphs,
        )
    ids, mask, logprobs = generated.response_ids, generated.response_mask, generated.logprobs
    weights = torch.ones_like(logprobs)
    if config.importance_weight_cap is not None:
        logprobs = frozen_logprobs(policy, batch, ids, mask, config)
        weights = importance_weights(
            logprobs, generated.logprobs, mask, cap=config.importance_weight_cap
        )
    lengths = mask.sum(1).tolist()
    written = [row[:length] for row, length in zip(ids.tolist(), lengths, strict=True)]
    texts = [decode(chat, row) for row in written]
    thoughts = [
        thought_length(chat, row) if split_thought(text)[0] else 0
        for row, text in zip(written, texts, strict=True)
    ]
    return Rollouts(
        batch=batch,
        response_ids=ids,
        response_mask=mask,
        logprobs=logprobs,
        weights=weights,
        entropies=generated.entropies,
        ended_with_eos=generated.ended_with_eos,
        thought_lengths=torch.tensor(thoughts, device=ids.device),
        texts=texts,
    )


def frozen_logprobs(
    model: Any, batch: PromptBatch, response_ids: Tensor, mask: Tensor, config: PPOConfig
) -> Tensor:
    """Log-probs of the responses in the forward pass that trains, float32 [B, R], no gradient."""
    with autocast(batch.input_ids.device, computes_in_bf16(config)):
        return response_logprobs(
            model,
            batch,
            response_ids,
            mask,
            temperature=config.temperature,
            max_tokens=config.microbatch_tokens,
        )
