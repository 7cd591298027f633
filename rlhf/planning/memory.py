"""Memory of a device in PPO and GRPO, counted from what rlhf/training/ppo/ keeps."""

import math

from rlhf.models.four_bit import BITS
from rlhf.models.scorer import TOKENS_ON_CPU, TOKENS_ON_GPU
from rlhf.models.shape import ModelShape, key_value_bytes
from rlhf.ops.chunked_head import LOGITS, LOGITS_ON_GPU, MIN_ROWS
from rlhf.planning.activations import (
    BF16,
    FP32,
    Numerics,
    backward_bytes,
    forward_bytes,
    saved_bytes,
)
from rlhf.planning.case import Case
from rlhf.planning.machines import Machine
from rlhf.planning.parts import Memory, Parts, largest, program_bytes

FOUR_BIT = BITS / 8  # bytes of a weight that is stored in 4 bits
SAMPLED = 5  # float32 tensors [rows, vocabulary] of a sampling step on a GPU
ROLLOUT, SCORE, UPDATE = "rollout", "score", "update"


def memory(case: Case, *, sharded: bool) -> Memory:
    """Held bytes, and what each phase adds.

    Memory that an allocator cannot reuse is not counted.

    sharded: FSDP2: policy, critic and reference in shards.
    """
    return Memory(
        program=program_bytes(on_gpu=case.machine.on_gpu),
        held_parts=held_parts(case, sharded=sharded),
        phases={
            ROLLOUT: rollout_parts(case, sharded=sharded),
            SCORE: score_parts(case, sharded=sharded),
            UPDATE: update_parts(case, sharded=sharded),
        },
    )


def trained_parameters(case: Case) -> int:
    """Of policy and critic together."""
    if case.mode == "lora":
        critic = case.adapter if case.critic_adapter is None else case.critic_adapter
        return case.adapter + (critic if case.batch.critic else 0)
    if case.mode == "shared_trunk":
        return case.model.parameters + case.model.hidden_size + 1
    return case.model.parameters + (case.critic.value_parameters if case.critic else 0)


def held_parts(case: Case, *, sharded: bool) -> Parts:
    """Weights, moments, the frozen models, and DDP's buckets (a copy of the gradients)."""
    shards, trained = case.num_gpus if sharded else 1, trained_parameters(case)
    parts = {"weights": FP32 * trained / shards, "moments": case.moment_bytes * trained / shards}
    if case.num_gpus > 1 and not sharded:
        parts["gradient buckets"] = FP32 * trained
    if case.mode == "lora":
        parts["backbone and reference"] = _backbone_bytes(case)
    elif sharded:
        parts["reference"] = FP32 * case.model.parameters / shards
    else:
        parts["reference"] = frozen_bytes(case.model, bf16=case.bf16, head=True)
    rewards = [frozen_bytes(model, bf16=case.bf16, head=False) for model in case.rewards]
    return parts | ({"reward models": sum(rewards)} if rewards else {})


def frozen_bytes(shape: ModelShape, *, bf16: bool, head: bool) -> float:
    """A frozen model, whose linear layers are held in bf16 where the run computes in bf16.

    head: whether it has the output layer, which is held in bf16 if it is no embedding too.
    """
    parameters = shape.parameters if head else shape.value_parameters
    linear = shape.matrices + (shape.embedding if head and not shape.tied else 0)
    return FP32 * parameters - (FP32 - BF16) * linear * bf16


def _backbone_bytes(case: Case) -> float:
    """The frozen backbone of adapters, whose layers may be in 4 bits."""
    whole = frozen_bytes(case.model, bf16=case.bf16, head=True)
    return whole - (case.itemsize - FOUR_BIT) * case.model.matrices * case.four_bit


def numerics(case: Case) -> Numerics:
    """How the update computes. On a CPU rows of the longest length are assumed."""
    on_gpu = case.machine.on_gpu
    return Numerics(
        on_gpu=on_gpu,
        bf16=case.bf16,
        row_length=case.batch.max_length,
        adapters=case.mode == "lora",
        fast_layers=not on_gpu,
    )


def passes(case: Case) -> int:
    """Microbatches of an optimizer step on a device, of rows of the longest length."""
    return max(1, math.ceil(_tokens_of_step(case) / _limit(case)))


def microbatch_tokens(case: Case) -> float:
    """Tokens of the largest microbatch: equal shares of the step, of rows of the longest length."""
    return _tokens_of_step(case) / passes(case)


def _tokens_of_step(case: Case) -> float:
    rows = math.ceil(case.batch.rows / case.batch.num_minibatches / case.num_gpus)
    return rows * case.batch.max_length


def _limit(case: Case) -> int:
    """Tokens of a microbatch that hold whole rows of the longest length."""
    longest = case.batch.max_length
    return max(1, case.batch.microbatch_tokens // longest) * longest


def update_parts(case: Case, *, sharded: bool) -> Parts:
    """The larger of the updates of policy and critic, which follow each other."""
    policy = _update_of(case, case.model, sharded=sharded, has_logits=True)
    if case.critic is None:
        return policy
    return largest(policy, _update_of(case, case.critic, sharded=sharded, has_logits=False))


def _update_of(case: Case, shape: ModelShape, *, sharded: bool, has_logits: bool) -> Parts:
    """What the update of one module adds at the largest of three moments.

    At the output layer all activations exist, with logits and their gradient. In the last layer,
    with the gradients of its activations. At the end all gradients, with that of the embedding.
    Earlier microbatches have left all gradients. In the first, gradients replace the activations,
    except in the heap of a CPU, where they do not fit into the pieces that those leave.
    """
    how, tokens = numerics(case), microbatch_tokens(case)
    gradients = _gradient_bytes(case, shape, sharded=sharded, has_logits=has_logits)
    earlier = gradients if passes(case) > 1 or not case.machine.on_gpu else 0.0
    matrix = 0 if case.mode == "lora" else FP32 * shape.embedding
    fixed = _update_weights(case, shape, sharded=sharded, has_logits=has_logits)
    forwards = 2 if case.mode == "lora" and case.batch.critic else 1  # of policy and critic
    saved = forwards * saved_bytes(shape, how, tokens=tokens, checkpointing=case.checkpointing)
    in_layer = fixed | {
        "gradients": earlier or matrix * has_logits,
        "activations": saved + tokens * backward_bytes(shape, how),
    }
    at_end = fixed | {"gradients": gradients + matrix}
    if not has_logits:
        return largest(in_layer, at_end)
    logits, in_parts = logits_bytes(case, shape, tokens)
    # Autocast's gradient of the output layer is bf16, and is cast to float32; that of logits in
    # parts is float32.
    cast = 1.5 if case.bf16 and not in_parts else 1.0
    at_output = fixed | {
        "gradients": earlier + matrix * cast,
        "activations": saved,
        "logits": logits if in_parts else 2 * logits,
    }
    return largest(at_output, in_layer, at_end)


def logits_bytes(case: Case, shape: ModelShape, tokens: float) -> tuple[float, bool]:
    """Bytes of the logits that exist at once, and whether they are computed in parts.

    In parts, a table of them becomes its own gradient; else there is one of each.
    """
    positions = tokens * case.batch.max_response / case.batch.max_length
    at_once = LOGITS_ON_GPU if case.machine.on_gpu else LOGITS
    most = max(MIN_ROWS, at_once // shape.vocab_size)
    return min(positions, most) * shape.vocab_size * case.itemsize, positions > most


def _gradient_bytes(case: Case, shape: ModelShape, *, sharded: bool, has_logits: bool) -> float:
    """Gradients of the module that is updated: of one model, or of all that is trained."""
    of_model = shape.parameters if has_logits else shape.value_parameters
    trained = of_model if case.mode == "separate" else trained_parameters(case)
    return FP32 * trained / (case.num_gpus if sharded else 1)


def _update_weights(case: Case, shape: ModelShape, *, sharded: bool, has_logits: bool) -> Parts:
    """Copies of weights: in bf16, and with FSDP2 the gathered embeddings and two layers."""
    parts: Parts = {}
    if case.bf16:
        parts["bf16 copies"] = BF16 * _copied(case, shape, has_logits=has_logits)
    if sharded:
        layers = 2 * shape.matrices / shape.num_layers
        parts["gathered weights"] = FP32 * (shape.embedding + layers)
    return parts


def _copied(case: Case, shape: ModelShape, *, has_logits: bool) -> int:
    """Weights whose bf16 copies autocast keeps through an optimizer step.

    Those of trained matrices. A frozen backbone is in bf16, except for an output layer that is the
    embedding too, whose copy is kept for the backward pass.
    """
    if case.mode == "lora":
        return case.adapter + (shape.embedding if shape.tied else 0)
    return shape.matrices + (shape.embedding if has_logits else 0)


def rollout_parts(case: Case, *, sharded: bool) -> Parts:
    """The larger of reading the prompts and decoding.

    A CPU decodes with its own copy of the weights, next to those that autocast has kept from the
    prompts. An inference engine has its own copy of the policy.
    """
    shape, how = case.model, numerics(case)
    prompts = math.ceil(case.batch.num_prompts / case.num_gpus)
    tokens = prompts * case.batch.longest_prompt
    copies = decoding_copies(case)
    fixed: Parts = {"bf16 copies": copies} if copies else {}
    if sharded and not case.engine.separate:
        fixed["gathered weights"] = FP32 * shape.parameters
    fixed["KV cache"] = cache_bytes(case)
    rows = math.ceil(case.batch.rows / case.num_gpus)
    numbers = SAMPLED * FP32 if case.machine.on_gpu else how.itemsize
    reading = fixed | {"activations": tokens * forward_bytes(shape, how)}
    decoding = fixed | {"logits": rows * shape.vocab_size * numbers}
    return largest(reading, decoding)


def decoding_copies(case: Case) -> float:
    """Bytes of the bf16 copies of the policy's weights in a rollout."""
    if not case.bf16:
        return 0.0
    if case.engine.separate:
        return BF16 * case.model.parameters
    if case.mode == "lora":
        return BF16 * (case.model.embedding if case.model.tied else 0)
    return BF16 * case.model.products * (1 if case.machine.on_gpu else 2)


def cache_bytes(case: Case) -> float:
    """Keys and values of the responses that a device samples at once."""
    rows = math.ceil(case.batch.rows / case.num_gpus)
    return rows * case.batch.max_length * key_value_bytes(case.model, case.itemsize)


def score_parts(case: Case, *, sharded: bool) -> Parts:
    """The largest of scoring, the reference's log-probs and the critic's values."""
    moments = [*_judging(case), *_referring(case, sharded=sharded)]
    if case.batch.critic:
        moments.append(_valuing(case, case.critic or case.model, sharded=sharded))
    return {name: size for name, size in largest(*moments).items() if size}


def _judging(case: Case) -> list[Parts]:
    """A forward pass of each reward model."""
    at_once = TOKENS_ON_GPU if case.machine.on_gpu else TOKENS_ON_CPU
    rows = math.ceil(case.batch.rows / case.num_gpus)
    tokens = min(max(at_once, case.batch.max_length), rows * case.batch.max_length)
    how = numerics(case)
    return [{"activations": tokens * forward_bytes(model, how)} for model in case.rewards]


def _referring(case: Case, *, sharded: bool) -> list[Parts]:
    """A forward pass of the reference: in its layers, and at its output layer."""
    shape, how, tokens = case.model, numerics(case), _tokens_without_gradient(case)
    fixed: Parts = {"gathered weights": FP32 * shape.parameters if sharded else 0.0}
    head = BF16 * shape.embedding if shape.tied and case.bf16 else 0.0
    at_output: Parts = {
        "bf16 copies": head,
        "activations": tokens * FP32 * shape.hidden_size,
        "logits": logits_bytes(case, shape, tokens)[0],
    }
    return [fixed | {"activations": tokens * forward_bytes(shape, how)}, fixed | at_output]


def _valuing(case: Case, critic: ModelShape, *, sharded: bool) -> Parts:
    """A forward pass of the critic."""
    copied = case.bf16 and case.mode != "lora"
    return {
        "gathered weights": FP32 * critic.value_parameters if sharded else 0.0,
        "bf16 copies": BF16 * critic.matrices if copied else 0.0,
        "activations": _tokens_without_gradient(case) * forward_bytes(critic, numerics(case)),
    }


def _tokens_without_gradient(case: Case) -> float:
    """Tokens of a forward pass in scoring."""
    rows = math.ceil(case.batch.rows / case.num_gpus)
    return min(_limit(case), rows * case.batch.max_length)


def sharding(case: Case) -> str | None:
    """`DDP` where it fits, else `FSDP2`, else None."""
    for name in ("DDP", "FSDP2")[: 1 if case.num_gpus == 1 else 2]:
        if fits(memory(case, sharded=name == "FSDP2"), case):
            return name
    return None


def fits(needed: Memory, case: Case, machine: Machine | None = None) -> bool:
    """Whether the peak is at most the usable memory of the machine."""
    capacity = (machine or case.machine).memory * case.achieved.usable_memory
    return needed.peak <= capacity
