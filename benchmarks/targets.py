"""Targets that were set in advance, compared with the measurements."""

from collections.abc import Sequence

from benchmarks.measure import Measured
from benchmarks.roofline import count_work
from benchmarks.section import Section

OWN = "rlhf"  # in bf16 if that was measured, else in fp32
SPEED = {"A": {"rlhf bf16": 2.0, "rlhf fp32": 1.3}, "B": {OWN: 4.0}, "C": {OWN: 3.0}}
MEMORY = {"A": 1 / 2, "B": 1 / 2, "C": 1 / 3}
PROCESSES, UPDATE = 1.7, 0.6
BASELINE = "trl"  # the variant that ratios refer to: TRL as its users run it


def target_lines(sections: Sequence[Section]) -> list[str]:
    """A table of the targets of these sections; empty if there are none."""
    rows = [row for section in sections for row in _rows(section)]
    if not rows:
        return []
    header = ["## Targets", "", "| metric | target | measured | |", "| --- | --- | ---: | --- |"]
    return [*header, *("| " + " | ".join(row) + " |" for row in rows), ""]


def _rows(section: Section) -> list[tuple[str, str, str, str]]:
    lines = {line.variant.label: line for line in section.measured}
    name, rows = section.title.partition(":")[0], []
    trl, own = lines.get(BASELINE), "rlhf bf16" if "rlhf bf16" in lines else "rlhf fp32"
    if trl is not None and name in SPEED:
        for variant, target in SPEED[name].items():
            label = own if variant == OWN else variant
            if label in lines:
                ratio = trl.mean("seconds") / lines[label].mean("seconds")
                rows.append(_at_least(f"{name}: samples/s, {label} over trl", target, ratio))
        if own in lines:
            what = f"{name}: peak memory over trl's, {own}"
            rows.append(_at_most(what, MEMORY[name], lines[own], trl))
    for label, line in lines.items():
        if name in SPEED and label in ("rlhf bf16", "rlhf fp32"):
            share = update_share(line, section)
            rows.append(_at_least(f"{name}: update over the matmul rate, {label}", UPDATE, share))
    if name == "E" and {"rlhf 1 x 1", "rlhf 2 x 1"} <= lines.keys():
        ratio = lines["rlhf 1 x 1"].mean("seconds") / lines["rlhf 2 x 1"].mean("seconds")
        rows.append(_at_least("E: two processes over one", PROCESSES, ratio))
    return rows


def update_share(line: Measured, section: Section) -> float:
    """The update's counted operations per second over the matmul rate."""
    work = count_work(
        section.workload,
        prompt_tokens=section.prompt_tokens,
        response_tokens=line.mean("response_tokens"),
    )
    return work.update_flops / line.mean("seconds_update") / section.matmul_rate(line)


def _at_least(what: str, target: float, value: float) -> tuple[str, str, str, str]:
    return (
        what,
        f"at least {target:.2f}",
        f"{value:.2f}",
        "met" if value >= target else "**missed**",
    )


def _at_most(what: str, target: float, own: Measured, peer: Measured) -> tuple[str, str, str, str]:
    whole, less = own.peak / peer.peak, own.after_loading / peer.after_loading
    met = "met" if max(whole, less) <= target else "**missed**"
    return what, f"at most {target:.2f}", f"{whole:.2f}, less imports {less:.2f}", met
