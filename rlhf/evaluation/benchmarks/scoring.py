"""Scores of a benchmark's responses: by any reward, or by the implicit reward of a policy."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch

from rlhf.evaluation.benchmarks.case import BenchmarkCase, JudgedCase, judged_by_scores
from rlhf.evaluation.benchmarks.config import LENGTH
from rlhf.evaluation.benchmarks.row import group_of
from rlhf.rewards.kinds import kind_of
from rlhf.rewards.options import CallOptions
from rlhf.rewards.reward import Reward, load_reward
from rlhf.rewards.templates import JudgeTemplate
from rlhf.runtime.progress import progress
from rlhf.types import Prompt

ScoreFunction = Callable[[Sequence[Prompt], Sequence[str]], list[float]]
"""The score of each response; NaN where a judge gave none."""


@dataclass(frozen=True, kw_only=True)
class ScoredCases:
    """Judged cases, and the number of responses without a score."""

    judged: Sequence[JudgedCase]
    unscored: int


def score_cases(cases: Sequence[BenchmarkCase], score: ScoreFunction) -> ScoredCases:
    """Every case with the scores of its responses. Equal texts are scored once, so they tie."""
    places: dict[tuple[str, str], int] = {}
    texts: list[tuple[Prompt, str]] = []
    for case in cases:
        for response in case.responses:
            key = (group_of(case.prompt), response)
            if key not in places:
                places[key] = len(texts)
                texts.append((case.prompt, response))
    values = score([prompt for prompt, _ in texts], [response for _, response in texts])
    scores = [
        [values[places[group_of(case.prompt), response]] for response in case.responses]
        for case in cases
    ]
    judged = [judged_by_scores(case, own) for case, own in zip(cases, scores, strict=True)]
    return ScoredCases(judged=judged, unscored=sum(map(math.isnan, values)))


def character_lengths(prompts: Sequence[Prompt], responses: Sequence[str]) -> list[float]:
    """The number of characters of each response."""
    return [float(len(response)) for response in responses]


def reward_scores(
    source: str, template: JudgeTemplate, *, batch_size: int, bf16: bool, device: torch.device
) -> ScoreFunction:
    """The function of a source of rewards; reward models give their raw logits.

    A response that a judge, server or verifier gives no score is NaN. A reward model or function
    has to score all of them.

    Args:
        source: a reward model's folder or hub id, a generative one's YAML file, file.py:function,
            an address, judge:FILE.yaml or verifier:NAME; or `length`.
        template: the chat template of a reward model.
        batch_size: responses scored at a time.
        bf16: whether models compute in bf16.
        device: where they compute.

    Raises:
        ConfigError: a source that does not load.
        CheckpointError: nothing that loads as a reward model.
    """
    if source == LENGTH:
        return character_lengths
    reward = load_reward(
        source,
        # Shifting and dividing in float32 could make different logits equal.
        normalize="none",
        on_error="skip" if kind_of(source) in ("judge", "server", "verifier") else "stop",
        templates={source: template},
        calls=CallOptions(),
        device=device,
        bf16=bf16,
    )
    # Calls of a server or judge run at once; a larger batch keeps them busy.
    size = batch_size * 16 if reward.is_called else batch_size
    return lambda prompts, responses: _in_batches(reward, prompts, responses, size)


def _in_batches(
    reward: Reward, prompts: Sequence[Prompt], responses: Sequence[str], batch_size: int
) -> list[float]:
    """Scores of all responses, those of similar length together."""
    values = [math.nan] * len(responses)
    with progress("score responses", len(responses)) as advance:
        for places in _by_length(prompts, responses, batch_size):
            scores = reward.score([prompts[at] for at in places], [responses[at] for at in places])
            for place, value in zip(places, scores.scores.tolist(), strict=True):
                values[place] = value
            advance(len(places))
    return values


def _by_length(
    prompts: Sequence[Prompt], responses: Sequence[str], size: int
) -> Iterator[list[int]]:
    """Places of responses of similar length, `size` at a time, the longest first."""
    lengths = [
        len(group_of(prompt)) + len(response)
        for prompt, response in zip(prompts, responses, strict=True)
    ]
    order = sorted(range(len(responses)), key=lambda place: -lengths[place])
    for start in range(0, len(order), size):
        yield order[start : start + size]
