"""SFT with DeepSpeed ZeRO-3: the whole model after its last step."""

from typing import Any

from torch import Tensor, nn


def whole_model(engine: Any) -> Any:
    """The model of a DeepSpeed engine with whole weights on every process; the engine ends.

    Trained weights are the optimizer's float32 copies. Call it on all processes.
    """
    from deepspeed.runtime.zero import GatheredParameters
    from deepspeed.utils import safe_get_full_fp32_param

    model: nn.Module = engine.module
    named = dict(model.named_parameters())
    weights: dict[str, Tensor] = {
        name: safe_get_full_fp32_param(part) for name, part in named.items() if part.requires_grad
    }
    frozen = {name: part for name, part in named.items() if name not in weights}
    with GatheredParameters(list(frozen.values())):
        weights |= {name: part.detach().clone() for name, part in frozen.items()}
    engine.destroy()  # and its hooks, which would gather and free weights in every forward pass
    # Tied weights are one parameter, under its first name.
    replaced = {
        id(part): nn.Parameter(weights[name], requires_grad=part.requires_grad)
        for name, part in named.items()
    }
    for module in model.modules():
        held = dict(module._parameters)
        # DeepSpeed put its own kind of dict there.
        module._parameters = {
            name: None if part is None else replaced[id(part)] for name, part in held.items()
        }
    return model
