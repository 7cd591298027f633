"""How the next token is sampled: temperature, nucleus, seed."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from rlhf.errors import ConfigError
from rlhf.models.generation.sampling_noise import uniform_noise
from rlhf.runtime.field_types import check_field_types

NUM_SEEDS = 2**63  # seeds that torch accepts: 0 to 2**63 - 1
MIN_TEMPERATURE = 1e-5  # below it sampling is greedy; dividing by less overflows


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """Settings of the sampling of one response."""

    temperature: float = 0.7  # 0 is greedy
    top_p: float = 1.0  # keep the fewest likeliest tokens whose probabilities reach this sum
    max_new_tokens: int = 256
    seed: int = 0

    def __post_init__(self) -> None:
        check_field_types(self)
        if not 0 <= self.temperature < math.inf:
            raise ConfigError(
                f"temperature={self.temperature} must be 0 (greedy) or more.", code="bad-value"
            )
        if not 0 < self.top_p <= 1:
            raise ConfigError(
                f"top_p={self.top_p} must be above 0 and at most 1; 1 keeps all tokens.",
                code="bad-value",
            )
        if self.max_new_tokens < 1:
            raise ConfigError(
                f"max_new_tokens={self.max_new_tokens} must be 1 or more.", code="bad-value"
            )
        if not 0 <= self.seed < NUM_SEEDS:
            raise ConfigError(f"seed={self.seed} must be from 0 to 2**63 - 1.", code="bad-value")


def sampling_noise(sampling: Sampling, choice: int) -> Tensor:
    """float [R] in (0, 1]: the noise that decides each token of response `choice`.

    It does not depend on the other choices: choice 0 of one response is choice 0 of four.
    """
    return uniform_noise(sampling.seed, 0, torch.tensor([choice]), sampling.max_new_tokens)[0]


def sampling_probabilities(logits: Tensor, samplings: Sequence[Sampling]) -> Tensor:
    """Probabilities [B, V] that tokens are sampled with, from logits [B, V]; a sampling per row.

    softmax(logits / temperature), then the nucleus of top_p, renormalised to 1.
    """
    device = logits.device
    temperature = torch.tensor([s.temperature for s in samplings], device=device)
    top_p = torch.tensor([s.top_p for s in samplings], device=device)
    greedy = temperature < MIN_TEMPERATURE
    logits = logits.float() - logits.float().amax(-1, keepdim=True)
    probabilities = (logits / torch.where(greedy, 1.0, temperature)[:, None]).softmax(-1)
    truncated = (top_p < 1) & ~greedy
    if truncated.any():
        probabilities[truncated] = nucleus(probabilities[truncated], top_p[truncated])
    if greedy.any():
        likeliest = logits[greedy].argmax(-1, keepdim=True)
        probabilities[greedy] = torch.zeros_like(logits[greedy]).scatter(-1, likeliest, 1.0)
    return probabilities


def nucleus(probabilities: Tensor, top_p: Tensor) -> Tensor:
    """The fewest likeliest tokens whose probabilities reach top_p, renormalised.

    The likeliest token is always among them (https://arxiv.org/abs/1904.09751).
    [B, V] and [B] -> [B, V].
    """
    likeliest, order = probabilities.sort(descending=True, stable=True)
    before = likeliest.cumsum(-1) - likeliest
    nucleus_sorted = torch.where(before < top_p[:, None], likeliest, 0.0)
    unnormalised = torch.zeros_like(probabilities).scatter(-1, order, nucleus_sorted)
    return unnormalised / unnormalised.sum(-1, keepdim=True)


def sample_tokens(logits: Tensor, samplings: Sequence[Sampling], noise: Tensor) -> Tensor:
    """Tokens, long [B], from logits [B, V] and noise [B] in (0, 1].

    Inverse transform: the first token whose cumulative probability reaches noise * total. Since
    noise is above 0, that token has positive probability. If all rows are greedy, the argmax gives
    the same tokens faster.
    """
    if all(sampling.temperature < MIN_TEMPERATURE for sampling in samplings):
        return logits.argmax(-1)
    cumulative = sampling_probabilities(logits, samplings).cumsum(-1)
    target = noise.to(logits.device)[:, None] * cumulative[:, -1:]
    return torch.searchsorted(cumulative, target)[:, 0]
