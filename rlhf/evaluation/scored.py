"""Rankings and demonstrations with a reward model's scores, shared out over the processes."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import permutations

import torch
from accelerate import PartialState
from accelerate.utils import gather_object

from rlhf.data.chat import answer_ids
from rlhf.data.split import group_key
from rlhf.evaluation.bootstrap import Estimate, ratio
from rlhf.rewards.model import RewardModel
from rlhf.types import Prompt, Ranking


@dataclass(frozen=True, kw_only=True)
class ScoredRanking:
    """A held-out ranking as the reward model sees it."""

    ranking: Ranking
    scores: Sequence[float]  # K raw logits
    heads: Sequence[Sequence[float]]  # K rows of one score a head; their mean is the score
    lengths: Sequence[int]  # K, tokens of prompt and answer

    @property
    def prompt(self) -> str:
        """What tells prompts apart: rankings of one prompt are no independent evidence."""
        return group_key(self.ranking)

    @property
    def ordered(self) -> list[tuple[int, int]]:
        """(better, worse) positions of each pair that is not tied."""
        ranks = self.ranking.ranks
        return [(i, j) for i, j in permutations(range(len(ranks)), 2) if ranks[i] < ranks[j]]


def score_rankings(model: RewardModel, rankings: Sequence[Ranking]) -> list[ScoredRanking]:
    """Every ranking scored; complete on every process. Call it on all of them."""
    flat = [(ranking.prompt, text) for ranking in rankings for text in ranking.responses]
    each = iter(zip(score_heads(model, flat), _lengths(model, flat), strict=True))
    found = []
    for ranking in rankings:
        rows = [next(each) for _ in ranking.responses]
        found.append(
            ScoredRanking(
                ranking=ranking,
                scores=[sum(heads) / len(heads) for heads, _ in rows],
                heads=[heads for heads, _ in rows],
                lengths=[length for _, length in rows],
            )
        )
    return found


def score_texts(model: RewardModel, texts: Sequence[tuple[Prompt, str]]) -> list[float]:
    """Raw scores of (prompt, answer) pairs; complete on every process."""
    return [sum(heads) / len(heads) for heads in score_heads(model, texts)]


def score_heads(model: RewardModel, texts: Sequence[tuple[Prompt, str]]) -> list[list[float]]:
    """One score a head of (prompt, answer) pairs; a pair that comes twice is scored once, so
    that a tie is a tie. Each process scores its share."""
    places: dict[str, int] = {}
    index = [places.setdefault(json.dumps(text), len(places)) for text in texts]
    first = dict(zip(reversed(index), reversed(texts), strict=True))
    unique = [first[place] for place in range(len(places))]
    state = PartialState()
    mine = list(range(state.process_index, len(unique), state.num_processes))
    chosen = [unique[place] for place in mine]
    scores = model.score_heads([prompt for prompt, _ in chosen], [text for _, text in chosen])
    everybodys = dict(gather_object(list(zip(mine, scores.tolist(), strict=True))))
    return [everybodys[place] for place in index]


def share(cases: Iterable[tuple[str, float]], *, seed: int = 0) -> Estimate | None:
    """Mean of (prompt, value) cases with the bootstrap over prompts; None of fewer than two."""
    sums: dict[str, float] = {}
    counts: dict[str, float] = {}
    for prompt, value in cases:
        sums[prompt] = sums.get(prompt, 0.0) + value
        counts[prompt] = counts.get(prompt, 0.0) + 1.0
    if len(counts) < 2:
        return None
    return ratio(list(sums.values()), list(counts.values()), seed=seed)


def win(ours: float, theirs: float) -> float:
    """1, ½ for a tie, 0."""
    return (ours > theirs) + 0.5 * (ours == theirs)


def _lengths(model: RewardModel, texts: Sequence[tuple[Prompt, str]]) -> list[int]:
    return [len(answer_ids(model.chat, prompt, text)) for prompt, text in texts]


def normalized(model: RewardModel, scores: Sequence[float]) -> list[float]:
    """(raw - mean) / std, as PPO sees them."""
    values: list[float] = ((torch.tensor(list(scores)) - model.mean) / model.std).tolist()
    return values
