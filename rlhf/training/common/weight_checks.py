"""That a run trains what it says it does: at its start, at its first steps, at a gradient of 0."""

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
"""Name of what is trained, as a message names it -> its parameters."""

SAMPLED = 32  # weights of each tensor that are watched: those with the largest gradients


def parts_of(model: nn.Module) -> dict[str, list[nn.Parameter]]:
    """What a run trains of `model`: its adapters and what peft saves with them, or all of it."""
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
    """Stop a run before its first step where it would leave something as it is.

    modules: that hold the parameters; for their names, and for what an architecture never trains
    (a table of sinusoids).

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
                f"{part}: there is no weight to train, and the run would change nothing; with "
                "LoRA leave lora_target_modules out, which takes every linear layer."
            )
        if frozen:
            raise TrainingError(
                f"{part}: {len(frozen)} of {len(parameters)} weight tensors are frozen"
                f"{_first_name(frozen, modules)} and would end as they began; start from a whole "
                "model (`rlhf merge` makes one of a LoRA adapter), or report it if this is one."
            )


class Movement:
    """Watches some weights of each part until an optimizer step has moved one of them.

    A step counts where its learning rate is above 0 and the part's largest gradient above Adam's
    epsilon: such a weight moves by half the learning rate or more. A check costs as much as reading
    the gradients once.
    """

    def __init__(self, parts: Parts) -> None:
        self.parts = dict(parts)
        self._before: dict[str, list[tuple[Tensor, Tensor, Tensor]]] = {}

    def before_step(self, optimizer: Optimizer, part: str | None = None) -> None:
        """Remember weights, and only of a step that counts. Call it before `optimizer.step()`.

        part: what `optimizer` trains, where that is not all.
        """
        self._before = {}
        group = optimizer.param_groups[0]
        for name, parameters in self.parts.items():
            if part in (None, name) and group["lr"] > 0:
                least = group.get("eps", 0.0)
                self._before[name] = [_sample(p) for p in parameters if _peak(p) > least]

    def after_step(self, step: int, optimizer: Optimizer) -> None:
        """Stop watching what moved. Call it on all processes, after `optimizer.step()`.

        Raises:
            TrainingError: the step counted and no weight of a part moved, on any process.
        """
        for name, samples in self._before.items():
            moved = sum(bool((w.flatten()[at] != old).any()) for w, at, old in samples)
            device = self.parts[name][0].device
            counts = reduce(torch.tensor([len(samples), moved], device=device), "sum").tolist()
            if counts[0] and not counts[1]:
                raise TrainingError(self._did_not_move(name, step, optimizer))
            if counts[1]:
                del self.parts[name]
        self._before = {}

    def _did_not_move(self, part: str, step: int, optimizer: Optimizer) -> str:
        dtypes = sorted({str(p.dtype).removeprefix("torch.") for p in self.parts[part]})
        return (
            f"step {step}: no weight of the {part} moved in an optimizer step with learning rate "
            f"{optimizer.param_groups[0]['lr']:.3g}; nothing is being trained. Weights are "
            f"{', '.join(dtypes)}: raise learning_rate if such a step rounds to nothing there; "
            "else the optimizer holds other weights than the model, which is a fault to report."
        )


def check_zero_norm(norm: float, asked: Tensor, step: int, part: str) -> None:
    """Stop a run whose gradient is exactly 0 though its loss asks for a change.

    norm: of all processes' gradients. asked: bool, whether on this process the derivative of the
    loss with respect to the model's outputs was anywhere other than 0. Where it was not, a norm of
    0 is right: advantages of 0, a policy in the critic's warm-up, no trained token, losses that are
    clipped or 0. Call it on all processes.

    Raises:
        TrainingError: the step and the part.
    """
    if norm != 0 or math.isnan(norm):
        return
    if float(reduce(asked.float().reshape(1), "sum").sum()) > 0:
        raise TrainingError(
            f"step {step}: the gradient of the {part} is exactly 0 although its loss is not at an "
            "optimum: no weight is connected to the loss, and the run would end with the weights "
            "it began with. Start from a whole model (`rlhf merge`), without "
            "gradient_checkpointing or compile; if it stays 0, report it."
        )


def wants_change(outputs: Tensor, *, logprobs: bool = False) -> Tensor:
    """Whether the backward pass wanted other `outputs`, a bool scalar; `retain_grad` came before.

    logprobs: that is what they are. One of exactly 0 is a certain token's, which no change of the
    logits makes likelier: its gradient ends there.
    """
    if outputs.grad is None:
        return torch.zeros((), dtype=torch.bool, device=outputs.device)
    wanted = outputs.grad != 0
    return (wanted & (outputs != 0) if logprobs else wanted).any()


def _frozen_by_design(module: nn.Module) -> list[nn.Parameter]:
    """Parameters of transformers' models in `module` that a fresh model of their kind freezes."""
    found: list[nn.Parameter] = []
    for model in module.modules():
        if isinstance(model, PreTrainedModel):
            with torch.device("meta"):
                fresh = type(model)(model.config)
            names = {name for name, p in fresh.named_parameters() if not p.requires_grad}
            found += [p for name, p in model.named_parameters() if name in names]
    return found


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
    """The weights, the places with the largest gradients, and the weights at these now."""
    assert parameter.grad is not None
    grad, weights = _local(parameter.grad).flatten(), _local(parameter.detach())
    places = grad.abs().topk(min(SAMPLED, grad.numel())).indices
    return weights, places, weights.flatten()[places].clone()
