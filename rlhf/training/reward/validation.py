"""What is settled before a reward model is loaded: rows, and keys that need more than they hold."""

import logging
from collections.abc import Sequence
from dataclasses import replace

from rlhf.data.config import DataConfig
from rlhf.data.files.memory import Data
from rlhf.data.held_out import TrainAndHeldOut
from rlhf.data.rows.bad_rows import BadRows
from rlhf.data.rows.conflicts import find_conflicts
from rlhf.data.rows.leakage import leaked_prompts
from rlhf.data.rows.load import load_demonstrations
from rlhf.data.tokenization.tokenizer import ChatTokenizer
from rlhf.errors import ConfigError, DataError
from rlhf.manifest import DataUse
from rlhf.models.config import ModelConfig
from rlhf.runtime.distributed import is_main_process
from rlhf.training.reward.config import RewardModelConfig
from rlhf.types import Demonstration, Ranking

logger = logging.getLogger(__name__)


def without_undecided(rows: TrainAndHeldOut[Ranking]) -> TrainAndHeldOut[Ranking]:
    """Without the training rankings that tie all their answers: where ties are no pairs they
    have nothing to teach. They are counted as dropped; the held-out ones stay, to be reported.

    Raises:
        DataError: none is left.
    """
    pairs = zip(rows.train, rows.origins, strict=True)
    kept = [(row, origin) for row, origin in pairs if len(set(row.ranks)) > 1]
    tied = len(rows.train) - len(kept)
    names = ", ".join(use.path for use in rows.uses if use.role == "train")
    if not kept:
        raise DataError(
            f"{names} holds no ranking with an order ({tied} tie all their answers); "
            "with ties=rao_kupper ties teach something, an order they do not."
        )
    if tied and is_main_process():
        logger.warning("%s: %d rankings tie all their answers, left out", names, tied)
    uses = list(rows.uses)
    for place in set(rows.origins):
        left = sum(origin == place for _, origin in kept)
        dropped = uses[place].dropped + uses[place].rows - left
        uses[place] = replace(uses[place], rows=left, dropped=dropped)
    train, origins = [row for row, _ in kept], [origin for _, origin in kept]
    return replace(rows, train=train, origins=origins, uses=uses)


def check_rankings(config: RewardModelConfig, rows: TrainAndHeldOut[Ranking]) -> None:
    """Refuse keys that these rankings leave without effect.

    Raises:
        ConfigError: early stopping without a held-out order; annotators weighed where there is
            one; a margin by strength where nobody said how strong a preference was, or by one
            below 1.
    """
    names = {row.annotator for row in rows.train}
    if config.annotator_weights != "none" and len(names) < 2:
        raise ConfigError(
            f"annotator_weights={config.annotator_weights} compares annotators, and the rankings "
            f"are all of {next(iter(names)) or 'nobody by name'}; leave it out, or give rows an "
            "`annotator`."
        )
    if config.early_stopping_patience is not None and not any(
        len(set(row.ranks)) > 1 for row in rows.held_out
    ):
        raise ConfigError(
            "early_stopping_patience needs held-out rankings with an order; give eval_data or "
            "eval_fraction."
        )
    if config.margin_coef:
        _check_strengths(config.margin_coef, {row.strength for row in rows.train})


def _check_strengths(margin_coef: float, strengths: set[float]) -> None:
    if strengths == {1}:
        raise ConfigError(
            f"margin_coef={margin_coef}: the strength of every training ranking is 1, so "
            "that no pair would get a margin; leave the key out, or give rows a `strength`."
        )
    if min(strengths) < 1:
        raise ConfigError(
            f"margin_coef={margin_coef}: a strength of {min(strengths):g} would be a margin below "
            "0, and rows without one count as 1, a slight preference; number strengths from 1 up."
        )


def about_rankings(rows: TrainAndHeldOut[Ranking]) -> list[str]:
    """What they say twice or both ways, and a warning where held-out prompts are trained on."""
    lines = find_conflicts([*rows.train, *rows.held_out]).lines()
    leaked = trained_on(rows)
    if leaked:
        counts = f"{leaked} of {len(rows.held_out)} held-out rankings"
        lines.append(f"warning: {counts} are of prompts that are trained on; expect too much")
    return lines


def trained_on(rows: TrainAndHeldOut[Ranking]) -> int:
    """Held-out rankings whose prompt stands in the training too.

    Only an eval_data file can hold prompts of train_data; a split by prompt cannot.
    """
    held = [row.prompt for row in rows.held_out if row.prompt]
    return len(leaked_prompts(held, [row.prompt for row in rows.train]).leaked)


def check_no_4bit(model: ModelConfig) -> None:
    """4 bits and what is saved at the end do not go together."""
    if model.load_in_4bit:
        raise ConfigError(
            "load_in_4bit: a reward model is saved merged, and 4-bit weights do not merge exactly; "
            "use --use_peft true --bf16 true instead."
        )


def load_normalization(
    source: Data | None, data: DataConfig, chat: ChatTokenizer, bad_rows: BadRows
) -> tuple[Sequence[Demonstration], Sequence[DataUse]]:
    """The demonstrations on which the reward's mean becomes 0; none without a source."""
    if source is None:
        return [], []
    loaded = load_demonstrations(
        source,
        role="normalization",
        chat=chat,
        max_length=data.max_length,
        bad_rows=bad_rows,
    )
    return loaded.rows, [loaded.use]
