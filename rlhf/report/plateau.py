"""Where a loss stopped falling, and whether more training would pay."""

from collections.abc import Sequence
from dataclasses import dataclass

from rlhf.report.charts import smoothed

MIN_POINTS = 8
LEFT = 0.02  # of the whole fall: what is still to come after the plateau begins, at most
RISE = 0.02  # of the lowest held-out loss: above it, the model is learning its rows by heart


@dataclass(frozen=True, kw_only=True)
class Plateau:
    """What a curve says."""

    step: float | None  # from here on it is flat; None where it is not
    says: str


def plateau(steps: Sequence[float], losses: Sequence[float], *, held_out: bool) -> Plateau | None:
    """The plateau of a falling curve; None of fewer than `MIN_POINTS` points.

    Smoothed by a running mean, the plateau begins at the first point from which the curve falls
    by at most `LEFT` of its whole fall, if at least a fifth of the run lies behind it. A held-out
    loss that ends `RISE` above its lowest is rising, whatever came before.
    """
    if len(losses) < MIN_POINTS:
        return None
    curve = smoothed(losses)
    lowest = min(range(len(curve)), key=curve.__getitem__)
    if held_out and curve[-1] > curve[lowest] * (1 + RISE):
        return Plateau(
            step=steps[lowest],
            says=f"rises after step {steps[lowest]:g}: fewer steps, or more data, would be better",
        )
    fall = curve[0] - min(curve)
    if fall <= 0:
        return Plateau(step=None, says="never fell: look at the learning rate and the data")
    flat = next(i for i in range(len(curve)) if curve[i] - min(curve[i:]) <= LEFT * fall)
    if steps[-1] - steps[flat] < 0.2 * (steps[-1] - steps[0]):
        return Plateau(step=None, says="still falls at the end: more steps would pay")
    return Plateau(
        step=steps[flat],
        says=f"flat from step {steps[flat]:g}: more steps of the same would not pay",
    )
