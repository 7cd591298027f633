"""A trained reward model as a health report reads it, without its saved folder."""

from collections.abc import Sequence

import torch
from torch import Tensor

from rlhf.data.tokenization.chat import judged_ids
from rlhf.data.tokenization.tokenizer import ChatTokenizer
from rlhf.training.reward.metrics import Normalization
from rlhf.training.reward.scores import Scores
from rlhf.types import Prompt, Tools


class TextScores:
    """A trained reward model as a report reads it: like `RewardModel`, with scores that are known.

    mean, std: of the raw logit on demonstrations.
    """

    def __init__(self, scores: Scores, chat: ChatTokenizer, scale: Normalization) -> None:
        self.chat, self.mean, self.std = chat, scale.mean, scale.std
        self._scores, self._offsets = scores, torch.tensor(list(scale.offsets))

    def score_heads(
        self,
        prompts: Sequence[Prompt],
        responses: Sequence[str],
        tools: Sequence[Tools] | None = None,
    ) -> Tensor:
        """Raw logits of every head, float32 [B, heads], each shifted to the zero of their mean."""
        rows = [
            judged_ids(self.chat, prompt, response, offered)
            for prompt, response, offered in zip(
                prompts, responses, tools or [()] * len(prompts), strict=True
            )
        ]
        return self._scores.read(rows, title="texts of the health report") - self._offsets
