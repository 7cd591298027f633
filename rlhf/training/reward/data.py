"""Rankings as token ids, and batches that hold each text once."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from rlhf.data.rows.split import group_key
from rlhf.data.tokenization.chat import judged_once
from rlhf.data.tokenization.tokenizer import ChatTokenizer
from rlhf.types import Prompt, Ranking


@dataclass(frozen=True, kw_only=True)
class TokenRanking:
    """A ranking whose responses are token ids."""

    prompt: Prompt
    group: str  # of the prompt; its rankings by several annotators are not independent
    ids: Sequence[Sequence[int]]  # K rows: the prompt and each response, for a reward model
    ranks: Sequence[int]  # K
    annotator: str = ""
    strength: float = 1.0
    weights: Sequence[float] = (1.0,)  # in the loss of each head
    # Two positions, and the share of people who prefer the first: of all pairs, or of none.
    probabilities: Sequence[tuple[int, int, float]] = ()


@dataclass(frozen=True, kw_only=True)
class FlatRankings:
    """The N responses of G rankings in one row; each of the U different texts once in `ids`."""

    ids: Sequence[Sequence[int]]  # U
    index: Tensor  # long [N], the text of each response
    ranks: Tensor  # long [N]
    group_ids: Tensor  # long [N], the ranking of each response
    strengths: Tensor  # float [G]
    weights: Tensor  # float [G, heads]
    # float [N, N], the share of people who prefer i to j of one ranking; None if all are ordered by
    # their ranks alone.
    preferred: Tensor | None = None


def tokenize(chat: ChatTokenizer, rows: Sequence[Ranking]) -> list[TokenRanking]:
    """Rankings as token ids, rendered as for every reward model.

    A response that is in several rankings of a prompt is encoded once.
    """
    ids_of = judged_once(chat)
    return [
        TokenRanking(
            prompt=row.prompt,
            group=group_key(row),
            ids=[ids_of(row.prompt, response, row.tools) for response in row.responses],
            ranks=row.ranks,
            annotator=row.annotator,
            strength=row.strength,
            weights=(row.weight,),
            probabilities=row.probabilities,
        )
        for row in rows
    ]


def with_mean_weight(rankings: Sequence[TokenRanking]) -> list[TokenRanking]:
    """The rankings with weights of mean 1, so that weights leave the size of a step as it is.

    rankings: with one weight each.
    """
    mean = sum(ranking.weights[0] for ranking in rankings) / max(1, len(rankings))
    if mean == 1.0:
        return list(rankings)
    return [replace(ranking, weights=(ranking.weights[0] / mean,)) for ranking in rankings]


def draw_for_heads(
    rankings: Sequence[TokenRanking], num_heads: int, seed: int
) -> list[TokenRanking]:
    """The rankings with a weight for each of several heads; unchanged for one head.

    Exponential weights of mean 1 (the Bayesian bootstrap, Rubin 1981,
    https://doi.org/10.1214/aos/1176345338): each head learns as from another sample of annotators,
    and the heads differ where labels are scarce. A weight depends only on the seed and the
    ranking's place, so that a resumed run draws the same.
    """
    if num_heads == 1:
        return list(rankings)
    generator = torch.Generator().manual_seed(seed * 1_000_003 + 500_009)
    draws = -torch.rand(len(rankings), num_heads, generator=generator).clamp(min=1e-7).log()
    return [
        replace(ranking, weights=tuple(ranking.weights[0] * draw for draw in row))
        for ranking, row in zip(rankings, draws.tolist(), strict=True)
    ]


def flatten(rankings: Sequence[TokenRanking]) -> FlatRankings:
    """All responses in one row; equal token rows share an index."""
    places: dict[tuple[int, ...], int] = {}
    texts = [tuple(ids) for ranking in rankings for ids in ranking.ids]
    index = [places.setdefault(ids, len(places)) for ids in texts]
    sizes = torch.tensor([len(ranking.ids) for ranking in rankings], dtype=torch.long)
    return FlatRankings(
        ids=list(places),
        index=torch.tensor(index, dtype=torch.long),
        ranks=torch.tensor([r for ranking in rankings for r in ranking.ranks], dtype=torch.long),
        group_ids=torch.arange(len(rankings)).repeat_interleave(sizes),
        strengths=torch.tensor([ranking.strength for ranking in rankings]),
        weights=torch.tensor([list(ranking.weights) for ranking in rankings]),
        preferred=(
            _block_diagonal([preferred_of(one.ranks, one.probabilities) for one in rankings])
            if any(ranking.probabilities for ranking in rankings)
            else None
        ),
    )


def preferred_of(ranks: Sequence[int], probabilities: Sequence[tuple[int, int, float]]) -> Tensor:
    """float [K, K] of one ranking: at (i, j) the share of people who prefer i to j.

    By the probabilities, if there are any, else 1 where i has the better rank; tied pairs are 0.
    """
    if not probabilities:
        order = torch.tensor(ranks)
        return (order[:, None] < order[None, :]).float()
    preferred = torch.zeros(len(ranks), len(ranks))
    for first, second, probability in probabilities:
        preferred[first, second], preferred[second, first] = probability, 1 - probability
    return preferred


def _block_diagonal(tables: Sequence[Tensor]) -> Tensor:
    """float [N, N] with the tables [K, K] along its diagonal."""
    whole: Tensor = torch.block_diag(*tables)  # type: ignore[no-untyped-call]
    return whole
