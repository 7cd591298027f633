"""Responses that should score below a demonstration: shuffled, empty, off-topic."""

import random
from collections.abc import Sequence
from dataclasses import dataclass

from rlhf.data.rows.split import prompt_key
from rlhf.evaluation.reward_model.scored_rankings import average, normalized, score_texts, share
from rlhf.evaluation.stats.bootstrap import Estimate
from rlhf.evaluation.stats.win_rate import win
from rlhf.rewards.model import RewardModel
from rlhf.rewards.shuffled_words import shuffled
from rlhf.types import Demonstration, Prompt

DEMONSTRATIONS = "demonstrations"
SHUFFLED, EMPTY, OTHER = "shuffled words", "empty answer", "another prompt's answer"


@dataclass(frozen=True, kw_only=True)
class Probe:
    """Scores of altered demonstrations, and how often the originals score above them."""

    name: str
    score: Estimate  # normalised
    demonstrations_above: (
        Estimate | None
    )  # share that scores higher, ½ for a tie; None for originals


def probe(
    model: RewardModel, rows: Sequence[Demonstration], *, count: int, seed: int
) -> list[Probe]:
    """The probes on `count` demonstrations drawn by seed. Call it on every process.

    Each demonstration is compared with its own words in shuffled order (from 3 words on), with the
    empty response, and with a different completion of another prompt. Demonstrations without a
    prompt have no other prompt. Probes of fewer than two demonstrations are left out.
    """
    chosen = random.Random(seed).sample(list(rows), min(count, len(rows)))
    texts = [row.completion for row in chosen]
    real = _score(model, chosen, texts)
    probes = [_probe(DEMONSTRATIONS, real, None)]
    long_enough = [i for i, text in enumerate(texts) if len(text.split()) > 2]
    prompts = [prompt_key(row.prompt) for row in chosen]
    off_topic = [_off_topic(i, texts, prompts) for i in range(len(texts))]
    others = [i for i, text in enumerate(off_topic) if text is not None]
    for name, which, replaced in (
        (SHUFFLED, long_enough, [shuffled(texts[i], seed) for i in long_enough]),
        (EMPTY, list(range(len(texts))), [""] * len(texts)),
        (OTHER, others, [off_topic[i] or "" for i in others]),
    ):
        scores = _score(model, [chosen[i] for i in which], replaced)
        probes.append(_probe(name, scores, [real[i] for i in which]))
    return [one for one in probes if one is not None]


def _off_topic(index: int, texts: Sequence[str], prompts: Sequence[str]) -> str | None:
    """The next different text of another prompt, cyclically; None if there is none."""
    order = [*range(index + 1, len(texts)), *range(index)]
    others = (i for i in order if prompts[i] != prompts[index] and texts[i] != texts[index])
    other = next(others, None)
    return None if other is None else texts[other]


def _score(model: RewardModel, rows: Sequence[Demonstration], texts: Sequence[str]) -> list[float]:
    pairs: list[tuple[Prompt, str]] = [
        (row.prompt, text) for row, text in zip(rows, texts, strict=True)
    ]
    return normalized(model, score_texts(model, pairs))


def _probe(name: str, scores: Sequence[float], real: Sequence[float] | None) -> Probe | None:
    mean = average((str(i), score) for i, score in enumerate(scores))
    if mean is None:
        return None
    above = None
    if real is not None:
        pairs = enumerate(zip(real, scores, strict=True))
        above = share((str(i), win(original, altered)) for i, (original, altered) in pairs)
    return Probe(name=name, score=mean, demonstrations_above=above)
