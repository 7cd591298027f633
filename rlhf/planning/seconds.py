"""Seconds of an iteration of PPO and GRPO, from counts, peak rates and assumptions."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

from rlhf.models.shape import ModelShape, forward_flops, key_value_bytes
from rlhf.planning.activations import BF16, FP32, Numerics, saved_bytes
from rlhf.planning.case import OPS_PER_LAYER, OPS_PER_STEP, Achieved, Batch, Case
from rlhf.planning.machines import GPUS_PER_NODE, Machine
from rlhf.planning.memory import numerics, sharding

Seconds = dict[str, float]
"""Seconds by what they are spent on."""
# AdamW reads weight, gradient and both moments and writes weight and moments; the backward pass
# writes the gradient, clipping reads and writes it.
OPTIMIZER_TOUCHES = 10
# On a CPU: bytes that operators other than products read and write in a forward pass, per byte that
# it saves or would save; a backward pass has twice as many. Fitted to benchmarks/planning.py. On a
# GPU, the share of the peak that products reach includes them.
ACTIVATION_TOUCHES = 10


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
    return None if name is None else predict_sharded(case, sharded=name == "FSDP2")


def predict_sharded(case: Case, *, sharded: bool) -> Prediction:
    """The prediction, with the fastest tensor parallelism, whether or not the memory suffices."""
    sizes = [
        size
        for size in case.engine.tensor_parallel
        if size <= min(case.num_gpus, GPUS_PER_NODE) and case.model.num_kv_heads % size == 0
    ]
    rollouts = {size: rollout_seconds(case, size, sharded=sharded) for size in sizes}
    best = min(sizes, key=lambda size: sum(rollouts[size].values()))
    return Prediction(
        sharding="FSDP2" if sharded else "DDP",
        tensor_parallel=best,
        rollout=rollouts[best],
        score=score_seconds(case, sharded=sharded),
        update=update_seconds(case, sharded=sharded),
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
    overlap, and so do the launches of the layers and their computation on a GPU. Sampling waits
    for them.
    """
    model, achieved, machine = case.model, case.achieved, case.machine
    products = model.products
    rate = achieved.memory * machine.memory_rate * tensor_parallel
    matmul = 2 * products * rows / (matmul_rate(case) * tensor_parallel)
    reads = case.itemsize * products / rate
    seconds = {"weight reads": reads} if reads > matmul else {"matmul": matmul}
    seconds["key-value reads"] = rows * context * key_value_bytes(model, case.itemsize) / rate
    if tensor_parallel > 1:
        moved = 2 * (tensor_parallel - 1) / tensor_parallel * rows * model.hidden_size * BF16
        once = achieved.all_reduce + moved / (achieved.link * machine.nvlink)
        seconds["all-reduce"] = 2 * model.num_layers * once
    if case.engine.separate:
        return seconds | {"engine overhead": achieved.engine_step}
    launches = launch_seconds(case, model) if case.engine.launches else 0.0
    if not machine.on_gpu:
        return seconds | {"launches": launches + OPS_PER_STEP * achieved.launch}
    if launches > sum(seconds.values()):
        seconds = {}
    else:
        launches = 0.0
    return seconds | {"launches": launches + OPS_PER_STEP * achieved.launch}


def score_seconds(case: Case, *, sharded: bool) -> Seconds:
    """Forward passes of the reward models, the reference and the critic over this GPU's rows."""
    batch = case.batch
    rows = batch.rows / case.num_gpus
    tokens, responses = rows * batch.mean_length, rows * batch.mean_response
    read = rows * (batch.mean_response + batch.prompt_length * distinct_prompts(case, 1))
    passes = [("reward model", model, 0.0, batch.reward_tokens) for model in case.rewards]
    passes += [("reference", case.model, responses, batch.microbatch_tokens)]
    if batch.critic:
        passes += [("critic", case.critic or case.model, 0.0, batch.microbatch_tokens)]
    seconds: Seconds = {}
    for name, model, logits, at_once in passes:
        at_rows = tokens if name == "reward model" else read
        flops = forward_flops(model, tokens=at_rows, rows=rows, logits=logits)
        compute = flops / matmul_rate(case)
        compute += elementwise_seconds(case.machine, case.achieved, model, numerics(case), at_rows)
        launches = math.ceil(tokens / at_once) * launch_seconds(case, model)
        name = f"{name} {'launches' if launches > compute else 'matmul'}"
        seconds[name] = seconds.get(name, 0.0) + max(compute, launches)
    if sharded:
        gathered = case.model.parameters + (case.critic.value_parameters if case.critic else 0)
        seconds["network"] = gather_seconds(case, FP32 * gathered)
    return seconds


def update_seconds(case: Case, *, sharded: bool) -> Seconds:
    """Forward and backward passes of the trained models, gradients over ranks, and AdamW."""
    batch = case.batch
    steps = batch.num_epochs * batch.num_minibatches
    rows = batch.rows / batch.num_minibatches / case.num_gpus
    responses = rows * batch.mean_response
    adapter = case.adapter if case.mode == "lora" else 0
    trained = [(case.model, adapter or case.model.parameters, responses)]
    if case.critic is not None:
        trained += [(case.critic, case.critic.value_parameters, 0.0)]
    elif batch.critic and adapter:
        trained += [(case.model, adapter, 0.0)]
    seconds: Seconds = {}
    for model, parameters, logits in trained:
        parts = _optimizer_step(case, model, rows, parameters, logits, sharded=sharded)
        for bound, part in parts.items():
            seconds[bound] = seconds.get(bound, 0.0) + steps * part
    return seconds


def _optimizer_step(
    case: Case, model: ModelShape, rows: float, parameters: int, logits: float, *, sharded: bool
) -> Seconds:
    """One model's passes over this GPU's rows of a minibatch, and its step.

    FSDP2 overlaps its network traffic with the passes: the slower one counts. DDP's all-reduce is
    counted as if nothing overlapped with it.
    """
    batch, achieved = case.batch, case.achieved
    distinct = distinct_prompts(case, batch.num_minibatches)
    tokens = rows * (batch.mean_response + batch.prompt_length * distinct)
    passes = math.ceil(tokens / batch.microbatch_tokens)
    flops = forward_flops(model, tokens=tokens, rows=rows, logits=logits)
    adapters = case.mode == "lora"
    # The backward pass has twice the operations, launched from C++: as long as the forward pass.
    bounds = {
        "matmul": training_passes(adapters, case.checkpointing) * flops / matmul_rate(case),
        "launches": passes * 2 * launch_seconds(case, model),
    }
    gather = gather_seconds(case, FP32 * parameters)
    if sharded:
        bounds["network"] = 3 * passes * gather  # weights twice, gradients once
    slowest = max(bounds, key=lambda name: bounds[name])
    seconds = {slowest: bounds[slowest]}
    once = elementwise_seconds(case.machine, achieved, model, numerics(case), tokens)
    if once:
        seconds["activations"] = (3 + case.checkpointing) * once
    if not sharded and case.num_gpus > 1:
        seconds["network"] = 2 * gather
    of_rank = parameters / case.num_gpus if sharded else parameters
    rate = achieved.memory * case.machine.memory_rate
    seconds["gradients"] = passes * gradient_bytes(of_rank, bf16=case.bf16) / rate
    seconds["optimizer"] = OPTIMIZER_TOUCHES * FP32 * of_rank / rate
    return seconds


def elementwise_seconds(
    machine: Machine, achieved: Achieved, shape: ModelShape, how: Numerics, tokens: float
) -> float:
    """Seconds of a forward pass in operators other than products, on a CPU."""
    if machine.on_gpu:
        return 0.0
    moved = ACTIVATION_TOUCHES * saved_bytes(shape, how, tokens=tokens)
    return moved / (achieved.memory * machine.memory_rate)


def gradient_bytes(parameters: float, *, bf16: bool) -> float:
    """Bytes to add the gradients of a microbatch to those before: two read, one written.

    Those of bf16 copies are cast to float32 first.
    """
    return parameters * (3 * FP32 + (BF16 + FP32) * bf16)


def distinct_prompts(case: Case, parts: int) -> float:
    """Expected share of different prompts among rows that are dealt to `parts` at random.

    On a CPU rows with equal prompts share their tokens. One of n parts has a prompt with
    probability 1 - (1 - 1/n)^K, and K/n of its K rows on average.
    """
    if case.machine.on_gpu:
        return 1.0
    count = case.batch.num_generations
    return (1 - (1 - 1 / parts) ** count) * parts / count


def training_passes(adapters: bool, checkpointing: bool) -> int:
    """Operations of a step over those of a forward pass.

    The backward pass has two products per weight, one under LoRA, whose base has no gradient.
    """
    return 1 + (1 if adapters else 2) + checkpointing


def matmul_rate(case: Case) -> float:
    """Operations per second that matrix products reach."""
    return case.achieved.matmul * case.machine.rate(bf16=case.bf16)


def gather_seconds(case: Case, size: float) -> float:
    """Seconds in which a ring of all GPUs gathers (or reduces and scatters) `size` bytes."""
    count = case.num_gpus
    return (count - 1) / count * size / (case.achieved.link * case.machine.link_rate(count))


def launch_seconds(case: Case, model: ModelShape) -> float:
    """Seconds in which Python starts the operations of one forward pass."""
    return model.num_layers * OPS_PER_LAYER * case.achieved.launch


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
    return flops / matmul_rate(case)
