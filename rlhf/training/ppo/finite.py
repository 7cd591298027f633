"""The last look before an optimizer step: is its gradient a number, and if not, which rows?"""

from collections.abc import Mapping, Sequence

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from torch import Tensor, nn

from rlhf.errors import TrainingError
from rlhf.models.forward import sequences_of
from rlhf.models.shard import whole
from rlhf.training.ppo.config import PPOConfig
from rlhf.training.ppo.metrics import shown
from rlhf.training.ppo.models import autocast, computes_in_bf16
from rlhf.types import Experience


def check_norms(
    norms: Mapping[str, Tensor],
    experience: Experience,
    minibatch: Tensor,
    step: int,
    *,
    learners: Sequence[nn.Module],
    config: PPOConfig,
    accelerator: Accelerator,
) -> None:
    """Stop the run, on all ranks, before a step along a gradient that is not finite.

    norms: of all ranks' gradients. minibatch: long [b], rows of the experience.

    Raises:
        TrainingError: the step, the rows whose own numbers are not finite, their prompts.
    """
    bad = [name for name, norm in norms.items() if not norm.isfinite()]
    if bad:
        rows = _rows_not_finite(experience, minibatch, learners, config, accelerator)
        raise TrainingError(_sentence(bad, experience, rows or sorted(minibatch.tolist()), step))


@torch.no_grad()
def _rows_not_finite(
    experience: Experience,
    minibatch: Tensor,
    learners: Sequence[nn.Module],
    config: PPOConfig,
    accelerator: Accelerator,
) -> list[int]:
    """Rows of the minibatch, of all ranks, whose own numbers are not finite.

    Empty where each row's are, and the gradient overflowed on its way back.
    """
    mine = minibatch[accelerator.process_index :: accelerator.num_processes]
    found = []
    bf16 = computes_in_bf16(config)
    # Whole: ranks may have different numbers of rows.
    with whole(*learners), autocast(accelerator.device, bf16):
        for row in mine.tolist():
            one = slice(row, row + 1)
            sequences = sequences_of(experience.rollouts, one)
            outputs = [output for learner in learners for output in learner(sequences)]
            if not _are_finite(experience, one, outputs):
                found.append(row)
    return sorted(gather_object(found))


def _are_finite(experience: Experience, one: slice, outputs: Sequence[Tensor | None]) -> bool:
    """Whether a row's outputs and what they are compared with are finite numbers."""
    mask = experience.rollouts.response_mask[one]
    inputs = (experience.rollouts.logprobs, experience.advantages, experience.returns)
    tensors = [tensor for tensor in outputs if tensor is not None]
    tensors += [tensor[one] for tensor in inputs]
    return all(bool(tensor[mask].isfinite().all()) for tensor in tensors)


def _sentence(bad: Sequence[str], experience: Experience, rows: list[int], step: int) -> str:
    which = " and ".join("critic" if name.startswith("value") else "policy" for name in bad)
    prompts = shown([experience.rollouts.batch.prompts[row] for row in rows], 3)
    return (
        f"step {step}: the gradient of the {which} is not finite and the step was not taken "
        f"(rows {rows[:8]}{'…' if len(rows) > 8 else ''}, prompts {prompts}); lower "
        "learning_rate or try --bf16 false, and go on from the last checkpoint."
    )
