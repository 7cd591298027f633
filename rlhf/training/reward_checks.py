"""What can be said of the rankings, and of the keys that need more of them than they hold."""

from rlhf.data.conflicts import find_conflicts
from rlhf.data.held_out import TrainAndHeldOut
from rlhf.data.leakage import leaked_prompts
from rlhf.errors import ConfigError
from rlhf.training.reward_config import RewardModelConfig
from rlhf.types import Ranking


def check_rankings(config: RewardModelConfig, rows: TrainAndHeldOut[Ranking]) -> None:
    """Refuse keys that these rankings leave without effect.

    Raises:
        ConfigError: early stopping without held-out rankings; a margin by strength where nobody
            said how strong a preference was.
    """
    if config.early_stopping_patience is not None and not rows.held_out:
        raise ConfigError(
            "early_stopping_patience needs held-out rankings; give eval_data or eval_fraction."
        )
    if config.margin_coef and all(row.strength == 1 for row in rows.train):
        raise ConfigError(
            f"margin_coef={config.margin_coef}: the strength of every training ranking is 1, so "
            "that no pair would get a margin; leave the key out, or give rows a `strength`."
        )


def about_rankings(rows: TrainAndHeldOut[Ranking]) -> list[str]:
    """What they say twice or both ways, and a warning where held-out prompts are trained on.

    Only an eval_data file can hold prompts of train_data; a split by prompt cannot.
    """
    lines = find_conflicts([*rows.train, *rows.held_out]).lines()
    held = [row.prompt for row in rows.held_out if row.prompt]
    leaked = leaked_prompts(held, [row.prompt for row in rows.train]).leaked
    if leaked:
        counts = f"{len(leaked)} of {len(rows.held_out)} held-out rankings"
        lines.append(f"warning: {counts} are of prompts that are trained on; expect too much")
    return lines
