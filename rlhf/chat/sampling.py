"""How the next token is sampled: temperature, truncation, penalties, seed."""

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
    top_k: int = 0  # keep this many of the likeliest tokens; 0 keeps all
    min_p: float = 0.0  # keep tokens with this share of the likeliest one's probability, or more
    # Changes of logits, see `LogitChanges`.
    frequency_penalty: float = 0.0
    presence_penalty: float = 0.0
    repetition_penalty: float = 1.0

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
        if self.top_k < 0:
            raise ConfigError(f"top_k={self.top_k} must be 0 (all) or more.", code="bad-value")
        if not 0 <= self.min_p <= 1:
            raise ConfigError(f"min_p={self.min_p} must be from 0 to 1.", code="bad-value")
        for name in ("frequency_penalty", "presence_penalty"):
            if not math.isfinite(getattr(self, name)):
                raise ConfigError(
                    f"{name}={getattr(self, name)} must be a finite number.", code="bad-value"
                )
        if not 0 < self.repetition_penalty < math.inf:
            raise ConfigError(
                f"repetition_penalty={self.repetition_penalty} must be above 0; 1 changes nothing.",
                code="bad-value",
            )

    @property
    def has_penalties(self) -> bool:
        """Whether a penalty changes logits."""
        penalties = (self.frequency_penalty, self.presence_penalty, self.repetition_penalty - 1)
        return any(penalties)


def sampling_noise(sampling: Sampling, choice: int) -> Tensor:
    """float [R] in (0, 1]: the noise that decides each token of response `choice`.

    It does not depend on the other choices: choice 0 of one response is choice 0 of four.
    """
    return uniform_noise(sampling.seed, 0, torch.tensor([choice]), sampling.max_new_tokens)[0]


def sampling_probabilities(logits: Tensor, samplings: Sequence[Sampling]) -> Tensor:
    """Probabilities [B, V] that tokens are sampled with, from logits [B, V]; a sampling per row.

    softmax(logits / temperature), then min_p, top_k and the nucleus of top_p, each renormalised
    to 1.
    """
    device = logits.device
    temperature = torch.tensor([s.temperature for s in samplings], device=device)
    top_p = torch.tensor([s.top_p for s in samplings], device=device)
    greedy = temperature < MIN_TEMPERATURE
    logits = logits.float() - logits.float().amax(-1, keepdim=True)
    probabilities = (logits / torch.where(greedy, 1.0, temperature)[:, None]).softmax(-1)
    likely = torch.tensor([bool(s.top_k or s.min_p) for s in samplings], device=device) & ~greedy
    if likely.any():
        top_k = torch.tensor([s.top_k for s in samplings], device=device)
        min_p = torch.tensor([s.min_p for s in samplings], device=device)
        probabilities[likely] = likeliest_tokens(
            probabilities[likely], top_k=top_k[likely], min_p=min_p[likely]
        )
    truncated = (top_p < 1) & ~greedy
    if truncated.any():
        probabilities[truncated] = nucleus(probabilities[truncated], top_p[truncated])
    if greedy.any():
        likeliest = logits[greedy].argmax(-1, keepdim=True)
        probabilities[greedy] = torch.zeros_like(logits[greedy]).scatter(-1, likeliest, 1.0)
    return probabilities


def likeliest_tokens(probabilities: Tensor, *, top_k: Tensor, min_p: Tensor) -> Tensor:
    """The top_k likeliest tokens that have min_p of the likeliest one's probability, renormalised.

    [B, V], long [B] (0 keeps all) and float [B] -> [B, V]. Of equal probabilities at the limit of
    top_k the lower ids are kept. min_p: https://arxiv.org/abs/2407.01082.
    """
    sorted_probabilities, order = probabilities.sort(descending=True, stable=True)
    positions = torch.arange(probabilities.shape[-1], device=probabilities.device)
    limit = torch.where(top_k > 0, top_k, probabilities.shape[-1])
    kept = positions < limit[:, None]
    kept &= sorted_probabilities >= min_p[:, None] * sorted_probabilities[:, :1]
    kept_sorted = torch.where(kept, sorted_probabilities, 0.0)
    unnormalised = torch.zeros_like(probabilities).scatter(-1, order, kept_sorted)
    return unnormalised / unnormalised.sum(-1, keepdim=True)


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
