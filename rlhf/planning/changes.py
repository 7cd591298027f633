"""Changes of a run that save memory, each with the peak that it leads to."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from rlhf.models.shape import ModelShape, kv_size, query_size
from rlhf.planning.case import Batch, Case, TrainingCase
from rlhf.planning.memory import memory
from rlhf.planning.parts import Memory
from rlhf.planning.training_memory import training_memory

C = TypeVar("C", Case, TrainingCase)

LORA_R = 16  # of an adapter that is proposed
FOUR_BITS = "load_in_4bit: true"


@dataclass(frozen=True, kw_only=True)
class Change:
    """What to change, the bytes of the peak then, and whether they fit."""

    text: str
    peak: float
    fits: bool


def ppo_changes(case: Case, *, sharded: bool, smallest: int) -> Sequence[Change]:
    """Changes of a PPO run that lower its peak, in the order in which to try them.

    smallest: the value of max_tokens_per_microbatch to propose.
    """
    tried = _ppo_cases(case, sharded=sharded, smallest=smallest)
    return _lower(memory, case, tried, sharded=sharded)


def _lower(
    needed: Callable[..., Memory], case: C, tried: Iterable[tuple[str, C, bool]], *, sharded: bool
) -> list[Change]:
    """The changes after which less memory is needed."""
    now = needed(case, sharded=sharded).peak
    peaks = [
        (text, changed, needed(changed, sharded=in_shards).peak)
        for text, changed, in_shards in tried
    ]
    return [
        Change(text=text, peak=peak, fits=peak <= _usable(changed))
        for text, changed, peak in peaks
        if peak < now
    ]


def _ppo_cases(case: Case, *, sharded: bool, smallest: int) -> Iterator[tuple[str, Case, bool]]:
    """(what to change, the changed case, whether it is sharded)."""
    batch = replace(case.batch, microbatch_tokens=smallest)
    less = replace(case, batch=batch)
    few = f"max_tokens_per_microbatch: {smallest}"
    if smallest < case.batch.microbatch_tokens:
        yield few, less, sharded
    may_checkpoint = not (case.mode == "lora" and case.batch.critic)
    if may_checkpoint and not case.checkpointing:
        yield "gradient_checkpointing: true", replace(case, checkpointing=True), sharded
        if smallest < case.batch.microbatch_tokens:
            both = f"{few} and gradient_checkpointing: true"
            yield both, replace(less, checkpointing=True), sharded
    if not case.bf16:
        yield "bf16: true", replace(case, bf16=True), sharded
    half = case.batch.num_prompts // 2
    if half:
        rows = half * case.batch.num_generations
        halved = replace(case.batch, num_prompts=half)
        yield f"rollout_batch_size: {rows}", replace(case, batch=halved), sharded
    if case.mode == "separate" and case.batch.critic:
        yield "advantage: grpo (no critic)", replace(case, batch=_no_critic(case)), sharded
        yield "mode: shared_trunk", replace(case, mode="shared_trunk"), sharded
    if case.mode != "lora" and case.num_gpus > 1 and not sharded:
        yield "FSDP2 (recipes/accelerate/fsdp2.yaml)", case, True
    if case.mode == "lora" and not case.four_bit:
        yield FOUR_BITS, replace(case, four_bit=True), sharded
    if case.mode != "lora":
        adapter = lora_parameters(case.model, LORA_R)
        yield "mode: lora", replace(case, mode="lora", adapter=adapter), False
        more = 4 * case.num_gpus
        yield f"FSDP2 on {more} devices", replace(case, num_gpus=more), True


def _no_critic(case: Case) -> Batch:
    return replace(case.batch, critic=False)


def training_changes(case: TrainingCase, *, sharded: bool, smallest: int) -> Sequence[Change]:
    """Changes of an SFT or reward-model run that lower its peak, in the order to try them.

    smallest: the value of per_device_train_batch_size to propose.
    """
    tried = _training_cases(case, sharded=sharded, smallest=smallest)
    return _lower(training_memory, case, tried, sharded=sharded)


def _training_cases(
    case: TrainingCase, *, sharded: bool, smallest: int
) -> Iterator[tuple[str, TrainingCase, bool]]:
    """(what to change, the changed case, whether it is sharded)."""
    times = -(-case.rows // smallest)
    fewer = replace(case, rows=smallest, accumulation=case.accumulation * times)
    few = f"per_device_train_batch_size: {smallest}, gradient_accumulation_steps: "
    few += str(fewer.accumulation)
    if smallest < case.rows:
        yield few, fewer, sharded
    if not case.checkpointing:
        yield "gradient_checkpointing: true", replace(case, checkpointing=True), sharded
        if smallest < case.rows:
            both = f"{few} and gradient_checkpointing: true"
            yield both, replace(fewer, checkpointing=True), sharded
    if not case.bf16:
        yield "bf16: true", replace(case, bf16=True), sharded
    if not case.adapter:
        adapter = lora_parameters(case.model, LORA_R)
        yield "use_peft: true", replace(case, adapter=adapter), sharded
        if case.num_gpus > 1 and not sharded:
            yield "FSDP2 (recipes/accelerate/fsdp2.yaml)", case, True
    elif not case.four_bit:
        yield FOUR_BITS, replace(case, four_bit=True), sharded


def lora_parameters(shape: ModelShape, rank: int) -> int:
    """Parameters of LoRA adapters on every linear layer: rank times (inputs + outputs) of each."""
    size, queries, keys = shape.hidden_size, query_size(shape), kv_size(shape)
    attention = 2 * (size + queries) + 2 * (size + keys)
    mlp = shape.num_mlp_matrices * (size + shape.intermediate_size)
    return shape.num_layers * rank * (attention + mlp)


def _usable(case: Case | TrainingCase) -> float:
    return case.machine.memory * case.achieved.usable_memory
