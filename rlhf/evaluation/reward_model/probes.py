"""Responses that should score below a demonstration: shuffled, empty, off-topic."""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rlhf.data.rows.split import prompt_key
from rlhf.evaluation.reward_model.scored_rankings import (
    ScoringModel,
    Text,
    average,
    normalized,
    score_texts,
)
from rlhf.evaluation.stats.bootstrap import Estimate
from rlhf.evaluation.stats.composite import share_of
from rlhf.evaluation.stats.win_rate import win
from rlhf.rewards.shuffled_words import shuffled
from rlhf.types import Demonstration

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
    model: ScoringModel, rows: Sequence[Demonstration], *, count: int, seed: int
) -> list[Probe]:
    """The probes on `count` demonstrations drawn by seed. Call it on every process.

    Each demonstration is compared with its own words in shuffled order (from 3 words on), with the
    empty response, and with a different completion of another prompt. Demonstrations without a
    prompt have no other prompt. Probes of fewer than two demonstrations are left out.
    """
    chosen = random.Random(seed).sample(list(rows), min(count, len(rows)))
    responses = dict(_responses(chosen, seed))
    texts: list[Text] = [
        (chosen[i].prompt, text, ()) for by_row in responses.values() for i, text in by_row.items()
    ]
    scores = iter(normalized(model, score_texts(model, texts)))
    by_name = {name: {i: next(scores) for i in by_row} for name, by_row in responses.items()}
    real = by_name.pop(DEMONSTRATIONS)
    probes = [_probe(DEMONSTRATIONS, list(real.values()), None)]
    for name, altered in by_name.items():
        probes.append(_probe(name, list(altered.values()), [real[i] for i in altered]))
    return [one for one in probes if one is not None]


def _responses(rows: Sequence[Demonstration], seed: int) -> Iterator[tuple[str, dict[int, str]]]:
    """The name of each probe, and its responses by the row that they replace."""
    texts = [row.completion for row in rows]
    prompts = [prompt_key(row.prompt) for row in rows]
    yield DEMONSTRATIONS, dict(enumerate(texts))
    long_enough = {i: text for i, text in enumerate(texts) if len(text.split()) > 2}
    yield SHUFFLED, {i: shuffled(text, seed) for i, text in long_enough.items()}
    yield EMPTY, dict.fromkeys(range(len(texts)), "")
    others = {i: _off_topic(i, texts, prompts) for i in range(len(texts))}
    yield OTHER, {i: text for i, text in others.items() if text is not None}


def _off_topic(index: int, texts: Sequence[str], prompts: Sequence[str]) -> str | None:
    """The next different text of another prompt, cyclically; None if there is none."""
    order = [*range(index + 1, len(texts)), *range(index)]
    others = (i for i in order if prompts[i] != prompts[index] and texts[i] != texts[index])
    other = next(others, None)
    return None if other is None else texts[other]


def _probe(name: str, scores: Sequence[float], real: Sequence[float] | None) -> Probe | None:
    mean = average((str(i), score) for i, score in enumerate(scores))
    if mean is None:
        return None
    above = None
    if real is not None:
        pairs = enumerate(zip(real, scores, strict=True))
        above = share_of((str(i), win(original, altered)) for i, (original, altered) in pairs)
    return Probe(name=name, score=mean, demonstrations_above=above)
