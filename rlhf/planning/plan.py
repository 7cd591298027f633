"""The plan of a run: memory, the largest microbatch, seconds, and changes that save memory."""

from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from rlhf.planning.case import Case, TrainingCase
from rlhf.planning.changes import Change, ppo_changes, training_changes
from rlhf.planning.memory import ROLLOUT, SCORE, UPDATE, memory, trained_parameters
from rlhf.planning.parts import Memory
from rlhf.planning.seconds import Seconds, predict_sharded
from rlhf.planning.training_memory import training_memory
from rlhf.planning.training_seconds import step_seconds, step_tokens

MOST_ROWS = 1024  # of a batch per device that is tried


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a run needs on each of its devices."""

    case: Case | TrainingCase
    sharded: bool
    parameters: int  # of the policy, or the model
    trained: int
    memory: Memory
    microbatch_key: str
    microbatch: int  # its present value
    largest_microbatch: int | None  # the largest that fits; None: not even the smallest
    changes: Sequence[Change]  # that save memory, if the run does not fit
    seconds: dict[str, Seconds]  # of a step, by phase; empty where rates are unknown
    tokens: float  # of a step: response tokens in PPO, else tokens read
    steps: int | None  # of the run; None where the number of rows is unknown

    @property
    def capacity(self) -> float:
        """Usable bytes of the device."""
        return self.case.machine.memory * self.case.achieved.usable_memory

    @property
    def fits(self) -> bool:
        """Whether the peak is at most the usable memory."""
        return self.memory.peak <= self.capacity

    @property
    def step_seconds(self) -> float:
        """Seconds of a step."""
        return sum(sum(phase.values()) for phase in self.seconds.values())


def ppo_plan(case: Case, *, sharded: bool, steps: int | None) -> Plan:
    """The plan of a PPO run.

    steps: iterations.
    """
    needed = memory(case, sharded=sharded)
    seconds: dict[str, Seconds] = {}
    if case.machine.flops:
        predicted = predict_sharded(case, sharded=sharded)
        seconds = {
            ROLLOUT: predicted.rollout,
            SCORE: predicted.score,
            UPDATE: predicted.update,
        }

    longest = case.batch.max_length
    most = case.batch.rows // case.batch.num_minibatches // case.num_gpus

    def fits(rows: int) -> bool:
        batch = replace(case.batch, microbatch_tokens=rows * longest)
        return _fits(memory(replace(case, batch=batch), sharded=sharded), case)

    rows = _largest(fits, 1, max(1, most))
    plan = Plan(
        case=case,
        sharded=sharded,
        parameters=case.model.parameters,
        trained=trained_parameters(case),
        memory=needed,
        microbatch_key="max_tokens_per_microbatch",
        microbatch=case.batch.microbatch_tokens,
        largest_microbatch=None if rows is None else rows * longest,
        changes=(),
        seconds=seconds,
        tokens=case.batch.rows * case.batch.mean_response,
        steps=steps,
    )
    if plan.fits:
        return plan
    tokens = plan.largest_microbatch or longest
    return replace(plan, changes=ppo_changes(case, sharded=sharded, smallest=tokens))


def training_plan(case: TrainingCase, *, sharded: bool, steps: int | None) -> Plan:
    """The plan of a run of SFT, a reward model or DPO.

    steps: optimizer steps.
    """
    needed = training_memory(case, sharded=sharded)

    def fits(rows: int) -> bool:
        return _fits(training_memory(replace(case, rows=rows), sharded=sharded), case)

    plan = Plan(
        case=case,
        sharded=sharded,
        parameters=case.parameters,
        trained=case.trained,
        memory=needed,
        microbatch_key="per_device_train_batch_size",
        microbatch=case.rows,
        largest_microbatch=_largest(fits, 1, MOST_ROWS),
        changes=(),
        seconds={UPDATE: step_seconds(case, sharded=sharded)} if case.machine.flops else {},
        tokens=step_tokens(case),
        steps=steps,
    )
    if plan.fits:
        return plan
    rows = plan.largest_microbatch or 1
    return replace(plan, changes=training_changes(case, sharded=sharded, smallest=rows))


def _fits(needed: Memory, case: Case | TrainingCase) -> bool:
    return needed.peak <= case.machine.memory * case.achieved.usable_memory


def _largest(fits: Callable[[int], bool], low: int, high: int) -> int | None:
    """The largest number from `low` to `high` that fits, if a larger one needs more memory."""
    count = bisect_right(range(low, high + 1), False, key=lambda number: not fits(number))
    return low + count - 1 if count else None
