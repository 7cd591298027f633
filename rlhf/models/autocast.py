"""bf16 copies of weights that are kept over several forward passes."""

import torch


def kept_casts(device: torch.device) -> torch.autocast:
    """Keep the bf16 copies of the weights over all autocast blocks inside this one.

    Autocast deletes them at the end of its outermost block. Leave this block before the weights
    change.
    """
    return torch.autocast(device.type, torch.bfloat16, enabled=False)
