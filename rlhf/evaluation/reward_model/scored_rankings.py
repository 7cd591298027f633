"""Rankings and texts with a reward model's scores, computed on all processes."""

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import permutations
from typing import Protocol

import torch
from accelerate import PartialState
from accelerate.utils import gather_object
from torch import Tensor

from rlhf.data.rows.split import group_key
from rlhf.data.tokenization.chat import judged_once
from rlhf.data.tokenization.tokenizer import ChatTokenizer
from rlhf.errors import TrainingError
from rlhf.evaluation.stats.bootstrap import Estimate, ratio
from rlhf.evaluation.stats.win_rate import win
from rlhf.rewards.generative import GenerativeReward
from rlhf.types import Prompt, Ranking, Tools

MAX_PROMPTS = 3  # in an error message
Text = tuple[Prompt, str, Tools]
"""A prompt, a response to it, and the tools that the prompt offers."""


class ScoringModel(Protocol):
    """What a report needs of a reward model; see `RewardModel`."""

    chat: ChatTokenizer
    mean: float
    std: float

    def score_heads(
        self,
        prompts: Sequence[Prompt],
        responses: Sequence[str],
        tools: Sequence[Tools] | None = None,
    ) -> Tensor: ...


@dataclass(frozen=True, kw_only=True)
class ScoredRanking:
    """A held-out ranking with the reward model's scores."""

    ranking: Ranking
    scores: Sequence[float]  # K raw logits
    heads: Sequence[Sequence[float]]  # K rows with one score per head; their mean is the score
    lengths: Sequence[int]  # K, in tokens of prompt and response

    @cached_property
    def prompt(self) -> str:
        """The key of the prompt: rankings of one prompt are not independent."""
        return group_key(self.ranking)

    @cached_property
    def ordered(self) -> list[tuple[int, int]]:
        """(better, worse) positions of each pair that is not tied."""
        ranks = self.ranking.ranks
        return [(i, j) for i, j in permutations(range(len(ranks)), 2) if ranks[i] < ranks[j]]

    @cached_property
    def pairs(self) -> Sequence[tuple[int, int, float]]:
        """(first, second, share of people who prefer the first) of each pair with an order.

        By the ranking's probabilities, or 1 for each pair that is not tied.
        """
        return self.ranking.probabilities or [(*pair, 1.0) for pair in self.ordered]

    @property
    def is_soft(self) -> bool:
        """Whether the row says how people split on each pair."""
        return bool(self.ranking.probabilities)


def score_rankings(model: ScoringModel, rankings: Sequence[Ranking]) -> list[ScoredRanking]:
    """Every ranking with its scores; complete on every process. Call it on all of them."""
    texts: list[Text] = [
        (row.prompt, text, row.tools) for row in rankings for text in row.responses
    ]
    rows = iter(zip(score_heads(model, texts), lengths_of(model, texts), strict=True))
    scored = []
    for ranking in rankings:
        of_ranking = [next(rows) for _ in ranking.responses]
        scored.append(
            ScoredRanking(
                ranking=ranking,
                scores=[sum(heads) / len(heads) for heads, _ in of_ranking],
                heads=[heads for heads, _ in of_ranking],
                lengths=[length for _, length in of_ranking],
            )
        )
    return scored


def score_texts(model: ScoringModel, texts: Sequence[Text]) -> list[float]:
    """Raw scores of texts; complete on every process."""
    return [sum(heads) / len(heads) for heads in score_heads(model, texts)]


def score_heads(model: ScoringModel, texts: Sequence[Text]) -> list[list[float]]:
    """One score per head of each text. Each process scores its share.

    Equal texts are scored once, so that they tie.

    Raises:
        TrainingError: a score is not finite; the message has the prompts. Such a score would count
            as the lowest one and show up as a low accuracy.
    """
    places: dict[str, int] = {}
    index = [places.setdefault(json.dumps(text), len(places)) for text in texts]
    first = dict(zip(reversed(index), reversed(texts), strict=True))
    unique = [first[place] for place in range(len(places))]
    state = PartialState()
    shard = list(range(state.process_index, len(unique), state.num_processes))
    scores = _call(model, [unique[place] for place in shard])
    heads_at = dict(gather_object(list(zip(shard, scores.tolist(), strict=True))))
    bad = [place for place, heads in heads_at.items() if not all(map(math.isfinite, heads))]
    _check_finite([unique[place] for place in sorted(bad)], len(unique))
    return [heads_at[place] for place in index]


def _call(model: ScoringModel, texts: Sequence[Text]) -> Tensor:
    prompts, responses = [text[0] for text in texts], [text[1] for text in texts]
    if not any(tools for _, _, tools in texts):
        return model.score_heads(prompts, responses)
    return model.score_heads(prompts, responses, [tools for _, _, tools in texts])


def _check_finite(bad: Sequence[Text], total: int) -> None:
    if bad:
        prompts = list(dict.fromkeys(repr(prompt)[:120] for prompt, _, _ in bad))
        raise TrainingError(
            f"the reward model returned a score that is not finite for {len(bad)} of {total} "
            f"responses; prompts: {', '.join(prompts[:MAX_PROMPTS])}. Its weights may have "
            "overflowed: train with a lower learning_rate.",
            code="non-finite",
        )


def agreement(first: float, second: float, share_of_people: float) -> float:
    """The share of people who order two responses as their scores do; ½ for equal scores.

    share_of_people: of those who prefer the first response.
    """
    wins = win(first, second)
    return share_of_people * wins + (1 - share_of_people) * (1 - wins)


def average(cases: Iterable[tuple[str, float]]) -> Estimate | None:
    """Mean of (prompt, value) cases with the bootstrap over prompts; None for fewer than two."""
    sums, counts = _by_prompt(cases)
    return ratio(sums, counts) if len(counts) > 1 else None


def _by_prompt(cases: Iterable[tuple[str, float]]) -> tuple[list[float], list[float]]:
    """Each prompt's sum of the values, and their number."""
    sums: dict[str, float] = {}
    counts: dict[str, float] = {}
    for prompt, value in cases:
        sums[prompt] = sums.get(prompt, 0.0) + value
        counts[prompt] = counts.get(prompt, 0.0) + 1.0
    return list(sums.values()), list(counts.values())


def lengths_of(model: ScoringModel, texts: Sequence[Text]) -> list[int]:
    """Tokens of prompt and response as the model reads them."""
    if isinstance(model, GenerativeReward):
        return [len(model.ids(prompt, response)) for prompt, response, _ in texts]
    ids_of = judged_once(model.chat)
    return [len(ids_of(*text)) for text in texts]


def normalized(model: ScoringModel, scores: Sequence[float]) -> list[float]:
    """(raw - mean) / std, the scores that PPO uses."""
    values: list[float] = ((torch.tensor(list(scores)) - model.mean) / model.std).tolist()
    return values
