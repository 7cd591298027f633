"""Checks that a run trains: frozen weights, steps without effect, gradients of exactly 0."""

import math
from collections.abc import Mapping, Sequence

import torch
from accelerate.utils import reduce
from peft import PeftModel
from torch import Tensor, nn
from torch.distributed.tensor import DTensor
from torch.optim import Optimizer
from transformers import PreTrainedModel

from rlhf.errors import TrainingError

Parts = Mapping[str, Sequence[nn.Parameter]]
"""Name of a trained part, for messages -> its parameters."""

SAMPLED = 32  # weights of each tensor to watch: those with the largest gradients


def parts_of(model: nn.Module) -> dict[str, list[nn.Parameter]]:
    """The trained parts of `model`: its adapters and the modules saved with them, or all of it."""
    named = list(model.named_parameters())
    if not isinstance(model, PeftModel):
        head = [p for name, p in named if name.startswith("score.")]
        rest = [p for name, p in named if not name.startswith("score.")]
        return {"model": rest} | ({"reward head": head} if head else {})
    parts = {"LoRA adapter": [p for name, p in named if ".lora_" in name]}
    if saved := [p for name, p in named if ".modules_to_save." in name]:
        parts["modules saved with the adapter"] = saved
    return parts


def check_trainable(parts: Parts, modules: Sequence[nn.Module]) -> None:
    """Check that no part is empty or frozen, before the first step.

    modules: the modules that hold the parameters. They give the names of weights, and the weights
    that an architecture never trains (a table of sinusoids).

    Raises:
        TrainingError: the part, how much of it is frozen, its first frozen weight.
    """
    for part, parameters in parts.items():
        frozen = [p for p in parameters if not p.requires_grad]
        if frozen and any(p.requires_grad for p in parameters):
            fixed = {id(p) for module in modules for p in _frozen_by_design(module)}
            frozen = [p for p in frozen if id(p) not in fixed]
        if not parameters:
            raise TrainingError(
                f"{part}: there is no weight to train, so the run would change nothing; with "
                "LoRA leave lora_target_modules out, which selects every linear layer.",
                code="nothing-trained",
            )
        if frozen:
            raise TrainingError(
                f"{part}: {len(frozen)} of {len(parameters)} weight tensors are frozen"
                f"{_first_name(frozen, modules)} and would not change; start from a full model "
                "(`rlhf merge` makes one from a LoRA adapter), or, if it already is a full model, "
                "report a bug.",
                code="nothing-trained",
            )


class Movement:
    """Watches some weights of each part until an optimizer step has moved one of them.

    A step counts if its learning rate is above 0 and the part's largest gradient is above Adam's
    epsilon: such a weight moves by at least half the learning rate. A check costs as much as
    reading the gradients once.
    """

    def __init__(self, parts: Parts) -> None:
        self.parts = dict(parts)
        self._before: dict[str, list[tuple[Tensor, Tensor, Tensor]]] = {}

    def before_step(self, optimizer: Optimizer, part: str | None = None) -> None:
        """Record weights if the step counts. Call it before `optimizer.step()`.

        part: the part that `optimizer` trains; None for all.
        """
        self._before = {}
        group = optimizer.param_groups[0]
        for name, parameters in self.parts.items():
            if part in (None, name) and group["lr"] > 0:
                least = group.get("eps", 0.0)
                self._before[name] = [_sample(p) for p in parameters if _peak(p) > least]

    def after_step(self, step: int, optimizer: Optimizer) -> None:
        """Stop watching parts that moved. Call it on all processes, after `optimizer.step()`.

        Raises:
            TrainingError: the step counted and no weight of a part moved, on any process.
        """
        for name, samples in self._before.items():
            moved = sum(bool((w.flatten()[places] != old).any()) for w, places, old in samples)
            device = self.parts[name][0].device
            counts = reduce(torch.tensor([len(samples), moved], device=device), "sum").tolist()
            if counts[0] and not counts[1]:
                message = self._did_not_move(name, step, optimizer)
                raise TrainingError(message, code="nothing-trained")
            if counts[1]:
                del self.parts[name]
        self._before = {}

    def _did_not_move(self, part: str, step: int, optimizer: Optimizer) -> str:
        dtypes = sorted({str(p.dtype).removeprefix("torch.") for p in self.parts[part]})
        return (
            f"step {step}: no weight of the {part} moved in an optimizer step with learning rate "
            f"{optimizer.param_groups[0]['lr']:.3g}; nothing is being trained. Weights are "
            f"{', '.join(dtypes)}: raise learning_rate if such a step rounds to nothing in that "
            "type; otherwise the optimizer holds other weights than the model: report a bug."
        )


def check_zero_norm(norm: float, has_derivative: Tensor, step: int, part: str) -> None:
    """Check that the gradient is not exactly 0 while the loss has a derivative.

    A norm of 0 is right where the loss has none: advantages of 0, a policy in the critic's warm-up,
    no trained token, losses that are clipped or 0. Call it on all processes.

    Args:
        norm: norm of the gradients of all processes.
        has_derivative: bool scalar, whether the derivative of the loss with respect to the model's
            outputs is anywhere other than 0 on this process.
        step: the optimizer step, for the message.
        part: the part of the model, for the message.

    Raises:
        TrainingError: the step and the part.
    """
    if norm != 0 or math.isnan(norm):
        return
    if float(reduce(has_derivative.float().reshape(1), "sum").sum()) > 0:
        raise TrainingError(
            f"step {step}: the gradient of the {part} is exactly 0 although its loss is not at an "
            "optimum: no weight is connected to the loss, so the run would change nothing. Start "
            "from a full model (`rlhf merge`), without gradient_checkpointing or compile; if the "
            "gradient stays 0, report a bug.",
            code="nothing-trained",
        )


def wants_change(outputs: Tensor, *, logprobs: bool = False) -> Tensor:
    """Whether the gradient of `outputs` is anywhere other than 0: a bool scalar.

    Call `outputs.retain_grad()` before the backward pass.

    logprobs: whether the outputs are log-probs. One of exactly 0 belongs to a certain token, which
    no change of the logits makes likelier: its gradient ends there.
    """
    if outputs.grad is None:
        return torch.zeros((), dtype=torch.bool, device=outputs.device)
    nonzero = outputs.grad != 0
    return (nonzero & (outputs != 0) if logprobs else nonzero).any()


def _frozen_by_design(module: nn.Module) -> list[nn.Parameter]:
    """Parameters of transformers models in `module` that a fresh model of their class freezes."""
    frozen: list[nn.Parameter] = []
    for model in module.modules():
        if isinstance(model, PreTrainedModel):
            with torch.device("meta"):
                fresh = type(model)(model.config)
            names = {name for name, p in fresh.named_parameters() if not p.requires_grad}
            frozen += [p for name, p in model.named_parameters() if name in names]
    return frozen


def _first_name(frozen: Sequence[nn.Parameter], modules: Sequence[nn.Module]) -> str:
    ids = {id(p) for p in frozen}
    names = [name for m in modules for name, p in m.named_parameters() if id(p) in ids]
    return f" ({names[0]}{', …' if len(names) > 1 else ''})" if names else ""


def _local(tensor: Tensor) -> Tensor:
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def _peak(parameter: nn.Parameter) -> float:
    grad = _local(parameter.grad) if parameter.grad is not None else None
    return float(grad.abs().max()) if grad is not None and grad.numel() else 0.0


def _sample(parameter: nn.Parameter) -> tuple[Tensor, Tensor, Tensor]:
    """The weights, the places with the largest gradients, and the current values there."""
    assert parameter.grad is not None
    grad, weights = _local(parameter.grad).flatten(), _local(parameter.detach())
    places = grad.abs().topk(min(SAMPLED, grad.numel())).indices
    return weights, places, weights.flatten()[places].clone()
