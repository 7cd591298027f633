"""Thumbs as token ids, each with a response to another prompt, and the weights of both kinds."""

import random
from collections.abc import Sequence
from dataclasses import dataclass

from rlhf.data.rows.split import group_key
from rlhf.data.tokenization.policy_rows import TokenResponse, token_response
from rlhf.data.tokenization.tokenizer import ChatTokenizer
from rlhf.training.kto.config import KTOConfig
from rlhf.types import Prompt, Thumb


@dataclass(frozen=True, kw_only=True)
class TokenThumb:
    """A thumb whose response is token ids."""

    prompt: Prompt
    group: str  # the prompt's key
    response: TokenResponse
    mismatched: TokenResponse  # the prompt with a response to another one: it estimates the KL
    desirable: bool


@dataclass(frozen=True, kw_only=True)
class ThumbWeights:
    """Weights of the two kinds of thumbs in the loss."""

    desirable: float
    undesirable: float


def thumb_weights(config: KTOConfig, rows: Sequence[Thumb]) -> ThumbWeights:
    """The weights of the configuration, else those that give both kinds the same total.

    The rarer kind has the larger weight, the other one has weight 1. rows: with both kinds, unless
    the configuration has weights.
    """
    if config.desirable_weight is not None and config.undesirable_weight is not None:
        return ThumbWeights(
            desirable=config.desirable_weight, undesirable=config.undesirable_weight
        )
    up = sum(row.desirable for row in rows)
    down = len(rows) - up
    return ThumbWeights(desirable=max(1.0, down / up), undesirable=max(1.0, up / down))


def token_thumbs(
    chat: ChatTokenizer, rows: Sequence[Thumb], *, seed: int, max_length: int
) -> list[TokenThumb]:
    """Thumbs as token ids; each prompt has a response of a random row with another prompt.

    The pairs depend only on the rows and the seed, so that a resumed run has the same. If all rows
    have one prompt, a response of another row takes its place. A response of another row is cut so
    that it has at most `max_length` tokens with the prompt.
    """
    others = _others([group_key(row) for row in rows], random.Random(seed))
    responses = [
        token_response(chat, row.prompt, row.completion, row.tools, cut=row.cut) for row in rows
    ]
    return [
        TokenThumb(
            prompt=row.prompt,
            group=group_key(row),
            response=response,
            mismatched=_joined(response, responses[other], max_length),
            desirable=row.desirable,
        )
        for row, response, other in zip(rows, responses, others, strict=True)
    ]


def _joined(own: TokenResponse, other: TokenResponse, max_length: int) -> TokenResponse:
    """The prompt of one row with the response of another; at least one token of that."""
    room = max(1, max_length - len(own.prompt_ids))
    return TokenResponse(own.prompt_ids, other.response_ids[:room])


def _others(groups: Sequence[str], draw: random.Random) -> list[int]:
    """For each row another one, of another group where there is one; each row is used once or so.

    The rows are shuffled, and each takes the next one in this order that is of another group.
    """
    order = list(range(len(groups)))
    draw.shuffle(order)
    others = [0] * len(groups)
    for place, row in enumerate(order):
        following = (order[(place + step) % len(order)] for step in range(1, len(order)))
        fallback = order[(place + 1) % len(order)]
        others[row] = next((r for r in following if groups[r] != groups[row]), fallback)
    return others
