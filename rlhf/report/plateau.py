"""Where a loss stopped falling, and whether more training would help."""

from collections.abc import Sequence
from dataclasses import dataclass

from rlhf.report.charts import smoothed

MIN_POINTS = 8
REMAINING_FALL = 0.02  # share of the whole fall that may come after the plateau begins
RISE = 0.02  # share of the lowest held-out loss; above it the model memorises its rows


@dataclass(frozen=True, kw_only=True)
class Plateau:
    """Where a loss is flat, and what follows from it."""

    step: float | None  # the first flat step, or the lowest one of a rising loss; None if neither
    summary: str


def plateau(steps: Sequence[float], losses: Sequence[float], *, held_out: bool) -> Plateau | None:
    """The plateau of a loss; None for fewer than `MIN_POINTS` points.

    The curve is smoothed by a running mean. The plateau begins at the first point after which the
    curve falls by at most `REMAINING_FALL` of its whole fall, if at least a fifth of the run
    follows. A held-out loss that ends `RISE` above its lowest value is rising.
    """
    if len(losses) < MIN_POINTS:
        return None
    curve = smoothed(losses)
    lowest = min(range(len(curve)), key=curve.__getitem__)
    if held_out and curve[-1] > curve[lowest] * (1 + RISE):
        return Plateau(
            step=steps[lowest],
            summary=f"rises after step {steps[lowest]:g}: use fewer steps or more data",
        )
    fall = curve[0] - min(curve)
    if fall <= 0:
        return Plateau(step=None, summary="never fell: check the learning rate and the data")
    flat = next(i for i in range(len(curve)) if curve[i] - min(curve[i:]) <= REMAINING_FALL * fall)
    if steps[-1] - steps[flat] < 0.2 * (steps[-1] - steps[0]):
        return Plateau(step=None, summary="still falls at the end: more steps would help")
    return Plateau(
        step=steps[flat],
        summary=f"flat from step {steps[flat]:g}: more steps would not help",
    )
