"""Seconds of an iteration of PPO and GRPO on GPUs, from counts, peak rates and assumptions."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

from benchmarks.roofline import OPTIMIZER_TOUCHES, forward_flops, key_value_bytes, trunk_weights
from benchmarks.scaling_cases import GPUS_PER_NODE, OPS_PER_LAYER, OPS_PER_STEP, Batch, Case
from benchmarks.scaling_memory import BF16, FP32, sharding

Seconds = dict[str, float]
"""Seconds by what they are spent on."""


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """Seconds of the phases of an iteration, by bound."""

    sharding: str
    tensor_parallel: int
    rollout: Seconds
    score: Seconds
    update: Seconds

    @property
    def seconds(self) -> float:
        """Of the iteration."""
        return sum(sum(phase.values()) for phase in (self.rollout, self.score, self.update))

    @property
    def bound(self) -> str:
        """The largest part of the iteration."""
        phases = {"rollout": self.rollout, "score": self.score, "update": self.update}
        parts = {
            f"{phase}: {bound}": part
            for phase, bounds in phases.items()
            for bound, part in bounds.items()
        }
        return max(parts, key=lambda name: parts[name])


def predict(case: Case) -> Prediction | None:
    """The prediction, with the fastest tensor parallelism; None if the memory is too small."""
    name = sharding(case)
    if name is None:
        return None
    sizes = [
        size
        for size in case.engine.tensor_parallel
        if size <= min(case.num_gpus, GPUS_PER_NODE) and case.model.num_kv_heads % size == 0
    ]
    rollouts = {size: rollout_seconds(case, size, sharded=name == "FSDP2") for size in sizes}
    best = min(sizes, key=lambda size: sum(rollouts[size].values()))
    return Prediction(
        sharding=name,
        tensor_parallel=best,
        rollout=rollouts[best],
        score=score_seconds(case, sharded=name == "FSDP2"),
        update=update_seconds(case, sharded=name == "FSDP2"),
    )


def rollout_seconds(case: Case, tensor_parallel: int, *, sharded: bool) -> Seconds:
    """Weights to the sampler, prompts, and one decoding step per token of the longest response."""
    model, batch = case.model, case.batch
    seconds = {"prompts": _prompt_seconds(case)}
    if case.engine.separate:
        seconds["weight transfer"] = BF16 * model.parameters / case.achieved.transfer_rate
    elif sharded:
        seconds["network"] = gather_seconds(case, FP32 * model.parameters)
    rows = batch.rows / case.num_gpus * tensor_parallel
    for step, share in enumerate(kept_shares(batch, case.engine.alive_share), start=1):
        context = batch.max_length if case.engine.whole_cache else batch.prompt_length + step
        parts = decode_step(case, rows * share, context, tensor_parallel)
        for bound, part in parts.items():
            seconds[bound] = seconds.get(bound, 0.0) + part
    return seconds


def decode_step(case: Case, rows: float, context: float, tensor_parallel: int = 1) -> Seconds:
    """Seconds of one token of `rows` responses with `context` tokens each.

    A step reads the weights once and the keys and values of every row. Products and weight reads
    overlap, and so do the launches of the layers and their computation. Sampling waits for them.
    """
    model, achieved, machine = case.model, case.achieved, case.machine
    products = trunk_weights(model) + model.embedding
    rate = achieved.memory * machine.memory_rate * tensor_parallel
    matmul = 2 * products * rows / (achieved.matmul * machine.flops * tensor_parallel)
    reads = BF16 * products / rate
    seconds = {"weight reads": reads} if reads > matmul else {"matmul": matmul}
    seconds["key-value reads"] = rows * context * key_value_bytes(model, BF16) / rate
    if tensor_parallel > 1:
        moved = 2 * (tensor_parallel - 1) / tensor_parallel * rows * model.hidden_size * BF16
        once = achieved.all_reduce + moved / (achieved.link * machine.nvlink)
        seconds["all-reduce"] = 2 * model.num_layers * once
    if case.engine.separate:
        return seconds | {"engine overhead": achieved.engine_step}
    launches = launch_seconds(case) if case.engine.launches else 0.0
    if launches > sum(seconds.values()):
        seconds = {}
    else:
        launches = 0.0
    return seconds | {"launches": launches + OPS_PER_STEP * achieved.launch}


def score_seconds(case: Case, *, sharded: bool) -> Seconds:
    """Forward passes of reward model, reference and critic over this GPU's rows."""
    model, batch = case.model, case.batch
    rows = batch.rows / case.num_gpus
    tokens, responses = rows * batch.mean_length, rows * batch.mean_response
    trunk = forward_flops(model, tokens=tokens, rows=rows)
    head = forward_flops(model, tokens=tokens, rows=rows, logits=responses)
    seconds: Seconds = {}
    models = [("reward model", trunk, batch.reward_tokens)]
    models += [("reference", head, batch.microbatch_tokens)]
    models += [("critic", trunk, batch.microbatch_tokens)] if batch.critic else []
    for name, flops, at_once in models:
        compute = flops / (case.achieved.matmul * case.machine.flops)
        launches = math.ceil(tokens / at_once) * launch_seconds(case)
        bound = "launches" if launches > compute else "matmul"
        seconds[f"{name} {bound}"] = max(compute, launches)
    if sharded:
        gathered = model.parameters + (model.value_parameters if batch.critic else 0)
        seconds["network"] = gather_seconds(case, FP32 * gathered)
    return seconds


def update_seconds(case: Case, *, sharded: bool) -> Seconds:
    """Forward and backward passes of the trained models, gradients over ranks, and AdamW."""
    model, batch = case.model, case.batch
    steps = batch.num_epochs * batch.num_minibatches
    rows = batch.rows / batch.num_minibatches / case.num_gpus
    responses = rows * batch.mean_response
    trained = [(model.parameters, responses)]
    trained += [(model.value_parameters, 0.0)] if batch.critic else []
    seconds: Seconds = {}
    for parameters, logits in trained:
        parts = _optimizer_step(case, rows, parameters, logits, sharded=sharded)
        for bound, part in parts.items():
            seconds[bound] = seconds.get(bound, 0.0) + steps * part
    return seconds


def _optimizer_step(
    case: Case, rows: float, parameters: int, logits: float, *, sharded: bool
) -> Seconds:
    """One model's passes over this GPU's rows of a minibatch, and its step.

    FSDP2 overlaps its network traffic with the passes: the slower one counts. DDP's all-reduce is
    counted as if nothing overlapped with it.
    """
    batch, achieved = case.batch, case.achieved
    tokens = rows * batch.mean_length
    passes = math.ceil(tokens / batch.microbatch_tokens)
    flops = 3 * forward_flops(case.model, tokens=tokens, rows=rows, logits=logits)
    # The backward pass has twice the operations, launched from C++: as long as the forward pass.
    bounds = {
        "matmul": flops / (achieved.matmul * case.machine.flops),
        "launches": passes * 2 * launch_seconds(case),
    }
    gather = gather_seconds(case, FP32 * parameters)
    if sharded:
        bounds["network"] = 3 * passes * gather  # weights twice, gradients once
    slowest = max(bounds, key=lambda name: bounds[name])
    seconds = {slowest: bounds[slowest]}
    if not sharded and case.num_gpus > 1:
        seconds["network"] = 2 * gather
    of_rank = parameters / case.num_gpus if sharded else parameters
    moved = OPTIMIZER_TOUCHES * FP32 * of_rank
    seconds["optimizer"] = moved / (achieved.memory * case.machine.memory_rate)
    return seconds


def gather_seconds(case: Case, size: float) -> float:
    """Seconds in which a ring of all GPUs gathers (or reduces and scatters) `size` bytes."""
    count = case.num_gpus
    return (count - 1) / count * size / (case.achieved.link * case.machine.link_rate(count))


def launch_seconds(case: Case) -> float:
    """Seconds in which Python starts the operations of one forward pass."""
    return case.model.num_layers * OPS_PER_LAYER * case.achieved.launch


@cache
def eos_hazard(mean: float, longest: int) -> float:
    """h such that lengths min(Geometric(h), longest) have this mean: (1 - (1 - h)^longest) / h."""
    low, high = 1e-9, 1.0
    for _ in range(100):
        middle = (low + high) / 2
        too_long = (1 - (1 - middle) ** longest) / middle > mean
        low, high = (middle, high) if too_long else (low, middle)
    return low


def alive_after(batch: Batch, tokens: int) -> float:
    """Share of the responses that are unfinished after this many tokens."""
    return (1 - eos_hazard(batch.mean_response, batch.max_response)) ** tokens


def kept_shares(batch: Batch, alive_share: float) -> Iterator[float]:
    """Share of the rows that each decoding step computes, from the step after the first token.

    Finished rows are dropped when at most `alive_share` of the rows are unfinished.
    """
    held = 1.0
    for step in range(1, batch.max_response):
        alive = alive_after(batch, step)
        held = alive if alive <= alive_share * held else held
        yield held


def _prompt_seconds(case: Case) -> float:
    """Every prompt is read once, whatever the number of its responses."""
    batch, prompts = case.batch, case.batch.num_prompts / case.num_gpus
    tokens = prompts * batch.prompt_length
    flops = forward_flops(case.model, tokens=tokens, rows=prompts, logits=prompts)
    return flops / (case.achieved.matmul * case.machine.flops)
