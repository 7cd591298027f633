"""How the next token is drawn: temperature, nucleus, seed."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from rlhf.errors import ConfigError
from rlhf.models.generation.sampling_noise import uniform_noise

SEEDS = 2**63  # as many as torch takes
COLDEST = 1e-5  # below this the likeliest token is taken; dividing by less overflows


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """How the next token is drawn."""

    temperature: float = 0.7  # 0 takes the likeliest token
    top_p: float = 1.0  # keep the likeliest tokens that together have this probability
    max_new_tokens: int = 256
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.temperature < math.inf:
            raise ConfigError(f"temperature={self.temperature} is not from 0 up; 0 is greedy.")
        if not 0 < self.top_p <= 1:
            raise ConfigError(f"top_p={self.top_p} is no probability above 0; 1 keeps all.")
        if self.max_new_tokens < 1:
            raise ConfigError(f"max_new_tokens={self.max_new_tokens} leaves no answer; use 1 up.")
        if not 0 <= self.seed < SEEDS:
            raise ConfigError(f"seed={self.seed} is no seed; use 0 to 2**63 - 1.")


def noise_of(sampling: Sampling, choice: int) -> Tensor:
    """float [R] in (0, 1]: what decides each token of answer `choice`, whatever is drawn beside
    it. Choice 0 of one answer is choice 0 of four."""
    return uniform_noise(sampling.seed, 0, torch.tensor([choice]), sampling.max_new_tokens)[0]


def reshaped(logits: Tensor, samplings: Sequence[Sampling]) -> Tensor:
    """Probabilities [B, V] that tokens are drawn with, from logits [B, V] and a sampling a row.

    softmax(logits / temperature), then the nucleus of top_p, which sums to 1 again.
    """
    device = logits.device
    temperature = torch.tensor([s.temperature for s in samplings], device=device)
    top_p = torch.tensor([s.top_p for s in samplings], device=device)
    greedy = temperature < COLDEST
    logits = logits.float() - logits.float().amax(-1, keepdim=True)
    probabilities = (logits / torch.where(greedy, 1.0, temperature)[:, None]).softmax(-1)
    cut = (top_p < 1) & ~greedy
    if cut.any():
        probabilities[cut] = nucleus(probabilities[cut], top_p[cut])
    if greedy.any():
        likeliest = logits[greedy].argmax(-1, keepdim=True)
        probabilities[greedy] = torch.zeros_like(logits[greedy]).scatter(-1, likeliest, 1.0)
    return probabilities


def nucleus(probabilities: Tensor, top_p: Tensor) -> Tensor:
    """The fewest likeliest tokens whose probabilities reach top_p, renormalised; the first is
    always among them (https://arxiv.org/abs/1904.09751). [B, V] and [B] -> [B, V].
    """
    likeliest, order = probabilities.sort(descending=True, stable=True)
    before = likeliest.cumsum(-1) - likeliest
    kept = torch.where(before < top_p[:, None], likeliest, 0.0)
    kept = torch.zeros_like(probabilities).scatter(-1, order, kept)
    return kept / kept.sum(-1, keepdim=True)


def draw(logits: Tensor, samplings: Sequence[Sampling], noise: Tensor) -> Tensor:
    """Tokens, long [B], from logits [B, V] and noise [B] in (0, 1].

    Inverse transform: the first token whose cumulative probability reaches noise * total. Since
    noise is above 0, that token has positive probability. Where all are greedy it is the likeliest
    one, which the way over probabilities gives too.
    """
    if all(sampling.temperature < COLDEST for sampling in samplings):
        return logits.argmax(-1)
    cumulative = reshaped(logits, samplings).cumsum(-1)
    target = noise.to(logits.device)[:, None] * cumulative[:, -1:]
    return torch.searchsorted(cumulative, target)[:, 0]
