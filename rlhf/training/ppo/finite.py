"""The last check before an optimizer step: a finite gradient, or the rows that made it infinite."""

from collections.abc import Mapping, Sequence

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from torch import Tensor, nn

from rlhf.errors import TrainingError
from rlhf.models.sequences import sequences_of
from rlhf.models.shard import whole
from rlhf.training.ppo.compute import Compute
from rlhf.training.ppo.metrics import preview
from rlhf.types import Experience, Minibatch


def check_norms(
    norms: Mapping[str, Tensor],
    experience: Experience,
    rows: Tensor,
    step: int,
    *,
    modules: Sequence[nn.Module],
    compute: Compute,
    accelerator: Accelerator,
) -> None:
    """Stop the run, on all ranks, before a step along a gradient that is not finite.

    Args:
        norms: by metric, of all ranks' gradients.
        experience: of the iteration.
        rows: long [N], the minibatch's rows of the experience.
        step: the iteration.
        modules: Sequences -> Outputs; called again on each row to find the bad ones.
        compute: device and precision.
        accelerator: gathers the bad rows of all ranks.

    Raises:
        TrainingError: the step, the rows whose own numbers are not finite, their prompts.
    """
    bad = [name for name, norm in norms.items() if not norm.isfinite()]
    if bad:
        culprits = _rows_not_finite(experience, rows, modules, compute, accelerator)
        message = _message(bad, experience, culprits or sorted(rows.tolist()), step)
        raise TrainingError(message, code="non-finite")


@torch.no_grad()
def _rows_not_finite(
    experience: Experience,
    rows: Tensor,
    modules: Sequence[nn.Module],
    compute: Compute,
    accelerator: Accelerator,
) -> list[int]:
    """Rows of the minibatch, of all ranks, whose own numbers are not finite.

    Empty where each row's are, and the gradient overflowed in the backward pass.
    """
    local = rows[accelerator.process_index :: accelerator.num_processes]
    culprits = []
    # Whole: ranks may have different numbers of rows.
    with whole(*modules), compute.autocast():
        for row in local.tolist():
            minibatch = experience.select(slice(row, row + 1))
            sequences = sequences_of(minibatch)
            outputs = [output for module in modules for output in module(sequences)]
            if not _are_finite(minibatch, outputs):
                culprits.append(row)
    return sorted(gather_object(culprits))


def _are_finite(minibatch: Minibatch, outputs: Sequence[Tensor | None]) -> bool:
    """Whether the outputs, and what they are compared with, are finite numbers."""
    inputs = (minibatch.logprobs, minibatch.advantages, minibatch.returns)
    tensors = [tensor for tensor in (*outputs, *inputs) if tensor is not None]
    return all(bool(tensor[minibatch.action_mask].isfinite().all()) for tensor in tensors)


def _message(bad: Sequence[str], experience: Experience, rows: list[int], step: int) -> str:
    which = " and ".join("critic" if name.startswith("value") else "policy" for name in bad)
    prompts = preview([experience.rollouts.batch.prompts[row] for row in rows], 3)
    return (
        f"step {step}: the gradient of the {which} is not finite and the step was not taken "
        f"(rows {rows[:8]}{'…' if len(rows) > 8 else ''}, prompts {prompts}); lower "
        "learning_rate or try --bf16 false, and resume from the last checkpoint."
    )
