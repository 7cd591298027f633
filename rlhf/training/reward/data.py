"""Rankings as token ids, and batches of them in which no text is read twice."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from rlhf.data.rows.split import group_key
from rlhf.data.tokenization.chat import judged_once
from rlhf.data.tokenization.tokenizer import ChatTokenizer
from rlhf.types import Prompt, Ranking

AT_ONCE = 16  # rankings of one prompt that are read together; more of them follow as another prompt


@dataclass(frozen=True, kw_only=True)
class TokenRanking:
    """A ranking whose answers are token ids."""

    prompt: Prompt
    group: str  # rankings of one prompt, by several people, are no independent evidence
    ids: Sequence[Sequence[int]]  # K rows: what a reward model reads of each answer
    ranks: Sequence[int]  # K
    annotator: str = ""
    strength: float = 1.0
    weights: Sequence[float] = (1.0,)  # of this ranking in the loss of each head


@dataclass(frozen=True, kw_only=True)
class FlatRankings:
    """The N answers of G rankings in one row; each of the U different texts once in `ids`."""

    ids: Sequence[Sequence[int]]  # U
    index: Tensor  # long [N], the text of each answer
    ranks: Tensor  # long [N]
    group_ids: Tensor  # long [N], the number of each answer's ranking
    strengths: Tensor  # float [G]
    weights: Tensor  # float [G, heads]


def tokenize(chat: ChatTokenizer, rows: Sequence[Ranking]) -> list[TokenRanking]:
    """Rankings as token ids, by the one function that renders for every reward model.

    An answer that several rankings of a prompt hold is encoded once.
    """
    ids_of = judged_once(chat)
    return [
        TokenRanking(
            prompt=row.prompt,
            group=group_key(row),
            ids=[ids_of(row.prompt, answer, row.tools) for answer in row.responses],
            ranks=row.ranks,
            annotator=row.annotator,
            strength=row.strength,
        )
        for row in rows
    ]


def draw_for_heads(
    rankings: Sequence[TokenRanking], num_heads: int, seed: int
) -> list[TokenRanking]:
    """The rankings with a weight for each of several heads; unchanged where there is one.

    Exponential weights of mean 1 (the Bayesian bootstrap, Rubin 1981,
    https://doi.org/10.1214/aos/1176345338): each head learns as if from another sample of the
    people, and where too few have spoken the heads differ. Drawn from the seed and a ranking's
    place, so that a resumed run draws the same.
    """
    if num_heads == 1:
        return list(rankings)
    generator = torch.Generator().manual_seed(seed * 1_000_003 + 500_009)
    draws = -torch.rand(len(rankings), num_heads, generator=generator).clamp(min=1e-7).log()
    return [
        replace(ranking, weights=tuple(ranking.weights[0] * one for one in row))
        for ranking, row in zip(rankings, draws.tolist(), strict=True)
    ]


def by_prompt(rankings: Sequence[TokenRanking]) -> list[list[TokenRanking]]:
    """The rankings of each prompt together, prompts in the order of their first one.

    So the answers that several people or several pairs speak of are read once a step; beyond
    `AT_ONCE` rankings a prompt begins anew, so that one prompt of a thousand pairs fits.
    """
    groups: dict[tuple[str, int], list[TokenRanking]] = {}
    seen: dict[str, int] = {}
    for ranking in rankings:
        number = seen.get(ranking.group, 0)
        seen[ranking.group] = number + 1
        groups.setdefault((ranking.group, number // AT_ONCE), []).append(ranking)
    return list(groups.values())


def flatten(rankings: Sequence[TokenRanking]) -> FlatRankings:
    """All answers in one row; equal token rows, of one ranking or of several, share a place."""
    places: dict[tuple[int, ...], int] = {}
    answers = [tuple(answer) for ranking in rankings for answer in ranking.ids]
    index = [places.setdefault(answer, len(places)) for answer in answers]
    sizes = torch.tensor([len(ranking.ids) for ranking in rankings], dtype=torch.long)
    return FlatRankings(
        ids=list(places),
        index=torch.tensor(index, dtype=torch.long),
        ranks=torch.tensor([r for ranking in rankings for r in ranking.ranks], dtype=torch.long),
        group_ids=torch.arange(len(rankings)).repeat_interleave(sizes),
        strengths=torch.tensor([ranking.strength for ranking in rankings]),
        weights=torch.tensor([list(ranking.weights) for ranking in rankings]),
    )
