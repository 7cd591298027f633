"""Rows of scored rollouts: gather them from all processes, select, join."""

from collections.abc import Sequence
from dataclasses import fields, replace
from typing import Any, TypeVar

import torch
from accelerate.utils import gather_object
from torch import Tensor

from rlhf.errors import TrainingError
from rlhf.types import Episodes, PromptBatch, Rollouts, ScoredRollouts, Scores

T = TypeVar("T")


def gather_rows(scored: ScoredRollouts, num_processes: int) -> ScoredRollouts:
    """The rows of all processes, in the order of their row ids; the same on each process.

    Whitening, minibatches and metrics are then global without further communication, and do not
    depend on the number of processes. It costs a few kilobytes per response.
    """
    device = scored.ref_logprobs.device
    parts = [scored]
    if num_processes > 1:
        parts = [_on(device, part) for part in gather_object([_on("cpu", scored)])]
    order = torch.cat([part.rollouts.batch.row_ids for part in parts]).argsort()
    return _joined(parts, order)


def select_rows(scored: ScoredRollouts, rows: Tensor) -> ScoredRollouts:
    """These rows, in this order. rows: long [N]."""
    return _joined([scored], rows)


def without_failures(scored: ScoredRollouts, *, at_most: float) -> ScoredRollouts:
    """The rows whose responses have a score.

    Raises:
        TrainingError: more than the share `at_most` have none; the message has the first reason.
    """
    failures = scored.scores.failures
    usable = [row for row, failure in enumerate(failures) if not failure]
    count = len(failures) - len(usable)
    if count > at_most * len(failures):
        raise TrainingError(
            f"{count} of {len(failures)} responses have no usable reward, more than the "
            f"{at_most:.0%} that on_reward_error=skip allows; the first: "
            f"{next(filter(None, failures))}",
            code="no-reward",
        )
    return select_rows(scored, torch.tensor(usable, device=scored.ref_logprobs.device))


def join_rows(parts: Sequence[ScoredRollouts]) -> ScoredRollouts:
    """The rows of all parts, one part after the other."""
    counts = [len(part.rollouts.batch.row_ids) for part in parts]
    return _joined(list(parts), torch.arange(sum(counts), device=parts[0].ref_logprobs.device))


def intersect_rows(
    one: ScoredRollouts, two: ScoredRollouts
) -> tuple[ScoredRollouts, ScoredRollouts]:
    """The rows that both have, so that they can be compared row by row."""
    ids = [scored.rollouts.batch.row_ids for scored in (one, two)]
    return (
        select_rows(one, torch.isin(ids[0], ids[1]).nonzero()[:, 0]),
        select_rows(two, torch.isin(ids[1], ids[0]).nonzero()[:, 0]),
    )


def _joined(parts: list[ScoredRollouts], order: Tensor) -> ScoredRollouts:
    rollouts = [part.rollouts for part in parts]
    batches = [part.rollouts.batch for part in parts]
    batch = PromptBatch(
        input_ids=_stacked([batch.input_ids for batch in batches], order, left=True),
        attention_mask=_stacked([batch.attention_mask for batch in batches], order, left=True),
        prompts=_picked([batch.prompts for batch in batches], order),
        group_ids=torch.cat([batch.group_ids for batch in batches])[order],
        row_ids=torch.cat([batch.row_ids for batch in batches])[order],
        columns=_picked([batch.columns for batch in batches], order),
    )
    names = parts[0].scores.breakdown
    values = [part.values for part in parts if part.values is not None]
    sampler = [part.sampler_logprobs for part in rollouts if part.sampler_logprobs is not None]
    greedy = [part.greedy_scores for part in parts if part.greedy_scores is not None]
    return ScoredRollouts(
        rollouts=Rollouts(
            batch=batch,
            response_ids=_stacked([part.response_ids for part in rollouts], order),
            response_mask=_stacked([part.response_mask for part in rollouts], order),
            action_mask=_stacked([part.action_mask for part in rollouts], order),
            logprobs=_stacked([part.logprobs for part in rollouts], order),
            sampler_logprobs=_stacked(sampler, order) if sampler else None,
            importance_weights=_stacked([part.importance_weights for part in rollouts], order),
            entropies=_stacked([part.entropies for part in rollouts], order),
            ended_with_eos=torch.cat([part.ended_with_eos for part in rollouts])[order],
            thought_lengths=torch.cat([part.thought_lengths for part in rollouts])[order],
            texts=_picked([part.texts for part in rollouts], order),
            episodes=_joined_episodes([part.episodes for part in rollouts], order),
        ),
        scores=Scores(
            scores=torch.cat([part.scores.scores for part in parts])[order],
            breakdown={
                name: torch.cat([part.scores.breakdown[name] for part in parts])[order]
                for name in names
            },
            failures=_picked([part.scores.failures for part in parts], order),
        ),
        ref_logprobs=_stacked([part.ref_logprobs for part in parts], order),
        values=_stacked(values, order) if values else None,
        greedy_scores=torch.cat(greedy)[order] if greedy else None,
    )


def _joined_episodes(parts: Sequence[Episodes | None], order: Tensor) -> Episodes | None:
    episodes = [part for part in parts if part is not None]
    if not episodes:
        return None
    return Episodes(
        rewards=_stacked([part.rewards for part in episodes], order),
        num_turns=torch.cat([part.num_turns for part in episodes])[order],
        num_calls=torch.cat([part.num_calls for part in episodes])[order],
        last_prompts=_picked([part.last_prompts for part in episodes], order),
        last_turns=_picked([part.last_turns for part in episodes], order),
        failures=_picked([part.failures for part in episodes], order),
    )


def _stacked(parts: list[Tensor], order: Tensor, *, left: bool = False) -> Tensor:
    """[B, width] of all parts, padded with 0 / False to the widest."""
    width = max(part.shape[1] for part in parts)
    missing = [width - part.shape[1] for part in parts]
    padded = [
        torch.nn.functional.pad(part, (gap, 0) if left else (0, gap))
        for part, gap in zip(parts, missing, strict=True)
    ]
    return torch.cat(padded)[order]


def _picked(parts: Sequence[Sequence[T]], order: Tensor) -> list[T]:
    flat = [value for part in parts for value in part]
    return [flat[index] for index in order.tolist()]


def _on(device: torch.device | str, value: Any) -> Any:
    """The dataclass with its tensors, at any depth, on `device`."""
    if isinstance(value, Tensor):
        return value.to(device)
    if isinstance(value, dict):
        return {key: _on(device, item) for key, item in value.items()}
    if hasattr(value, "__dataclass_fields__"):
        moved = {item.name: _on(device, getattr(value, item.name)) for item in fields(value)}
        return replace(value, **moved)
    return value
