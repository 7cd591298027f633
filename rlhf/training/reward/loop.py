"""Reward-model training: K-wise ranking loss in the common loop."""

from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import nn

from rlhf.manifest import hash_text
from rlhf.models.scorer import Scorer
from rlhf.training.common.loop import TrainingLoop, run_loop
from rlhf.training.common.objective import BatchLoss, HeldOut
from rlhf.training.common.prompt_groups import by_prompt
from rlhf.training.common.sharded import Sharded, sharded
from rlhf.training.common.sharding import is_sharded
from rlhf.training.reward.config import LOSS_KEYS
from rlhf.training.reward.data import TokenRanking, draw_for_heads
from rlhf.training.reward.loss import batch_loss, settled_tie_threshold
from rlhf.training.reward.metrics import measure
from rlhf.training.reward.scores import Scores
from rlhf.training.reward.setup import RewardSetup


def train_reward_model(
    scores: Scores,
    train: Sequence[TokenRanking],
    held_out: Sequence[TokenRanking],
    setup: RewardSetup,
    *,
    resume: Path | None,
    on_step: Callable[[int], None] = lambda step: None,
) -> tuple[int, str]:
    """Train a model in place; return the optimizer steps and why they ended early, if they did.

    Loss: the mean over the global batch's rankings of each one's mean over its pairs, weighted.
    The prompts of a step, and what LoRA drops, depend only on the seed and the step: a resumed run
    takes exactly the steps of an uninterrupted one. With early stopping the model gets the weights
    of the lowest held-out loss at the end.

    Args:
        scores: of the model to train, with its adapters.
        train: the rankings of `setup.rows.train`, with the weights of their annotators.
        held_out: rankings to evaluate on; may be none.
        setup: the checked run.
        resume: a verified checkpoint of the run; None starts at the beginning.
        on_step: called with the number of optimizer steps, after each.

    Raises:
        TrainingError: a loss or gradient that is not finite, with the step and its prompts; a part
            to train that is frozen or does not move.
        CheckpointError: `resume` belongs to a run with other data, batches or loss.
        Stopped: SIGTERM came; a checkpoint of this step was written.
    """
    objective = RewardObjective(scores, train, held_out, setup)
    loop = TrainingLoop(objective, setup.run, setup.model, setup.config)
    return run_loop(loop, resume=resume, on_step=on_step)


class RewardObjective:
    """A reward model that is trained on rankings; a row is a prompt with all its rankings."""

    name = "reward model"

    def __init__(
        self,
        scores: Scores,
        train: Sequence[TokenRanking],
        held_out: Sequence[TokenRanking],
        setup: RewardSetup,
    ) -> None:
        self.scores, self.setup, self.held_out = scores, setup, held_out
        self.module, self.model = scores.scorer, scores.scorer.model
        self.train = draw_for_heads(train, setup.config.num_heads, setup.run.seed)
        self.rows = by_prompt(self.train)
        self.mean_weight = len(self.train) / len(self.rows)  # rankings of a prompt
        self.tie_threshold = settled_tie_threshold(setup.config, self.train)
        self.sharded: Sharded[Scorer] | None = None

    def shard(self, device: torch.device) -> nn.Module | None:
        """The scorer in shards, if the launch configuration asks for it."""
        if is_sharded():
            self.sharded = sharded(self.module, device, self.name)
        return self.sharded

    def unshard(self) -> None:
        """Score with whole weights from now on."""
        if self.sharded is not None:
            self.scores.scorer = self.sharded.whole_module()

    def identity(self) -> dict[str, object]:
        """Settings of rows and loss that a resumed run has to share."""
        uses, config = self.setup.uses, self.setup.config
        return {
            "data_sha256": uses[0].sha256 if uses else "",
            "rankings of sha256": _hash_rankings(self.train),
            "weights": hash_text(repr([row.weights for row in self.train])),
            **{key: getattr(config, key) for key in LOSS_KEYS},
        }

    def start_step(self, rows: Sequence[Sequence[TokenRanking]]) -> None:
        """Nothing: the loss of a prompt does not depend on others."""

    def loss(self, module: nn.Module, rows: Sequence[Sequence[TokenRanking]]) -> BatchLoss:
        """The sum over the rankings of all rows."""
        rankings = [ranking for prompt in rows for ranking in prompt]
        pad_token_id, config = self.setup.chat.pad_token_id, self.setup.config
        return BatchLoss(
            loss=batch_loss(module, rankings, pad_token_id, config, self.tie_threshold)
        )

    def evaluate(self) -> HeldOut | None:
        """Held-out loss and accuracy, if rankings are held out."""
        if not self.held_out:
            return None
        health = measure(self.scores, self.held_out)
        text = f"held-out loss {health.loss:.4f}, accuracy {health.accuracy:.3f}"
        return HeldOut(loss=health.loss, metrics=health.metrics(), text=text)

    def weights_change(self) -> None:
        """Forget the scores of the model as it was."""
        self.scores.forget()

    def prompt_of(self, row: Sequence[TokenRanking]) -> str:
        """The prompt of a row."""
        return str(row[0].prompt)


def _hash_rankings(rankings: Sequence[TokenRanking]) -> str:
    """A hash of the rankings' hashes: all tokens as one text could be gigabytes."""
    parts = [(row.group, row.ids, row.ranks, *row.probabilities) for row in rankings]
    return hash_text("".join(hash_text(repr(part)) for part in parts))
