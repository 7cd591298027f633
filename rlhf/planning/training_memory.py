"""Memory of a device in SFT, reward-model training and DPO."""

from rlhf.models.scorer import TOKENS_ON_GPU
from rlhf.models.shape import key_value_bytes
from rlhf.models.shared_prefix import MAX_TOKENS
from rlhf.ops.chunked_head import LOGITS, LOGITS_ON_GPU
from rlhf.planning.activations import (
    BF16,
    FP32,
    Numerics,
    backward_bytes,
    forward_bytes,
    saved_bytes,
)
from rlhf.planning.case import TrainingCase
from rlhf.planning.memory import FOUR_BIT, UPDATE
from rlhf.planning.parts import Memory, Parts, largest, program_bytes

# Of TRL's loss: tokens and vocabulary whose logits exist at a time.
TILE_TOKENS, TILE_VOCABULARY = 4096, 32768
SAMPLES, EVALUATION, MERGED = "samples", "evaluation", "merged"
LOGITS_OF_DPO = {True: LOGITS_ON_GPU, False: LOGITS}  # by whether there is a GPU


def training_memory(case: TrainingCase, *, sharded: bool) -> Memory:
    """Held bytes, and what each phase adds.

    sharded: FSDP2: all weights in shards.
    """
    phases = {UPDATE: _update_parts(case, sharded=sharded)}
    gathered: Parts = {"gathered weights": FP32 * case.parameters} if sharded else {}
    if case.samples:
        phases[SAMPLES] = gathered | _sample_parts(case)
    if case.task != "sft":
        phases[EVALUATION] = gathered | _evaluation_parts(case)
    if case.task == "reward_model" and case.adapter:
        phases[MERGED] = _merged_parts(case)
    return Memory(
        program=program_bytes(on_gpu=case.machine.on_gpu),
        held_parts=_held_parts(case, sharded=sharded),
        phases=phases,
    )


def batch_tokens(case: TrainingCase) -> float:
    """Tokens of a batch whose rows all have the longest length."""
    return case.rows * (case.responses * case.max_length - (case.responses - 1) * case.shared)


def _held_parts(case: TrainingCase, *, sharded: bool) -> Parts:
    shards = case.num_gpus if sharded else 1
    parts: Parts = {
        "weights": FP32 * case.trained / shards,
        "moments": case.moment_bytes * case.trained / shards,
    }
    if case.adapter:
        parts["frozen base"] = _base_bytes(case) / shards
    if case.num_gpus > 1 and not sharded:
        parts["gradient buckets"] = FP32 * case.trained
    return parts


def _base_bytes(case: TrainingCase) -> float:
    """The frozen base of adapters, in the type that training computes in, or in 4 bits."""
    if not case.four_bit:
        return case.itemsize * case.parameters
    others = case.parameters - case.model.matrices
    return FOUR_BIT * case.model.matrices + case.itemsize * others


def numerics(case: TrainingCase) -> Numerics:
    """How training computes, with rows of the longest length."""
    return Numerics(
        on_gpu=case.machine.on_gpu,
        bf16=case.bf16,
        row_length=case.max_length,
        adapters=bool(case.adapter),
        fast_layers=case.task != "sft" and not case.machine.on_gpu,
        masked=case.packed,
    )


def _update_parts(case: TrainingCase, *, sharded: bool) -> Parts:
    """The largest of three moments: the last layer, the output layer, and the end of a step.

    SFT and DPO compute the loss without a tensor of all logits. The output layer's gradient is
    float32. A reward model has no output layer. AdamW makes a copy of the weights on a GPU, except
    that of SFT.
    """
    shape, how, tokens = case.model, numerics(case), batch_tokens(case)
    shards = case.num_gpus if sharded else 1
    gradients = FP32 * case.trained / shards
    # In the heap of a CPU gradients do not fit into the pieces that activations leave.
    earlier = gradients if case.accumulation > 1 or not case.machine.on_gpu else 0.0
    matrix = 0 if case.adapter else shape.embedding
    fixed: Parts = {}
    if case.bf16:
        fixed["bf16 copies"] = BF16 * _copied(case)
    if sharded:
        fixed["gathered weights"] = FP32 * (shape.embedding + 2 * shape.matrices / shape.num_layers)
    saved = saved_bytes(shape, how, tokens=tokens, checkpointing=case.checkpointing)
    if case.packed:  # the mask that separates the packed rows of a batch, as bool and as a bias
        saved += tokens**2 * (1 + case.itemsize)
    has_head = case.task != "reward_model"
    at_output = fixed | {
        "gradients": earlier + FP32 * matrix * has_head,
        "activations": saved + tokens * FP32 * shape.hidden_size,
        "logits": _tile_bytes(case, tokens) * has_head,
    }
    in_layer = fixed | {
        "gradients": earlier or FP32 * matrix * has_head,
        "activations": saved + tokens * backward_bytes(shape, how),
    }
    at_end = fixed | {"gradients": gradients + FP32 * matrix}
    if case.task != "sft" and case.machine.on_gpu:
        at_end["optimizer"] = FP32 * case.trained / shards
    return largest(at_output, in_layer, at_end)


def _tile_bytes(case: TrainingCase, tokens: float) -> float:
    """Logits that exist at a time, with the float32 tensors that the loss makes of them.

    In SFT those of a tile (TRL's loss without triton), else those of a part of the microbatch.
    """
    if case.task == "preference":
        logits = min(tokens * case.model.vocab_size, LOGITS_OF_DPO[case.machine.on_gpu])
        return logits * (case.itemsize + FP32)
    numbers = min(tokens, TILE_TOKENS) * min(case.model.vocab_size, TILE_VOCABULARY)
    return numbers * (case.itemsize + (0 if case.machine.on_gpu else 9 * FP32))


def _copied(case: TrainingCase) -> int:
    """Weights whose bf16 copies are kept for the backward pass.

    The base of adapters is in bf16.
    """
    return case.adapter or case.model.matrices


def _sample_parts(case: TrainingCase) -> Parts:
    """Sampling without autocast: a cache of keys and values, and reading the prompts."""
    itemsize = case.itemsize if case.adapter else FP32
    how = Numerics(on_gpu=case.machine.on_gpu, bf16=itemsize == BF16, row_length=case.max_length)
    length = case.max_length + case.sample_tokens
    return {
        "KV cache": case.samples * length * key_value_bytes(case.model, itemsize),
        "activations": case.samples * case.max_length * forward_bytes(case.model, how),
    }


def _evaluation_parts(case: TrainingCase) -> Parts:
    """Reading held-out rows in float32; on a CPU, rows with a common beginning together."""
    how = Numerics(
        on_gpu=case.machine.on_gpu,
        bf16=bool(case.adapter) and case.bf16,
        row_length=case.max_length,
    )
    tokens = max(TOKENS_ON_GPU if case.machine.on_gpu else MAX_TOKENS, case.max_length)
    return {"activations": tokens * forward_bytes(case.model, how)}


def _merged_parts(case: TrainingCase) -> Parts:
    """A reward model whose adapter is merged, all in float32, and its last evaluation."""
    how = Numerics(on_gpu=case.machine.on_gpu, bf16=False, row_length=case.max_length)
    tokens = max(TOKENS_ON_GPU if case.machine.on_gpu else MAX_TOKENS, case.max_length)
    return {
        "merged weights": FP32 * case.parameters - _base_bytes(case),
        "activations": tokens * forward_bytes(case.model, how),
    }
