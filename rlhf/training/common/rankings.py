"""Notes about rankings to train on, and checks that margins have an effect on them."""

from rlhf.data.held_out import TrainAndHeldOut
from rlhf.data.rows.conflicts import find_conflicts
from rlhf.data.rows.leakage import leaked_prompts
from rlhf.errors import ConfigError
from rlhf.types import Ranking, RatedResponse


def check_strengths(margin_coef: float, strengths: set[float]) -> None:
    """Check that margins have an effect on rankings of these strengths, and are not below 0.

    Raises:
        ConfigError: no strengths, or one below 1.
    """
    if strengths == {1}:
        raise ConfigError(
            f"margin_coef={margin_coef}: the strength of every training ranking is 1, so "
            "no pair would get a margin; leave the key out, or give rows a `strength`.",
            code="key-conflict",
        )
    if min(strengths) < 1:
        raise ConfigError(
            f"margin_coef={margin_coef}: a strength of {min(strengths):g} would give a margin "
            "below 0, and rows without one count as 1, a slight preference; number strengths from "
            "1 up.",
            code="key-conflict",
        )


def about_rankings(rows: TrainAndHeldOut[Ranking]) -> list[str]:
    """Repeated and contradictory rankings, and a warning about held-out prompts in `train`."""
    lines = find_conflicts([*rows.train, *rows.held_out]).lines()
    leaked = trained_on(rows)
    if leaked:
        counts = f"{leaked} of {len(rows.held_out)} held-out rankings"
        lines.append(f"warning: {counts} have prompts of the training data; metrics are too good")
    return lines


def trained_on(rows: TrainAndHeldOut[Ranking] | TrainAndHeldOut[RatedResponse]) -> int:
    """The number of held-out rows whose prompt is in the training data.

    Only eval_data can contain prompts of train_data; a split by prompt cannot.
    """
    held_out = [row.prompt for row in rows.held_out if row.prompt]
    return len(leaked_prompts(held_out, [row.prompt for row in rows.train]).leaked)
