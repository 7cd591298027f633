"""AdamW by the key `optim`: of torch, with moments in bf16, or in 8 bits by bitsandbytes."""

import importlib
from collections.abc import Iterable
from importlib.util import find_spec
from typing import Any

import torch
from torch.optim import Optimizer

from rlhf.errors import ConfigError
from rlhf.runtime.distributed import requested_sharding
from rlhf.training.common.bf16_adamw import BF16AdamW
from rlhf.training.common.config import Optim

MOMENT_BYTES: dict[Optim, int] = {
    "adamw_torch": 8,
    "adamw_bf16": 4,
    "adamw_8bit": 2,
    "paged_adamw_8bit": 2,
}


def moment_bytes(optim: Optim) -> int:
    """Bytes of AdamW's two moments per trained parameter."""
    return MOMENT_BYTES[optim]


def check_optim(optim: Optim) -> None:
    """Check that this machine and launch configuration have the optimizer.

    Raises:
        ConfigError: the key, and what is missing.
    """
    if optim == "adamw_torch":
        return
    if sharding := requested_sharding():
        raise ConfigError(
            f"optim={optim} does not work with sharded weights ({sharding}); leave it out, or "
            "launch with recipes/accelerate/ddp.yaml.",
            code="unsupported",
        )
    if optim == "adamw_bf16":
        return
    if find_spec("bitsandbytes") is None:
        raise ConfigError(
            f"optim={optim} needs bitsandbytes: pip install 'rlhf[bitsandbytes]'.",
            code="missing-package",
        )
    if optim == "paged_adamw_8bit" and not torch.cuda.is_available():
        raise ConfigError(
            "optim=paged_adamw_8bit needs a CUDA GPU and this machine has none; use adamw_8bit.",
            code="unsupported",
        )


def small_adamw(
    groups: Iterable[Any], optim: Optim, *, lr: float, eps: float = 1e-8, weight_decay: float = 0.0
) -> Optimizer:
    """AdamW whose moments are stored in bf16 or 8 bits.

    In 8 bits each block of 256 numbers has its own scale (Dettmers et al. 2021,
    https://arxiv.org/abs/2110.02861), and tensors of fewer than 4,096 numbers have moments in
    float32.

    Args:
        groups: parameters, or groups of them as `torch.optim` takes them.
        optim: any but adamw_torch.
        lr: learning rate.
        eps: added to the root of the second moment.
        weight_decay: decoupled from the gradient.
    """
    if optim == "adamw_bf16":
        return BF16AdamW(groups, lr=lr, eps=eps, weight_decay=weight_decay)
    library: Any = importlib.import_module("bitsandbytes.optim")
    # transformers' trainer leaves settings of embeddings there, by place in the parameter groups,
    # and every later optimizer of the process would apply them.
    library.GlobalOptimManager.get_instance().initialize()
    kind = library.PagedAdamW8bit if optim == "paged_adamw_8bit" else library.AdamW8bit
    optimizer: Optimizer = kind(groups, lr=lr, eps=eps, weight_decay=weight_decay)
    return optimizer
