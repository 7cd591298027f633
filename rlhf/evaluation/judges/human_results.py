"""All results of people on some prompts, alone and with a judge on all."""

from collections.abc import Mapping, Sequence

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
from rlhf.evaluation.stats.sampled_length import (
    FEWEST_LABELS,
    sampled_equal_length_win_rate,
    sampled_length_controlled_win_rate,
)


def sampled_results(
    pairs: Sequence[Pair],
    judge_wins: Mapping[Pair, float],
    outcomes: Mapping[Pair, float],
    labelled: Sequence[Pair],
    sample: HumanSample,
    spec: MetricSpec,
) -> list[Result]:
    """Every model's win rates by people with the judge, by people alone, and valid at every look.

    The last one only if the prompts were drawn: their order is random then.

    Args:
        pairs: all pairs of the models with the baseline.
        judge_wins: the judge's win of each pair; empty without a judge.
        outcomes: the people's win of each labelled pair, and ½ for pairs of equal texts.
        labelled: the pairs in the order of their first labels.
        sample: the drawn prompts.
        spec: models, baseline and contaminated prompts.
    """
    place = {pair: number for number, pair in enumerate(labelled)}
    results = []
    for model in spec.models:
        own = [pair for pair in pairs if (pair.model, pair.baseline) == (model, spec.baseline)]
        wins = prompt_wins(own, judge_wins, outcomes, sample)
        results += combined_results(wins, model, spec, with_judge=bool(judge_wins))
        results += length_results(own, judge_wins, outcomes, wins, model, spec)
        if sample.probabilities:
            last: dict[int, int] = {}
            for pair in own:
                if pair in place:
                    last[pair.prompt_index] = max(last.get(pair.prompt_index, 0), place[pair])
            results += anytime_results(wins, sorted(last, key=last.__getitem__), model, spec)
    return results


def length_results(
    pairs: Sequence[Pair],
    judge_wins: Mapping[Pair, float],
    outcomes: Mapping[Pair, float],
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
        judge_wins: the judge's win of each pair; empty without a judge.
        outcomes: the people's win of each labelled pair, and ½ for pairs of equal texts.
        wins: of these pairs by prompt, as `prompt_wins` returns them.
        model: its name.
        spec: baseline and contaminated prompts.
    """
    by_prompt: dict[int, list[Pair]] = {one.prompt_index: [] for one in wins}
    for pair in pairs:
        by_prompt[pair.prompt_index].append(pair)
    return with_clean(
        wins, spec, lambda some: _results(by_prompt, judge_wins, outcomes, some, model, spec)
    )


def _results(
    by_prompt: Mapping[int, Sequence[Pair]],
    judge_wins: Mapping[Pair, float],
    outcomes: Mapping[Pair, float],
    wins: Sequence[PromptWins],
    model: str,
    spec: MetricSpec,
) -> list[Result]:
    if sum(one.people is not None for one in wins) < FEWEST_LABELS:
        return []
    groups = [by_prompt[one.prompt_index] for one in wins]
    labels = [
        None if one.people is None else [outcomes[pair] for pair in group]
        for one, group in zip(wins, groups, strict=True)
    ]
    verdicts = [[judge_wins.get(pair, 0.5) for pair in group] for group in groups]
    differences = [[float(len(pair.ours) - len(pair.theirs)) for pair in group] for group in groups]
    lengths = [[float(len(pair.theirs)) for pair in group] for group in groups]
    probabilities = [one.probability * one.answered for one in wins]
    estimates = {
        "length_controlled_win_rate": sampled_length_controlled_win_rate(
            verdicts if judge_wins else None, labels, differences, lengths, probabilities
        ),
        "equal_length_win_rate": sampled_equal_length_win_rate(
            verdicts if judge_wins else None, labels, differences, probabilities
        ),
    }
    return [
        result
        for metric, estimate in estimates.items()
        for result in powered_results(estimate, metric, model, spec, with_judge=bool(judge_wins))
    ]
