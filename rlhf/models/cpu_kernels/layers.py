"""All replacements of layers at once."""

from torch import nn

from rlhf.models.cpu_kernels.linear import use_fast_cpu_linear
from rlhf.models.cpu_kernels.lora import use_fast_cpu_lora
from rlhf.models.cpu_kernels.norm import use_fast_cpu_norms


def use_fast_cpu_layers(model: nn.Module) -> None:
    """Compute linear layers, norms and LoRA layers of `model` faster where it is on a CPU."""
    use_fast_cpu_linear(model)
    use_fast_cpu_norms(model)
    use_fast_cpu_lora(model)
