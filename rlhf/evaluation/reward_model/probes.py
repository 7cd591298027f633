"""Answers that any reward model should put below a demonstration: nonsense, nothing, off topic."""

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
    """What became of the demonstrations' place in the reward when something else stood there."""

    name: str
    score: Estimate  # normalised
    demonstrations_above: Estimate | None  # share scored above it, ½ for a tie; None of themselves


def probe(
    model: RewardModel, rows: Sequence[Demonstration], *, count: int, seed: int
) -> list[Probe]:
    """The probes on `count` demonstrations drawn by seed; shuffled words only of 3 words or more.

    Every demonstration meets its own words shuffled, the empty answer, and the completion of one
    that was drawn for another prompt (no equal text); texts that answer nothing have no other
    prompt. Call it on every process. Probes of fewer than two demonstrations are left out.
    """
    chosen = random.Random(seed).sample(list(rows), min(count, len(rows)))
    texts = [row.completion for row in chosen]
    real = _score(model, chosen, texts)
    found = [_probe(DEMONSTRATIONS, real, None)]
    long_enough = [i for i, text in enumerate(texts) if len(text.split()) > 2]
    prompts = [prompt_key(row.prompt) for row in chosen]
    stray = [_stray(i, texts, prompts) for i in range(len(texts))]
    others = [i for i, text in enumerate(stray) if text is not None]
    for name, which, replaced in (
        (SHUFFLED, long_enough, [shuffled(texts[i], seed) for i in long_enough]),
        (EMPTY, list(range(len(texts))), [""] * len(texts)),
        (OTHER, others, [stray[i] or "" for i in others]),
    ):
        scores = _score(model, [chosen[i] for i in which], replaced)
        found.append(_probe(name, scores, [real[i] for i in which]))
    return [one for one in found if one is not None]


def _stray(index: int, texts: Sequence[str], prompts: Sequence[str]) -> str | None:
    """The next different text of another prompt, in a circle; None where there is none."""
    behind = [*range(index + 1, len(texts)), *range(index)]
    others = (i for i in behind if prompts[i] != prompts[index] and texts[i] != texts[index])
    found = next(others, None)
    return None if found is None else texts[found]


def _score(model: RewardModel, rows: Sequence[Demonstration], texts: Sequence[str]) -> list[float]:
    asked: list[tuple[Prompt, str]] = [
        (row.prompt, text) for row, text in zip(rows, texts, strict=True)
    ]
    return normalized(model, score_texts(model, asked))


def _probe(name: str, scores: Sequence[float], real: Sequence[float] | None) -> Probe | None:
    mean = average((str(i), score) for i, score in enumerate(scores))
    if mean is None:
        return None
    above = None
    if real is not None:
        pairs = enumerate(zip(real, scores, strict=True))
        above = share((str(i), win(ours, theirs)) for i, (ours, theirs) in pairs)
    return Probe(name=name, score=mean, demonstrations_above=above)
