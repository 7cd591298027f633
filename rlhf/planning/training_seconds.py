"""Seconds of an optimizer step of SFT, reward-model training and DPO."""

import math

from rlhf.models.scorer import TOKENS_ON_CPU, TOKENS_ON_GPU
from rlhf.models.shape import attended_pairs, forward_flops, query_size
from rlhf.planning.activations import FP32
from rlhf.planning.case import OPS_PER_LAYER, TrainingCase, achieved_on
from rlhf.planning.seconds import (
    OPTIMIZER_TOUCHES,
    Seconds,
    elementwise_seconds,
    gradient_bytes,
    training_passes,
)
from rlhf.planning.training_memory import numerics


def step_tokens(case: TrainingCase) -> float:
    """Tokens of an optimizer step, over all devices. Packed rows are taken to be full."""
    length = case.max_length if case.packed else case.mean_length
    return case.num_gpus * case.accumulation * case.rows * case.responses * length


def step_seconds(case: TrainingCase, *, sharded: bool) -> Seconds:
    """Seconds of an optimizer step by what they are spent on.

    FSDP2 overlaps its network traffic with the passes: the slower one counts. DDP's all-reduce is
    counted as if nothing overlapped with it.
    """
    achieved, machine, shape = case.achieved, case.machine, case.model
    read_once = case.accumulation * case.rows * (case.responses - 1) * case.shared
    tokens = step_tokens(case) / case.num_gpus - read_once
    logits = 0.0 if case.task == "reward_model" else tokens
    flops = forward_flops(shape, tokens=tokens, rows=_rows(case), logits=logits)
    # SFT and DPO compute the logits again in the backward pass.
    flops *= training_passes(bool(case.adapter), case.checkpointing)
    flops += 2 * shape.embedding * logits
    in_float32 = _float32_flops(case, tokens)
    launches = _passes(case) * 2 * shape.num_layers * OPS_PER_LAYER * achieved.launch
    bounds = {
        "matmul": (flops - in_float32) / (achieved.matmul * machine.rate(bf16=case.bf16)),
        "launches": launches,
    }
    count, trained = case.num_gpus, case.trained
    gather = (count - 1) / count * FP32 * trained / (achieved.link * machine.link_rate(count))
    if sharded:
        bounds["network"] = 3 * case.accumulation * gather
    slowest = max(bounds, key=lambda name: bounds[name])
    seconds = {slowest: bounds[slowest]}
    if in_float32:
        rate = achieved_on(machine, bf16=False).matmul * machine.fp32_flops
        seconds["float32 matmul"] = in_float32 / rate
    once = elementwise_seconds(machine, achieved, shape, numerics(case), tokens)
    if once:
        seconds["activations"] = (3 + case.checkpointing) * once
    if count > 1 and not sharded:
        seconds["network"] = 2 * gather
    of_rank, rate = trained / (count if sharded else 1), achieved.memory * machine.memory_rate
    added = case.accumulation * gradient_bytes(of_rank, bf16=case.bf16)
    moved = OPTIMIZER_TOUCHES * FP32 * of_rank
    return seconds | {"gradients": added / rate, "optimizer": moved / rate}


def _float32_flops(case: TrainingCase, tokens: float) -> float:
    """Operations of bf16 training that a CPU computes in float32.

    Attention of packed rows, and the gradients of the output layer's input and weight in TRL's
    loss (of its input alone where the weight is frozen).
    """
    if case.task != "sft" or not case.bf16 or case.machine.on_gpu:
        return 0.0
    head = 2 * case.model.embedding * tokens * (1 if case.adapter else 2)
    if not case.packed:
        return head
    pairs = attended_pairs(tokens, _rows(case))
    attention = 4 * query_size(case.model) * pairs * case.model.num_layers
    return head + attention * training_passes(False, case.checkpointing)


def _rows(case: TrainingCase) -> float:
    """Causal rows of equal length with as many pairs of tokens as attention computes.

    Packed rows of a batch are one row, whose mask separates them: all pairs are computed.
    """
    if case.packed:
        return case.accumulation / 2
    return case.accumulation * case.rows * case.responses


def _passes(case: TrainingCase) -> int:
    """Forward passes of an optimizer step on a device."""
    if case.task == "sft":
        return case.accumulation
    at_once = TOKENS_ON_GPU if case.machine.on_gpu else TOKENS_ON_CPU
    tokens = case.rows * case.responses * case.mean_length
    return case.accumulation * math.ceil(tokens / at_once)
