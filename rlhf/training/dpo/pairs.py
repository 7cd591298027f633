"""Rankings as prompts with token ids, each response once, and their ordered pairs."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import NamedTuple

from rlhf.data.rows.split import group_key
from rlhf.data.tokenization.policy_rows import TokenResponse, token_response
from rlhf.data.tokenization.tokenizer import ChatTokenizer
from rlhf.training.common.prompt_groups import by_prompt
from rlhf.types import Prompt, Ranking


class Pair(NamedTuple):
    """Two responses of a prompt by their places, and how clear the preference was."""

    chosen: int
    rejected: int
    strength: float


@dataclass(frozen=True, kw_only=True)
class PromptPairs:
    """A prompt with its different responses and the ordered pairs of all its rankings."""

    prompt: Prompt
    group: str  # the prompt's key
    responses: Sequence[TokenResponse]  # each text once
    pairs: Sequence[Pair]
    weight: float = 1.0  # share of the prompt's pairs; below 1 where it has too many rankings


@dataclass(frozen=True, kw_only=True)
class PairCounts:
    """Pairs of different texts in rankings."""

    ordered: int
    tied: int  # they have no order, and are left out

    def lines(self) -> list[str]:
        """A sentence about the pairs."""
        tied = f"; {self.tied} ties are left out" if self.tied else ""
        return [f"{self.ordered} pairs of responses to train on{tied}"]


@dataclass(frozen=True, kw_only=True)
class _TokenRanking:
    group: str
    prompt: Prompt
    responses: Sequence[TokenResponse]
    ranks: Sequence[int]
    strength: float


def count_pairs(rows: Sequence[Ranking]) -> PairCounts:
    """How many pairs of different texts are ordered, and how many are tied."""
    ordered = tied = 0
    for row in rows:
        ranked = zip(row.responses, row.ranks, strict=True)
        for (first, rank), (second, other) in combinations(ranked, 2):
            ordered += rank != other
            tied += rank == other and first.strip() != second.strip()
    return PairCounts(ordered=ordered, tied=tied)


def prompt_pairs(chat: ChatTokenizer, rows: Sequence[Ranking]) -> list[PromptPairs]:
    """All ordered pairs of each prompt, whose weights sum to 1 per prompt.

    A prompt counts once in the loss, whatever the number of its rankings and responses. One with
    more than `MAX_RANKINGS` rankings is several elements of batches, with its weight in parts.
    """
    groups = by_prompt(_tokenized(chat, rows))
    parts = [_joined(group) for group in groups]
    totals: dict[str, int] = {}
    for part in parts:
        totals[part.group] = totals.get(part.group, 0) + len(part.pairs)
    return [
        PromptPairs(
            prompt=part.prompt,
            group=part.group,
            responses=part.responses,
            pairs=part.pairs,
            weight=len(part.pairs) / totals[part.group],
        )
        for part in parts
        if part.pairs
    ]


def _tokenized(chat: ChatTokenizer, rows: Sequence[Ranking]) -> list[_TokenRanking]:
    """Rankings as token ids; what several annotators ranked is encoded once."""
    known: dict[str, TokenResponse] = {}

    def ids_of(row: Ranking, response: str, cut: bool) -> TokenResponse:
        key = json.dumps([row.prompt, response, list(row.tools), cut])
        if key not in known:
            known[key] = token_response(chat, row.prompt, response, row.tools, cut=cut)
        return known[key]

    return [
        _TokenRanking(
            group=group_key(row),
            prompt=row.prompt,
            responses=[
                ids_of(row, response, cut)
                for response, cut in zip(row.responses, row.is_cut, strict=True)
            ],
            ranks=row.ranks,
            strength=row.strength,
        )
        for row in rows
    ]


def _joined(rankings: Sequence[_TokenRanking]) -> PromptPairs:
    """The rankings of a prompt as one element, with the pairs of all of them."""
    places: dict[TokenResponse, int] = {}
    pairs: list[Pair] = []
    for ranking in rankings:
        own = [places.setdefault(response, len(places)) for response in ranking.responses]
        ranked = zip(own, ranking.ranks, strict=True)
        for (first, rank), (second, other) in combinations(ranked, 2):
            if rank != other:
                better, worse = (first, second) if rank < other else (second, first)
                pairs.append(Pair(better, worse, ranking.strength))
    return PromptPairs(
        prompt=rankings[0].prompt, group=rankings[0].group, responses=list(places), pairs=pairs
    )
