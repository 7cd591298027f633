"""What the training loop needs of a reward model of verdicts or ratings."""

from collections.abc import Sequence

import torch
from torch import nn

from rlhf.manifest import hash_text
from rlhf.models.scorer import Scorer
from rlhf.training.common.objective import BatchLoss, HeldOut
from rlhf.training.common.prompt_groups import by_prompt
from rlhf.training.common.sharded import Sharded, sharded
from rlhf.training.common.sharding import is_sharded
from rlhf.training.rating.data import TokenRating
from rlhf.training.rating.loss import batch_loss
from rlhf.training.rating.metrics import Health, measure
from rlhf.training.rating.setup import RatingSetup
from rlhf.training.reward.scores import Scores


class RatingObjective:
    """A reward model that is trained on rated responses; a row is a prompt with its responses.

    Every rating has the same weight: the loss of a batch is the sum over its ratings, divided by
    the mean number of ratings of a batch.
    """

    name = "reward model"

    def __init__(
        self,
        scores: Scores,
        train: Sequence[TokenRating],
        held_out: Sequence[TokenRating],
        setup: RatingSetup,
    ) -> None:
        self.scores, self.setup, self.held_out = scores, setup, held_out
        self.module, self.model = scores.scorer, scores.scorer.model
        self.train = train
        self.rows = by_prompt(train)
        self.mean_weight = sum(row.rated for row in train) / len(self.rows)  # ratings of a prompt
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
        uses = self.setup.uses
        hashes = [hash_text(repr((row.group, row.ids, row.labels))) for row in self.train]
        return {
            "objective": self.setup.config.objective,
            "axes": [axis.name for axis in self.setup.axes],
            "data_sha256": uses[0].sha256 if uses else "",
            "ratings of sha256": hash_text("".join(hashes)),
        }

    def start_step(self, rows: Sequence[Sequence[TokenRating]]) -> None:
        """Nothing: the loss of a prompt does not depend on others."""

    def loss(self, module: nn.Module, rows: Sequence[Sequence[TokenRating]]) -> BatchLoss:
        """The sum over the ratings of all rows."""
        ratings = [rating for prompt in rows for rating in prompt]
        pad_token_id, objective = self.setup.chat.pad_token_id, self.setup.config.objective
        return BatchLoss(loss=batch_loss(module, ratings, pad_token_id, objective))

    def evaluate(self) -> HeldOut | None:
        """Metrics of held-out responses, if there are any."""
        health = self.health()
        if health is None:
            return None
        return HeldOut(loss=health.loss, metrics=health.metrics(), text=health.text)

    def health(self) -> Health | None:
        """How the model predicts held-out labels now; None without held-out responses."""
        if not self.held_out:
            return None
        return measure(self.scores, self.held_out, self.setup.config.objective, self.setup.axes)

    def weights_change(self) -> None:
        """Forget the scores of the model as it was."""
        self.scores.forget()

    def prompt_of(self, row: Sequence[TokenRating]) -> str:
        """The prompt of a row."""
        return str(row[0].prompt)
