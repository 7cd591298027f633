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
from rlhf.models.generation.decoder import Generated
from rlhf.models.generation.generate import prompt_batch
from rlhf.models.protocols import CausalLM
from rlhf.ops.importance import importance_weights
from rlhf.rollouts.engine import RolloutEngine, Sampling
from rlhf.rollouts.played import Played
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


def sample(
    engine: RolloutEngine,
    batch: PromptBatch,
    config: PPOConfig,
    compute: Compute,
    chat: ChatTokenizer,
    *,
    seed: int,
    iteration: int,
    temperature: float | None = None,
    row_limits: Sequence[int] | None = None,
) -> Generated:
    """A sampled response to every row.

    Args:
        engine: samples, with the weights that it was given.
        batch: left-padded prompts.
        config: length and temperature of responses.
        compute: device and precision.
        chat: stop and pad ids.
        seed: with iteration and row, it determines the sampling noise.
        iteration: see seed.
        temperature: in place of the configured one; 0 for the likeliest tokens.
        row_limits: longest response of each row; default: max_completion_length.
    """
    sampling = Sampling(
        max_new_tokens=max(row_limits or [config.max_completion_length]),
        temperature=config.temperature if temperature is None else temperature,
        eos_token_ids=chat.eos_token_ids,
        pad_token_id=chat.pad_token_id,
        seed=seed,
        iteration=iteration,
        row_limits=row_limits,
    )
    with compute.autocast():
        return engine.generate(batch, sampling)


def as_rollouts(
    generated: Generated,
    batch: PromptBatch,
    policy: CausalLM,
    config: PPOConfig,
    compute: Compute,
    chat: ChatTokenizer,
    *,
    recomputes: bool,
    played: Played | None = None,
) -> Rollouts:
    """Sampled responses with the log-probs that the update compares with.

    Args:
        generated: the responses.
        batch: their prompts.
        policy: whose update follows.
        config: keys of importance weights.
        compute: device and precision.
        chat: decodes the responses.
        recomputes: whether the log-probs are those of the forward pass that trains, and each token
            is weighted by its likelihood there over its likelihood where it was sampled; else they
            are those that it was sampled with.
        played: what an environment gave, if there is one.
    """
    ids, mask = generated.response_ids, generated.response_mask
    actions = mask if played is None else played.action_mask
    logprobs, entropies = generated.logprobs, generated.entropies
    if recomputes:
        logprobs, entropies = _trained_logprobs(policy, batch, generated, actions, compute)
    if played is None:
        texts, thought_lengths = _decode(ids, mask, chat)
    else:
        texts, thought_lengths = played.texts, played.thought_lengths
    return Rollouts(
        batch=batch,
        response_ids=ids,
        response_mask=mask,
        action_mask=actions,
        logprobs=logprobs,
        sampler_logprobs=generated.logprobs if recomputes else None,
        importance_weights=_weights(logprobs, generated, actions, config),
        entropies=torch.zeros_like(logprobs) if entropies is None else entropies,
        ended_with_eos=generated.ended_with_eos,
        thought_lengths=torch.tensor(thought_lengths, device=ids.device),
        texts=texts,
        episodes=None if played is None else played.episodes,
    )


def _trained_logprobs(
    policy: CausalLM,
    batch: PromptBatch,
    generated: Generated,
    action_mask: Tensor,
    compute: Compute,
) -> tuple[Tensor, Tensor]:
    """Log-probs as training computes them, and entropies, float32 [B, R] each."""
    responses = generated.response_ids, generated.response_mask, action_mask
    if generated.entropies is None:
        return compute.frozen_logprobs_and_entropies(policy, batch, *responses)
    return compute.frozen_logprobs(policy, batch, *responses), generated.entropies


def _weights(
    logprobs: Tensor, generated: Generated, action_mask: Tensor, config: PPOConfig
) -> Tensor:
    """The importance weights of the tokens, float [B, R]; 1 where log-probs are not recomputed."""
    if config.weight_cap is None or not config.recomputes_logprobs:
        return torch.ones_like(logprobs)
    return importance_weights(
        logprobs,
        generated.logprobs,
        action_mask,
        cap=config.weight_cap,
        floor=config.importance_weight_floor or 0.0,
        correction=config.importance_correction,
        level=config.importance_correction_level,
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


def _decode(ids: Tensor, mask: Tensor, chat: ChatTokenizer) -> tuple[Sequence[str], Sequence[int]]:
    """The text of each response, and the tokens of its thought (0 without one)."""
    rows = [row[:length] for row, length in zip(ids.tolist(), mask.sum(1).tolist(), strict=True)]
    texts = [decode(chat, row) for row in rows]
    thoughts = [
        thought_length(chat, row) if split_thought(text)[0] else 0
        for row, text in zip(rows, texts, strict=True)
    ]
    return texts, thoughts
