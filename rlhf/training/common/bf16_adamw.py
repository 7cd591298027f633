"""AdamW with moments in bf16, rounded up or down at random."""

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.optimizer import StateDict

MOMENTS = ("exp_avg", "exp_avg_sq")
DROPPED = 16  # bits of a float32 that bf16 does not have


class BF16AdamW(Optimizer):
    """AdamW (https://arxiv.org/abs/1711.05101) that stores both moments in bf16.

    A step computes in float32 and rounds the new moments so that their expectation is exact
    (`round_at_random`). The nearest bf16 number would not do: with beta2 = 0.999 a step moves the
    second moment by at most a thousandth of its value, which is less than half the distance of two
    bf16 numbers, and it would never fall. Weights are float32, as in torch.

    The random bits depend only on the number of the step and of the parameter: a resumed run, and
    every process of a run, rounds the same way.
    """

    def __init__(
        self,
        params: Iterable[Any],
        *,
        lr: float,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
    ) -> None:
        defaults = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay}
        super().__init__(params, defaults)

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """One step for every parameter with a gradient. `closure` has to be None."""
        assert closure is None
        number = 0
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._update(parameter, group, number)
                number += 1

    def _update(self, parameter: Tensor, group: dict[str, Any], number: int) -> None:
        """One step for one parameter, the `number`-th of the optimizer."""
        state, grad = self.state[parameter], parameter.grad
        assert grad is not None
        if not state:
            state["step"] = 0
            for name in MOMENTS:
                state[name] = torch.zeros_like(parameter, dtype=torch.bfloat16)
        state["step"] += 1
        beta1, beta2 = group["betas"]
        first = state["exp_avg"].float().lerp_(grad.float(), 1 - beta1)
        second = state["exp_avg_sq"].float().mul_(beta2)
        second.addcmul_(grad.float(), grad.float(), value=1 - beta2)
        unbiased1, unbiased2 = 1 - beta1 ** state["step"], 1 - beta2 ** state["step"]
        scale = second.sqrt().div_(math.sqrt(unbiased2)).add_(group["eps"])
        parameter.mul_(1 - group["lr"] * group["weight_decay"])
        parameter.addcdiv_(first, scale, value=-group["lr"] / unbiased1)
        generator = torch.Generator(parameter.device)
        generator.manual_seed(state["step"] * 1_000_003 + number)
        state["exp_avg"].copy_(round_at_random(first, generator))
        state["exp_avg_sq"].copy_(round_at_random(second, generator))

    def load_state_dict(self, state_dict: StateDict) -> None:
        """Restore a `state_dict`; torch casts moments to the type of the weights, without loss."""
        super().load_state_dict(state_dict)
        for state in self.state.values():
            state.update({name: state[name].bfloat16() for name in MOMENTS})


def round_at_random(numbers: Tensor, generator: torch.Generator) -> Tensor:
    """bf16 numbers whose expectation is `numbers`: one of the two neighbours of each.

    Adding random bits to those that bf16 drops carries over with the probability of rounding away
    from 0: (x - lower) / (upper - lower). A bf16 number stays.

    Args:
        numbers: finite, float32.
        generator: on their device.
    """
    noise = torch.randint(
        1 << DROPPED, numbers.shape, generator=generator, dtype=torch.int32, device=numbers.device
    )
    bits = (numbers.contiguous().view(torch.int32) + noise) >> DROPPED << DROPPED
    return bits.view(torch.float32).bfloat16()
