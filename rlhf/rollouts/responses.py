"""Sampled token ids of an engine as the tensors of a batch."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from rlhf.data.collate import right_pad
from rlhf.errors import TrainingError
from rlhf.models.generation.decoder import Generated
from rlhf.rollouts.engine import Sampling


@dataclass(frozen=True, kw_only=True)
class EngineResponse:
    """A response as an engine gives it, with the end token if it has one."""

    ids: Sequence[int]
    logprobs: Sequence[float]


def as_generated(
    rows: Sequence[EngineResponse], sampling: Sampling, *, engine: str, device: torch.device
) -> Generated:
    """Right-padded responses, without entropies.

    Args:
        rows: one per row of the batch.
        sampling: what was asked for.
        engine: its name, for messages.
        device: where the tensors go.

    Raises:
        TrainingError: a response that is empty, too long, goes on after its end, or lacks a
            log-prob.
    """
    eos = set(sampling.eos_token_ids)
    for number, row in enumerate(rows):
        if problem := _problem(row, sampling.limit_of(number), eos):
            raise TrainingError(
                f"the {engine} engine gave a response that cannot be used, in row {number}: "
                f"{problem}; check that the server has the options of docs/how-to/rollouts.md.",
                code="engine-mismatch",
            )
    ids, mask = right_pad([row.ids for row in rows], sampling.pad_token_id)
    logprobs = torch.zeros(ids.shape)
    logprobs[mask] = torch.tensor([value for row in rows for value in row.logprobs])
    return Generated(
        response_ids=ids.to(device),
        response_mask=mask.to(device),
        logprobs=logprobs.to(device),
        entropies=None,
        ended_with_eos=torch.tensor([row.ids[-1] in eos for row in rows], device=device),
    )


def _problem(row: EngineResponse, longest: int, eos: set[int]) -> str:
    """What is wrong with a response; empty if nothing is."""
    if not row.ids:
        return "it has no token"
    if len(row.ids) > longest:
        return f"it has {len(row.ids)} tokens, more than {longest}"
    if len(row.logprobs) != len(row.ids):
        return f"it has {len(row.ids)} tokens and {len(row.logprobs)} log-probs"
    if inner := eos.intersection(row.ids[:-1]):
        return f"it goes on after the end token {min(inner)}"
    if len(row.ids) < longest and row.ids[-1] not in eos:
        return f"it ends after {len(row.ids)} tokens without an end token"
    return ""
