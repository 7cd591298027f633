"""Dynamic sampling: groups of equal scores teach nothing and give way to other prompts."""

from collections.abc import Callable

import torch
from torch import Tensor

from rlhf.ops.advantages import without_spread
from rlhf.training.ppo.config import PPOConfig
from rlhf.training.ppo.experience import final_scores
from rlhf.training.ppo.gather import join_rows, select_rows
from rlhf.types import ScoredRollouts

Draw = Callable[[int, int], ScoredRollouts]
"""(attempt, count) -> scored responses to `count` other prompts, with new group ids."""


def replace_equal_groups(
    scored: ScoredRollouts, config: PPOConfig, draw: Draw
) -> tuple[ScoredRollouts, int]:
    """The rollouts with as many groups of equal scores replaced as possible; the groups drawn.

    Each of the `dynamic_sampling` attempts at most draws as many groups as have equal scores
    (DAPO: https://arxiv.org/abs/2503.14476, 3.2), and those of them with different scores take
    their places. What is left after the last attempt stays, with advantages of 0, so that every
    iteration has the same number of responses. The paper draws until the batch is full.

    scored: the rows of all ranks.
    """
    drawn = 0
    for attempt in range(1, config.dynamic_sampling + 1):
        equal = equal_groups(scored, config)
        if len(equal) == 0:
            break
        drawn += len(equal)
        fresh = draw(attempt, len(equal))
        useless = torch.isin(_groups(fresh), equal_groups(fresh, config))
        usable = torch.unique(_groups(fresh)[~useless])
        if len(usable) == 0:
            continue
        left = ~torch.isin(_groups(scored), equal[: len(usable)])
        kept = select_rows(scored, left.nonzero()[:, 0])
        scored = join_rows([kept, select_rows(fresh, (~useless).nonzero()[:, 0])])
    return scored, drawn


def equal_groups(scored: ScoredRollouts, config: PPOConfig) -> Tensor:
    """Ids of the groups whose responses have equal scores, long, in order.

    The scores are those that enter the rewards, after penalties and clip.
    """
    equal = without_spread(final_scores(scored, config), _groups(scored))
    ids: Tensor = torch.unique(_groups(scored)[equal])
    return ids


def share_of_equal_groups(scored: ScoredRollouts, config: PPOConfig) -> float:
    """Groups of equal scores over all groups."""
    return len(equal_groups(scored, config)) / len(torch.unique(_groups(scored)))


def _groups(scored: ScoredRollouts) -> Tensor:
    return scored.rollouts.batch.group_ids
