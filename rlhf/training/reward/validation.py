"""Checks of rankings, and of keys against rankings, before a reward model is loaded."""

import logging
from collections.abc import Sequence
from dataclasses import replace

from rlhf.data.config import DataConfig
from rlhf.data.files.memory import Data
from rlhf.data.held_out import TrainAndHeldOut
from rlhf.data.rows.bad_rows import BadRows
from rlhf.data.rows.load import load_demonstrations
from rlhf.data.tokenization.tokenizer import ChatTokenizer
from rlhf.errors import ConfigError, DataError
from rlhf.manifest import DataUse
from rlhf.runtime.distributed import is_main_process
from rlhf.training.common.rankings import check_strengths
from rlhf.training.reward.config import RewardModelConfig
from rlhf.types import Demonstration, Ranking

logger = logging.getLogger(__name__)


def without_undecided(rows: TrainAndHeldOut[Ranking]) -> TrainAndHeldOut[Ranking]:
    """`rows` without the training rankings that tie all responses, for losses without ties.

    Rankings with probabilities are kept. The others are counted as dropped. Held-out ones are kept,
    to be reported.

    Raises:
        DataError: none is left.
    """
    pairs = zip(rows.train, rows.origins, strict=True)
    decided = [(row, origin) for row, origin in pairs if has_order(row)]
    tied = len(rows.train) - len(decided)
    names = ", ".join(use.path for use in rows.uses if use.role == "train")
    if not decided:
        raise DataError(
            f"{names} holds no ranking with an order ({tied} tie all their responses); add "
            "rankings with an order.",
            code="no-rows",
        )
    if tied and is_main_process():
        logger.warning("%s: %d rankings tie all their responses, left out", names, tied)
    uses = list(rows.uses)
    for place in set(rows.origins):
        left = sum(origin == place for _, origin in decided)
        dropped = uses[place].dropped + uses[place].rows - left
        uses[place] = replace(uses[place], rows=left, dropped=dropped)
    train, origins = [row for row, _ in decided], [origin for _, origin in decided]
    return replace(rows, train=train, origins=origins, uses=uses)


def check_rankings(config: RewardModelConfig, rows: TrainAndHeldOut[Ranking]) -> None:
    """Check that each key has an effect on these rankings.

    Raises:
        ConfigError: early stopping without held-out rankings with an order; weights of a single
            annotator, or equal weights; probabilities that no row has; a margin without strengths,
            or with strengths below 1.
    """
    names = {row.annotator for row in rows.train}
    if config.annotator_weights != "none" and len(names) < 2:
        raise ConfigError(
            f"annotator_weights={config.annotator_weights} compares annotators, but the rankings "
            f"are all by {next(iter(names)) or 'an unnamed annotator'}; leave it out, or give rows "
            "an `annotator`.",
            code="key-conflict",
        )
    if config.early_stopping_patience is not None and not any(map(has_order, rows.held_out)):
        raise ConfigError(
            "early_stopping_patience needs held-out rankings with an order; give eval_data or "
            "eval_fraction.",
            code="key-conflict",
        )
    if config.margin_coef:
        check_strengths(config.margin_coef, {row.strength for row in rows.train})
    if config.weight_column is not None and len({row.weight for row in rows.train}) == 1:
        raise ConfigError(
            f"weight_column={config.weight_column} has no effect: all training rankings weigh "
            f"{rows.train[0].weight:g}; leave it out.",
            code="key-conflict",
        )
    if config.probability_column is not None and not any(row.probabilities for row in rows.train):
        raise ConfigError(
            f"probability_column={config.probability_column} has no effect: no training ranking "
            "has such a column; name the column with the probabilities, or leave the key out.",
            code="key-conflict",
        )


def has_order(row: Ranking) -> bool:
    """Whether the ranking orders any pair, or says how people split on it."""
    return len(set(row.ranks)) > 1 or bool(row.probabilities)


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
