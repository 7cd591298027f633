"""Memory of a GPU in PPO and GRPO, counted from what rlhf/training/ppo/ keeps."""

from dataclasses import dataclass

from benchmarks.roofline import key_value_bytes, trunk_weights
from benchmarks.scaling_cases import Batch, Case, Machine, Model
from rlhf.models.memory import BYTES_TRAINED

FP32, BF16 = 4, 2
MOMENTS = 8  # bytes of AdamW's moments per parameter


@dataclass(frozen=True, kw_only=True)
class Memory:
    """Bytes on a GPU."""

    held: float  # in every phase
    rollout: float  # peak
    score: float  # peak
    update: float  # peak

    @property
    def peak(self) -> float:
        """The largest one."""
        return max(self.rollout, self.score, self.update)


def planner_bytes(model: Model, batch: Batch, num_gpus: int) -> int:
    """The total of `rlhf ppo --dry_run true`: whole models, float32 keys and values.

    rlhf/training/ppo/memory_plan.py: 16 bytes per trained parameter, 4 per frozen one, and the
    cache of the responses of a process.
    """
    critic = model.value_parameters if batch.critic else 0
    trained = BYTES_TRAINED * (model.parameters + critic)
    frozen = FP32 * (model.parameters + model.value_parameters)
    return trained + frozen + sampling_bytes(model, batch, -(-batch.rows // num_gpus), FP32)


def sampling_bytes(model: Model, batch: Batch, rows: int, itemsize: int) -> int:
    """Keys, values and logits, as `rlhf.models.memory.generation_bytes` counts them."""
    cache = batch.max_length * key_value_bytes(model, itemsize)
    return rows * (cache + FP32 * model.vocab_size)


def memory(case: Case, *, sharded: bool) -> Memory:
    """Held bytes and the peaks of the phases, without memory that is not reused."""
    model, batch = case.model, case.batch
    shards = case.num_gpus if sharded else 1
    held = _held(case, sharded=sharded)
    rows = -(-batch.rows // case.num_gpus)
    # The update: gradients of one module, its weights in bf16 (kept for the backward pass).
    update = held + FP32 * model.parameters / shards + BF16 * _products(model)
    update += activation_bytes(model, batch, num_gpus=case.num_gpus)
    weights = BF16 * (model.parameters if case.engine.separate else _products(model))
    if sharded and not case.engine.separate:
        weights += FP32 * model.parameters  # the whole policy is gathered
    rollout = held + weights + sampling_bytes(model, batch, rows, BF16)
    score = held + _score_bytes(case, sharded=sharded)
    return Memory(held=held, rollout=rollout, score=score, update=update)


def _score_bytes(case: Case, *, sharded: bool) -> float:
    """What scoring adds: the whole reference, then the whole critic with its weights in bf16.

    Autocast keeps the bf16 copy of a weight only if it is trained. Activations are not counted.
    """
    model, gathered = case.model, FP32 if sharded else 0
    critic = gathered * model.value_parameters + BF16 * trunk_weights(model)
    return max(gathered * model.parameters, critic if case.batch.critic else 0)


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


def activation_bytes(model: Model, batch: Batch, *, num_gpus: int) -> float:
    """Activations of a microbatch without gradient checkpointing, and its logits.

    Numbers per token and layer as in `rlhf.models.memory.tokens_at_once`, in bf16; logits and
    their gradients in float32 at response tokens.
    """
    of_rank = batch.rows / batch.num_minibatches / num_gpus * batch.mean_length
    tokens = min(batch.microbatch_tokens, of_rank)
    layer = 8 * model.hidden_size + 3 * model.intermediate_size
    share = batch.mean_response / batch.mean_length
    return tokens * (BF16 * model.num_layers * layer + 2 * FP32 * model.vocab_size * share)


def _held(case: Case, *, sharded: bool) -> float:
    """Weights and moments, the frozen models, and DDP's buckets (a copy of the gradients)."""
    model, num_gpus = case.model, case.num_gpus
    trained = model.parameters + (model.value_parameters if case.batch.critic else 0)
    linear = trunk_weights(model)
    reward = BF16 * linear + FP32 * (model.value_parameters - linear)
    if sharded:
        of_shard = (FP32 + MOMENTS) * trained + FP32 * model.parameters
        return of_shard / num_gpus + reward
    linear += 0 if model.tied else model.embedding
    reference = BF16 * linear + FP32 * (model.parameters - linear)
    buckets = FP32 * trained if num_gpus > 1 else 0
    return (FP32 + MOMENTS) * trained + buckets + reference + reward


def _products(model: Model) -> int:
    """Weights that matrix products read: those of the layers and of the output layer."""
    return trunk_weights(model) + model.embedding
