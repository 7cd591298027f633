"""The rows of all processes on every process."""

from dataclasses import fields, replace
from typing import Any

import torch
from accelerate.utils import gather_object
from torch import Tensor

from rlhf.types import Evaluated, PromptBatch, Rollouts, Scores


def gather_rows(evaluated: Evaluated, num_processes: int) -> Evaluated:
    """The rows of all processes, in the order of their row ids; the same on each process.

    Whitening, minibatches and figures are then global without any further talk between ranks,
    and do not depend on how many there are. It is a few kilobytes a response.
    """
    device = evaluated.values.device
    parts = [evaluated]
    if num_processes > 1:
        parts = [_on(device, part) for part in gather_object([_on("cpu", evaluated)])]
    rollouts = [part.rollouts for part in parts]
    batches = [part.rollouts.batch for part in parts]
    order = torch.cat([batch.row_ids for batch in batches]).argsort()
    batch = PromptBatch(
        input_ids=_stacked([batch.input_ids for batch in batches], order, left=True),
        attention_mask=_stacked([batch.attention_mask for batch in batches], order, left=True),
        prompts=_picked([batch.prompts for batch in batches], order),
        group_ids=torch.cat([batch.group_ids for batch in batches])[order],
        row_ids=torch.cat([batch.row_ids for batch in batches])[order],
        columns=_picked([batch.columns for batch in batches], order),
    )
    names = evaluated.scores.breakdown
    return Evaluated(
        rollouts=Rollouts(
            batch=batch,
            response_ids=_stacked([part.response_ids for part in rollouts], order),
            response_mask=_stacked([part.response_mask for part in rollouts], order),
            logprobs=_stacked([part.logprobs for part in rollouts], order),
            entropies=_stacked([part.entropies for part in rollouts], order),
            ended_with_eos=torch.cat([part.ended_with_eos for part in rollouts])[order],
            texts=_picked([part.texts for part in rollouts], order),
        ),
        scores=Scores(
            scores=torch.cat([part.scores.scores for part in parts])[order],
            breakdown={
                name: torch.cat([part.scores.breakdown[name] for part in parts])[order]
                for name in names
            },
        ),
        ref_logprobs=_stacked([part.ref_logprobs for part in parts], order),
        values=_stacked([part.values for part in parts], order),
    )


def _stacked(parts: list[Tensor], order: Tensor, *, left: bool = False) -> Tensor:
    """[B, width] of all parts, padded with 0 / False to the widest; masks say what counts."""
    width = max(part.shape[1] for part in parts)
    missing = [width - part.shape[1] for part in parts]
    padded = [
        torch.nn.functional.pad(part, (gap, 0) if left else (0, gap))
        for part, gap in zip(parts, missing, strict=True)
    ]
    return torch.cat(padded)[order]


def _picked(parts: list[Any], order: Tensor) -> list[Any]:
    flat = [value for part in parts for value in part]
    return [flat[index] for index in order.tolist()]


def _on(device: Any, value: Any) -> Any:
    """The dataclass with its tensors, at any depth, on `device`."""
    if isinstance(value, Tensor):
        return value.to(device)
    if isinstance(value, dict):
        return {key: _on(device, item) for key, item in value.items()}
    if hasattr(value, "__dataclass_fields__"):
        moved = {item.name: _on(device, getattr(value, item.name)) for item in fields(value)}
        return replace(value, **moved)
    return value
