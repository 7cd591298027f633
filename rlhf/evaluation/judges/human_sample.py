"""The prompts that annotators are asked about, and the probability with which each was drawn."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from rlhf.errors import ConfigError
from rlhf.evaluation.judges.pairwise import Pair
from rlhf.evaluation.stats.sampling_design import sampling_probabilities, systematic_sample
from rlhf.labels.records import Candidate
from rlhf.labels.store import LabelStore
from rlhf.types import PromptRow

PROBABILITY = "sampling_probability"  # column of an item in the label store


@dataclass(frozen=True, kw_only=True)
class HumanSample:
    """The pairs that people are asked about."""

    pairs: Sequence[Pair]  # in random order of the prompts, if they were drawn
    probabilities: Mapping[int, float]  # of each drawn prompt; empty if all prompts are asked


def draw_sample(
    store: LabelStore,
    pairs: Sequence[Pair],
    rows: Sequence[PromptRow],
    judge_wins: Sequence[float] | None,
    *,
    budget: int,
    seed: int,
) -> HumanSample:
    """The pairs of `budget` prompts; those that are in the store if they were drawn before.

    Prompts are drawn with probabilities between 1 and 1.5 times the lowest one, higher where the
    judge is uncertain. Prompts whose pairs all have equal texts are ties and are not drawn. The
    store keeps each item's probability, so that a later run with other verdicts of the judge uses
    the labels with the right weights.

    Args:
        store: the label store.
        pairs: all pairs.
        rows: the evaluated prompts.
        judge_wins: the judge's win of each pair, 1, ½ or 0; None without a judge: all prompts are
            equally likely.
        budget: number of prompts.
        seed: of the draw.

    Raises:
        ConfigError: the store has these pairs without probabilities.
    """
    earlier = _earlier_sample(store, pairs, rows)
    if earlier is not None:
        return earlier
    uncertainty: dict[int, list[float]] = {}
    for pair, win in zip(pairs, judge_wins or [0.0] * len(pairs), strict=True):
        if pair.ours != pair.theirs:
            uncertainty.setdefault(pair.prompt_index, []).append(4 * win * (1 - win))
    prompts = sorted(uncertainty)
    if not prompts:
        return HumanSample(pairs=[], probabilities={})
    probabilities = sampling_probabilities(
        [float(np.mean(uncertainty[prompt])) for prompt in prompts], budget
    )
    drawn = [prompts[i] for i in systematic_sample(probabilities, seed=seed)]
    # People label in the order of the store: a random order makes the first labels a sample too.
    order = np.random.default_rng([seed, 1]).permutation(len(drawn))
    by_prompt = dict(zip(prompts, probabilities, strict=True))
    return HumanSample(
        pairs=[pair for i in order for pair in pairs if pair.prompt_index == drawn[i]],
        probabilities={prompt: by_prompt[prompt] for prompt in drawn},
    )


def candidate_of(
    pair: Pair, rows: Sequence[PromptRow], probabilities: Mapping[int, float]
) -> Candidate:
    """The pair as an item of the label store."""
    row, index = rows[pair.prompt_index], pair.prompt_index
    columns: dict[str, object] = {"prompt_index": index}
    if index in probabilities:
        columns[PROBABILITY] = probabilities[index]
    return Candidate(
        prompt=row.prompt,
        responses=[pair.ours, pair.theirs],
        models=[pair.model, pair.baseline],
        columns=columns,
    )


def _earlier_sample(
    store: LabelStore, pairs: Sequence[Pair], rows: Sequence[PromptRow]
) -> HumanSample | None:
    """The pairs that the store has; None if it has none."""
    items = {_key(item): item for item in store.items()}
    if not items:
        return None
    drawn = []
    probabilities: dict[int, float] = {}
    for pair in pairs:
        item = items.get(_key(candidate_of(pair, rows, {})))
        if item is None or pair.ours == pair.theirs:
            continue
        probability = item.columns.get(PROBABILITY)
        if not isinstance(probability, float | int):
            raise ConfigError(
                "human_budget: the label store has pairs of this evaluation that were not drawn "
                "by human_budget, so their probabilities are unknown; name a new human_store, or "
                "leave human_budget out.",
                code="other-run",
            )
        drawn.append(pair)
        probabilities[pair.prompt_index] = float(probability)
    return HumanSample(pairs=drawn, probabilities=probabilities) if drawn else None


def _key(candidate: Candidate) -> str:
    return json.dumps([candidate.prompt, list(candidate.responses), list(candidate.models)])
