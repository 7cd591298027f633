"""Sampling: which prompts an iteration takes, which process answers them, and the responses."""

from collections.abc import Sequence
from typing import TypeVar

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor

from rlhf.data.tokenization.chat import prompt_ids
from rlhf.data.tokenization.decode import decode, thought_length
from rlhf.data.tokenization.thoughts import split_thought
from rlhf.data.tokenization.tokenizer import ChatTokenizer
from rlhf.models.generation.generate import generate, prompt_batch
from rlhf.models.protocols import CausalLM
from rlhf.ops.losses import importance_weights
from rlhf.training.ppo.compute import Compute
from rlhf.training.ppo.config import PPOConfig
from rlhf.types import PromptBatch, PromptRow, Rollouts

T = TypeVar("T")


def prompts_for_step(rows: Sequence[T], number: int, *, count: int, seed: int) -> list[T]:
    """The `count` rows that the number-th step (from 0) takes.

    Each epoch goes through the rows in a fresh order. The position in the data follows from the
    number alone, so that a resumed run takes the rows that an uninterrupted one would.
    """
    total, first = len(rows), number * count
    orders = {
        epoch: np.random.default_rng((seed, epoch)).permutation(total)
        for epoch in range(first // total, (first + count - 1) // total + 1)
    }
    return [rows[orders[i // total][i % total]] for i in range(first, first + count)]


def other_prompts(rows: Sequence[T], step: int, attempt: int, *, count: int, seed: int) -> list[T]:
    """`count` rows in place of others of iteration `step`, for the attempt-th time (from 1).

    A random sample that is a function of the arguments, so that a resumed run takes the same.
    """
    order = np.random.default_rng((seed, step, attempt, count)).permutation(len(rows))
    return [rows[order[i % len(rows)]] for i in range(count)]


def local_shard(
    rows: Sequence[PromptRow],
    chat: ChatTokenizer,
    accelerator: Accelerator,
    *,
    num_generations: int,
    first_index: int = 0,
) -> PromptBatch:
    """This process's share of `rows`, split by length so that ranks get similar amounts.

    Each prompt is repeated `num_generations` times, in consecutive rows. Prompts have the numbers
    from `first_index` on as group ids.
    """
    encoded = [prompt_ids(chat, row.prompt, row.tools) for row in rows]
    by_length = sorted(range(len(rows)), key=lambda index: len(encoded[index]))
    local = by_length[accelerator.process_index :: accelerator.num_processes]
    return prompt_batch(
        [encoded[index] for index in local],
        [rows[index].prompt for index in local],
        prompt_indices=[first_index + index for index in local],
        num_responses=num_generations,
        pad_token_id=chat.pad_token_id,
        device=accelerator.device,
        columns=[rows[index].columns for index in local],
    )


def roll_out(
    policy: CausalLM,
    batch: PromptBatch,
    config: PPOConfig,
    compute: Compute,
    chat: ChatTokenizer,
    *,
    seed: int,
    iteration: int,
    temperature: float | None = None,
) -> Rollouts:
    """A sampled response to every row, with the log-probs it was sampled with.

    With `importance_weight_cap` the log-probs are those of the forward pass that trains, and
    each token is weighted by its likelihood there over its likelihood in the decode loop.

    Args:
        policy: the model to sample from.
        batch: left-padded prompts.
        config: length and temperature of responses.
        compute: device and precision.
        chat: stop and pad ids.
        seed: with iteration and row, it determines the sampling noise.
        iteration: see seed.
        temperature: in place of the configured one; 0 for the likeliest tokens.
    """
    with compute.autocast():
        generated = generate(
            policy,
            batch,
            max_new_tokens=config.max_completion_length,
            temperature=config.temperature if temperature is None else temperature,
            eos_token_ids=chat.eos_token_ids,
            pad_token_id=chat.pad_token_id,
            seed=seed,
            iteration=iteration,
            cuda_graphs=config.cuda_graphs,
        )
    ids, mask, logprobs = generated.response_ids, generated.response_mask, generated.logprobs
    weights = torch.ones_like(logprobs)
    if config.importance_weight_cap is not None:
        logprobs = compute.frozen_logprobs(policy, batch, ids, mask)
        weights = importance_weights(
            logprobs, generated.logprobs, mask, cap=config.importance_weight_cap
        )
    texts, thought_lengths = _decode(ids, mask, chat)
    return Rollouts(
        batch=batch,
        response_ids=ids,
        response_mask=mask,
        logprobs=logprobs,
        importance_weights=weights,
        entropies=generated.entropies,
        ended_with_eos=generated.ended_with_eos,
        thought_lengths=torch.tensor(thought_lengths, device=ids.device),
        texts=texts,
    )


def one_of_each_group(batch: PromptBatch, num_generations: int) -> PromptBatch:
    """The first row of each prompt of a `local_shard`."""
    rows = slice(None, None, num_generations)
    return PromptBatch(
        input_ids=batch.input_ids[rows],
        attention_mask=batch.attention_mask[rows],
        prompts=batch.prompts[rows],
        group_ids=batch.group_ids[rows],
        row_ids=batch.row_ids[rows],
        columns=batch.columns[rows],
    )


def _decode(ids: Tensor, mask: Tensor, chat: ChatTokenizer) -> tuple[list[str], list[int]]:
    """The text of each response, and the tokens of its thought (0 without one)."""
    rows = [row[:length] for row, length in zip(ids.tolist(), mask.sum(1).tolist(), strict=True)]
    texts = [decode(chat, row) for row in rows]
    thoughts = [
        thought_length(chat, row) if split_thought(text)[0] else 0
        for row, text in zip(rows, texts, strict=True)
    ]
    return texts, thoughts
