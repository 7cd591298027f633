"""All results of people on some prompts, alone and with a judge on all."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rlhf.evaluation.core.metric_spec import MetricSpec
from rlhf.evaluation.core.results import Result
from rlhf.evaluation.judges.human_llm import (
    PromptWins,
    anytime_results,
    combined_results,
    powered_results,
    prompt_wins,
    with_clean,
)
from rlhf.evaluation.judges.human_sample import HumanSample
from rlhf.evaluation.judges.pairwise import Pair
from rlhf.evaluation.stats.prediction_powered import PredictionPowered
from rlhf.evaluation.stats.sampled_length import (
    FEWEST_LABELS,
    sampled_equal_length_win_rate,
    sampled_length_controlled_win_rate,
)


@dataclass(frozen=True, kw_only=True)
class KnownWins:
    """The win of each pair, as far as it is known."""

    judge: Mapping[Pair, float]  # of all pairs; empty without a judge
    people: Mapping[Pair, float]  # of each labelled pair, and ½ for pairs of equal texts


def sampled_results(
    pairs: Sequence[Pair],
    known: KnownWins,
    labelled: Sequence[Pair],
    sample: HumanSample,
    spec: MetricSpec,
) -> list[Result]:
    """Every model's win rates by people with the judge, by people alone, and valid at every look.

    The last one only if the prompts were drawn: their order is random then.

    Args:
        pairs: all pairs of the models with the baseline.
        known: their wins.
        labelled: the pairs in the order of their first labels.
        sample: the drawn prompts.
        spec: models, baseline and contaminated prompts.
    """
    results = []
    for model in spec.models:
        own = [pair for pair in pairs if (pair.model, pair.baseline) == (model, spec.baseline)]
        wins = prompt_wins(own, known.judge, known.people, sample)
        results += combined_results(wins, model, spec, with_judge=bool(known.judge))
        results += length_results(own, known, wins, model, spec)
        if sample.probabilities:
            results += anytime_results(wins, _order(labelled, own), model, spec)
    return results


def length_results(
    pairs: Sequence[Pair],
    known: KnownWins,
    wins: Sequence[PromptWins],
    model: str,
    spec: MetricSpec,
) -> list[Result]:
    """Length-controlled win rate and win rate at equal length of one model.

    By people with the judge, and by people alone; also without contaminated prompts. Nothing if
    fewer than ten prompts are labelled. Difficulty is not estimated from other models: the length
    of the baseline's response takes its place.

    Args:
        pairs: of the model with the baseline, at all prompts.
        known: their wins.
        wins: the same by prompt, as `prompt_wins` returns them.
        model: its name.
        spec: baseline and contaminated prompts.
    """
    by_prompt: dict[int, list[Pair]] = {one.prompt_index: [] for one in wins}
    for pair in pairs:
        by_prompt[pair.prompt_index].append(pair)

    def results_of(some: Sequence[PromptWins]) -> list[Result]:
        groups = [by_prompt[one.prompt_index] for one in some]
        return [
            result
            for metric, estimate in _estimates(groups, known, some).items()
            for result in powered_results(
                estimate, metric, model, spec, with_judge=bool(known.judge)
            )
        ]

    return with_clean(wins, spec, results_of)


def _estimates(
    groups: Sequence[Sequence[Pair]], known: KnownWins, wins: Sequence[PromptWins]
) -> dict[str, PredictionPowered]:
    """Both estimates by metric, from the pairs of each prompt; empty with too few labels."""
    if sum(one.people is not None for one in wins) < FEWEST_LABELS:
        return {}
    labels = [
        None if one.people is None else [known.people[pair] for pair in group]
        for one, group in zip(wins, groups, strict=True)
    ]
    judge = [[known.judge.get(pair, 0.5) for pair in group] for group in groups]
    differences = [[float(len(pair.ours) - len(pair.theirs)) for pair in group] for group in groups]
    lengths = [[float(len(pair.theirs)) for pair in group] for group in groups]
    probabilities = [one.probability * one.answered for one in wins]
    return {
        "length_controlled_win_rate": sampled_length_controlled_win_rate(
            judge if known.judge else None, labels, differences, lengths, probabilities
        ),
        "equal_length_win_rate": sampled_equal_length_win_rate(
            judge if known.judge else None, labels, differences, probabilities
        ),
    }


def _order(labelled: Sequence[Pair], own: Sequence[Pair]) -> list[int]:
    """The prompts of these pairs in the order in which their last pair was labelled."""
    ours = set(own)
    last = {pair.prompt_index: place for place, pair in enumerate(labelled) if pair in ours}
    return sorted(last, key=last.__getitem__)
