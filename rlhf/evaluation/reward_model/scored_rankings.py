"""Rankings and demonstrations with a reward model's scores, shared out over the processes."""

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import permutations

import torch
from accelerate import PartialState
from accelerate.utils import gather_object

from rlhf.data.rows.split import group_key
from rlhf.data.tokenization.chat import judged_once
from rlhf.errors import TrainingError
from rlhf.evaluation.stats.bootstrap import Estimate, ratio
from rlhf.ops.accuracy import share_with_interval
from rlhf.rewards.model import RewardModel
from rlhf.types import Prompt, Ranking

SHOWN = 3  # prompts named in an error


@dataclass(frozen=True, kw_only=True)
class ScoredRanking:
    """A held-out ranking as the reward model sees it."""

    ranking: Ranking
    scores: Sequence[float]  # K raw logits
    heads: Sequence[Sequence[float]]  # K rows of one score a head; their mean is the score
    lengths: Sequence[int]  # K, tokens that it reads

    @cached_property
    def prompt(self) -> str:
        """What tells prompts apart: rankings of one prompt are no independent evidence."""
        return group_key(self.ranking)

    @cached_property
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
    that a tie is a tie. Each process scores its share.

    Raises:
        TrainingError: a score that is not finite, with the prompts; left in, it would count as
            the lowest of all and come out as a low accuracy.
    """
    places: dict[str, int] = {}
    index = [places.setdefault(json.dumps(text), len(places)) for text in texts]
    first = dict(zip(reversed(index), reversed(texts), strict=True))
    unique = [first[place] for place in range(len(places))]
    state = PartialState()
    mine = list(range(state.process_index, len(unique), state.num_processes))
    chosen = [unique[place] for place in mine]
    scores = model.score_heads([prompt for prompt, _ in chosen], [text for _, text in chosen])
    everybodys = dict(gather_object(list(zip(mine, scores.tolist(), strict=True))))
    odd = [place for place, heads in everybodys.items() if not all(map(math.isfinite, heads))]
    _refuse_not_finite([unique[place] for place in sorted(odd)], len(unique))
    return [everybodys[place] for place in index]


def _refuse_not_finite(texts: Sequence[tuple[Prompt, str]], total: int) -> None:
    if texts:
        prompts = list(dict.fromkeys(repr(prompt)[:120] for prompt, _ in texts))
        shown = ", ".join(prompts[:SHOWN])
        raise TrainingError(
            f"the reward model gives no finite number for {len(texts)} of {total} answers, so that "
            f"nothing can be said of it; prompts: {shown}. Its weights may have overflowed: train "
            "with a lower learning_rate."
        )


def share(cases: Iterable[tuple[str, float]]) -> Estimate | None:
    """Mean of (prompt, number from 0 to 1) cases; None of fewer than two prompts.

    Wilson's interval over prompts, that of the training's held-out accuracy: a bootstrap of
    cases that are all right would say [1, 1].
    """
    sums, counts = _by_prompt(cases)
    if len(counts) < 2:
        return None
    value, low, high = share_with_interval(torch.tensor(sums), torch.tensor(counts))
    return Estimate(value=value, low=low, high=high, n=len(counts), num_answers=int(sum(counts)))


def average(cases: Iterable[tuple[str, float]]) -> Estimate | None:
    """Mean of (prompt, value) cases with the bootstrap over prompts; None of fewer than two."""
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


def _lengths(model: RewardModel, texts: Sequence[tuple[Prompt, str]]) -> list[int]:
    ids_of = judged_once(model.chat)
    return [len(ids_of(prompt, text)) for prompt, text in texts]


def normalized(model: RewardModel, scores: Sequence[float]) -> list[float]:
    """(raw - mean) / std, as PPO sees them."""
    values: list[float] = ((torch.tensor(list(scores)) - model.mean) / model.std).tolist()
    return values
