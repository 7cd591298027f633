"""A trained reward model of verdicts or ratings as a health report reads it."""

from collections.abc import Sequence

from torch import Tensor

from rlhf.data.tokenization.chat import judged_ids
from rlhf.data.tokenization.tokenizer import ChatTokenizer
from rlhf.models.axes import Axis, weights_of
from rlhf.training.reward.metrics import Normalization
from rlhf.training.reward.scores import Scores
from rlhf.types import Prompt, Tools


class RatingTextScores:
    """Like `RewardModel`, with scores that are known, and without its saved folder.

    mean, std: of the raw logit on demonstrations.
    axes: of the ratings, with the scale of each.
    """

    def __init__(
        self, scores: Scores, chat: ChatTokenizer, scale: Normalization, axes: Sequence[Axis]
    ) -> None:
        self.chat, self.mean, self.std, self.axes = chat, scale.mean, scale.std, list(axes)
        self._scores = scores

    def score_heads(
        self,
        prompts: Sequence[Prompt],
        responses: Sequence[str],
        tools: Sequence[Tools] | None = None,
    ) -> Tensor:
        """The raw logit, the weighted sum of the axes: float32 [B, 1]."""
        heads = self._heads(prompts, responses, tools)
        return (heads @ weights_of(self.axes))[:, None]

    def score_axes(
        self,
        prompts: Sequence[Prompt],
        responses: Sequence[str],
        tools: Sequence[Tools] | None = None,
    ) -> Tensor:
        """The output of each axis's head, float32 [B, A]."""
        return self._heads(prompts, responses, tools)

    def _heads(
        self,
        prompts: Sequence[Prompt],
        responses: Sequence[str],
        tools: Sequence[Tools] | None,
    ) -> Tensor:
        offered = tools or [()] * len(prompts)
        rows = [
            judged_ids(self.chat, prompt, response, each)
            for prompt, response, each in zip(prompts, responses, offered, strict=True)
        ]
        heads = self._scores.read(rows, title="texts of the health report")
        return heads.reshape(-1, len(self.axes))  # of no rows too
