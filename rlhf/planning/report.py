"""A plan as text, and the check of a run before its models are loaded."""

from collections.abc import Iterator

from rlhf.errors import ConfigError
from rlhf.models.shape import GIB
from rlhf.planning.case import Case, TrainingCase
from rlhf.planning.parts import Memory
from rlhf.planning.plan import Plan

TOLERANCE = 1.15  # of the estimate: a run is rejected only beyond it
PART_WIDTH, COLUMN = 24, 11


def summary(plan: Plan) -> str:
    """Parameters and peak in a phrase."""
    return (
        f"{plan.parameters / 1e6:,.1f} M parameters, {plan.trained / 1e6:,.1f} M trained; "
        f"peak about {gib(plan.memory.peak)} per device, in {plan.memory.peak_phase}"
    )


def lines(plan: Plan) -> list[str]:
    """The whole plan."""
    return [
        summary(plan),
        *_table(plan.memory),
        *_verdict(plan),
        *_time(plan),
    ]


def check_fits(plan: Plan) -> list[str]:
    """A warning where the peak is above the usable memory of the device; else no line.

    Raises:
        ConfigError: the peak is larger than the memory, by more than the estimate may be wrong.
    """
    needed, machine = plan.memory.peak, plan.case.machine
    if needed > TOLERANCE * machine.memory:
        hints = [change.text for change in plan.changes if change.fits]
        hint = f"try {' or '.join(hints[:2])}" if hints else "use a larger device or more of them"
        raise ConfigError(
            f"this run needs about {gib(needed)} per process in {plan.memory.peak_phase}, and "
            f"{machine.name} has {gib(machine.memory)}; {hint}. `rlhf plan` shows the parts; "
            "--skip_plan true starts anyway.",
            code="out-of-memory",
        )
    if plan.fits:
        return []
    return [
        f"warning: this run needs about {gib(needed)} per process, and {machine.name} has "
        f"{gib(machine.memory)}; it may run out of memory"
    ]


def gib(count: float) -> str:
    """Bytes as `1.25 GiB`."""
    return f"{count / GIB:,.2f} GiB"


def _table(needed: Memory) -> Iterator[str]:
    """GiB by part and phase."""
    yield _row("GiB per device", *needed.phases)
    yield _row("program", *[_number(needed.program)] * len(needed.phases))
    for name, size in needed.held_parts.items():
        yield _row(name, *[_number(size)] * len(needed.phases))
    names = dict.fromkeys(name for parts in needed.phases.values() for name in parts)
    for name in names:
        yield _row(name, *[_number(parts.get(name, 0.0)) for parts in needed.phases.values()])
    yield _row("total", *[_number(needed.total(phase)) for phase in needed.phases])


def _row(first: str, *others: str) -> str:
    return f"{first:<{PART_WIDTH}}" + "".join(f"{cell:>{COLUMN}}" for cell in others)


def _number(size: float) -> str:
    return f"{size / GIB:,.2f}" if size else ""


def _verdict(plan: Plan) -> Iterator[str]:
    """Whether it fits, the largest microbatch, and what to change."""
    machine, peak = plan.case.machine, plan.memory.peak
    yield (
        f"{'fits' if plan.fits else 'does not fit'}: {gib(peak)} in {plan.memory.peak_phase}, of "
        f"{gib(plan.capacity)} usable on {machine.name}"
    )
    largest = plan.largest_microbatch
    if largest is None:
        yield f"no value of {plan.microbatch_key} makes it fit"
    else:
        yield f"largest {plan.microbatch_key} that fits: {largest:,} (here {plan.microbatch:,})"
    if plan.changes:
        yield "changes, and the peak that each leads to:"
    for change in plan.changes:
        verdict = "fits" if change.fits else "does not fit"
        yield f"  {change.text}: {gib(change.peak)}, {verdict}"


def _time(plan: Plan) -> Iterator[str]:
    """Seconds of a step, tokens a second, hours."""
    if not plan.seconds:
        return
    total = plan.step_seconds
    for phase, parts in plan.seconds.items():
        text = ", ".join(f"{name} {_seconds(value)}" for name, value in parts.items() if value)
        yield f"{phase}: {_seconds(sum(parts.values()))} ({text})"
    step = "iteration" if isinstance(plan.case, Case) else "optimizer step"
    unit = "response tokens" if isinstance(plan.case, Case) else "tokens"
    yield f"{step}: {_seconds(total)}, {plan.tokens / total:,.0f} {unit} per second"
    if plan.steps is not None:
        hours = plan.steps * total / 3600
        yield (
            f"run: {plan.steps:,} {step}s, {hours:,.2f} hours, "
            f"{hours * plan.case.num_gpus:,.2f} device-hours, without evaluations and checkpoints"
        )
    yield from _assumptions(plan.case)


def _assumptions(case: Case | TrainingCase) -> Iterator[str]:
    machine, achieved = case.machine, case.achieved
    source = "peak" if machine.on_gpu else "rate measured now"
    text = (
        f"assumed: matrix products at {achieved.matmul:.0%} of the {source} of "
        f"{machine.rate(bf16=case.bf16) / 1e12:,.3g} TFLOP/s in "
        f"{'bf16' if case.bf16 else 'float32'}, memory at {achieved.memory:.0%} of "
        f"{machine.memory_rate / 1e9:,.0f} GB/s, {1e6 * achieved.launch:.0f} µs to start an "
        "operation"
    )
    if case.num_gpus > 1:
        rate = machine.link_rate(case.num_gpus) / 1e9
        text += f", links at {achieved.link:.0%} of {rate:,.0f} GB/s"
    lengths = (
        f"prompts of {case.batch.prompt_length:,.0f} and responses of "
        f"{case.batch.mean_response:,.0f} tokens on average"
        if isinstance(case, Case)
        else f"rows of {case.mean_length:,.0f} tokens on average"
    )
    yield f"{text}; {lengths}; memory for rows of the longest length"


def _seconds(value: float) -> str:
    return f"{value:,.0f} s" if value >= 10 else f"{value:,.2g} s"
