"""Win rates from an LLM judge on all prompts and annotators on some of them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from rlhf.evaluation.core.metric_spec import MetricSpec
from rlhf.evaluation.core.results import Result, result_of
from rlhf.evaluation.core.study_config import HUMAN, HUMAN_LLM
from rlhf.evaluation.judges.human_sample import HumanSample
from rlhf.evaluation.judges.pairwise import Pair
from rlhf.evaluation.stats.bootstrap import Estimate
from rlhf.evaluation.stats.confidence_sequence import anytime_mean
from rlhf.evaluation.stats.prediction_powered import (
    FEWEST_LABELS,
    PredictionPowered,
    prediction_powered_mean,
)

ANYTIME = "win_rate_anytime"


@dataclass(frozen=True, kw_only=True)
class PromptWins:
    """A model's wins at one prompt: the judge's, the people's, and how the prompt was drawn."""

    prompt_index: int
    judge: float  # mean over the prompt's pairs; ½ without a judge
    people: float | None  # None until all its pairs are labelled
    asked: bool = True  # False: all its pairs have equal texts, which are ties
    probability: float = 1.0  # of being drawn
    answered: float = 1.0  # share of the drawn prompts that are labelled


def prompt_wins(
    pairs: Sequence[Pair],
    judge_wins: Mapping[Pair, float],
    outcomes: Mapping[Pair, float],
    sample: HumanSample,
) -> list[PromptWins]:
    """The wins at each prompt of one model's pairs.

    Drawn prompts without a label yet count as unlabelled; the labelled ones count as a random part
    of those that were drawn.

    Args:
        pairs: of one model with the baseline, at all prompts.
        judge_wins: the judge's win of each pair; empty without a judge.
        outcomes: the people's win of each labelled pair, and ½ for pairs of equal texts.
        sample: the probabilities of the drawn prompts.
    """
    by_prompt: dict[int, list[Pair]] = {}
    for pair in pairs:
        by_prompt.setdefault(pair.prompt_index, []).append(pair)
    wins = []
    for index, group in by_prompt.items():
        labels = [outcomes[pair] for pair in group if pair in outcomes]
        asked = any(pair.ours != pair.theirs for pair in group)
        wins.append(
            PromptWins(
                prompt_index=index,
                judge=sum(judge_wins.get(pair, 0.5) for pair in group) / len(group),
                people=sum(labels) / len(labels) if len(labels) == len(group) else None,
                asked=asked,
                probability=sample.probabilities.get(index, 1.0) if asked else 1.0,
            )
        )
    drawn = [
        one
        for one in wins
        if one.asked and (not sample.probabilities or one.prompt_index in sample.probabilities)
    ]
    answered = sum(one.people is not None for one in drawn) / max(len(drawn), 1)
    return [replace(one, answered=answered) if one.asked else one for one in wins]


def combined_results(
    wins: Sequence[PromptWins], model: str, spec: MetricSpec, *, with_judge: bool
) -> list[Result]:
    """Win rates of one model: by people with the judge, and by people alone.

    Nothing if fewer than three prompts are labelled. Both are also given without contaminated
    prompts.

    Args:
        wins: at each prompt.
        model: its name.
        spec: baseline and contaminated prompts.
        with_judge: whether there is a judge.
    """
    return with_clean(wins, spec, lambda some: _estimates(some, model, spec, with_judge))


def with_clean(
    wins: Sequence[PromptWins],
    spec: MetricSpec,
    results_of: Callable[[Sequence[PromptWins]], list[Result]],
) -> list[Result]:
    """The results of all prompts and, if some are contaminated and some not, of the clean ones."""
    results = results_of(wins)
    flags = spec.contaminated
    clean = [one for one in wins if flags and not flags[one.prompt_index]]
    if 0 < len(clean) < len(wins):
        results += [replace(result, with_contaminated=False) for result in results_of(clean)]
    return results


def powered(wins: Sequence[PromptWins]) -> PredictionPowered | None:
    """The estimate from these prompts; None if fewer than three are labelled."""
    if sum(one.people is not None for one in wins) < FEWEST_LABELS:
        return None
    return prediction_powered_mean(
        [one.judge for one in wins],
        [one.people for one in wins],
        [one.probability * one.answered for one in wins],
    )


def _estimates(
    wins: Sequence[PromptWins], model: str, spec: MetricSpec, with_judge: bool
) -> list[Result]:
    estimate = powered(wins)
    if estimate is None:
        return []
    return powered_results(estimate, "win_rate", model, spec, with_judge=with_judge)


def powered_results(
    estimate: PredictionPowered, metric: str, model: str, spec: MetricSpec, *, with_judge: bool
) -> list[Result]:
    """The estimate by people with the judge, if there is one, and by people alone."""
    people = replace(estimate.people, n=estimate.num_labelled)
    alone = result_of(people, metric, model, baseline=spec.baseline, judge=HUMAN)
    if not with_judge:
        return [alone]
    combined = result_of(estimate.combined, metric, model, baseline=spec.baseline, judge=HUMAN_LLM)
    return [combined, alone]


def anytime_results(
    wins: Sequence[PromptWins], order: Sequence[int], model: str, spec: MetricSpec
) -> list[Result]:
    """The win rate by people with an interval that holds at every look; empty without a label.

    Prompts were drawn in proportion to their probabilities π, so a win counts with v = (mean π of
    all prompts)/π, which has the mean 1 over the draws. A win times v over the largest v of the
    drawn prompts is between 0 and 1, as the confidence sequence needs. That scale is known before
    the first label: with the largest v of the labels so far, looks would not be of one sequence.
    Pairs of equal texts are known to be ties.

    Args:
        wins: at each prompt; drawn ones.
        order: indices of prompts, in the order in which their last pair was labelled.
        model: its name.
        spec: the baseline.
    """
    asked = {one.prompt_index: one for one in wins if one.asked}
    labelled = [asked[i] for i in order if i in asked and asked[i].people is not None]
    if not labelled:
        return []
    num_drawn = len(labelled) / labelled[0].answered
    lowest = min(one.probability for one in asked.values())
    most = num_drawn / len(asked) / lowest
    inner = anytime_mean([float(one.people or 0.0) * lowest / one.probability for one in labelled])
    share = len(asked) / len(wins)
    value, low, high = (
        (1 - share) * 0.5 + share * min(end * most, 1.0)
        for end in (inner.value, inner.low, inner.high)
    )
    estimate = Estimate(value=value, low=low, high=high, n=len(labelled))
    return [result_of(estimate, ANYTIME, model, baseline=spec.baseline, judge=HUMAN)]


def log_combined(results: Sequence[Result], log: Callable[[str], None], num_prompts: int) -> None:
    """A line for each model: by people with the judge, and by people alone."""
    for one in results:
        if one.metric == "win_rate" and one.judge == HUMAN_LLM and one.with_contaminated:
            alone = next(
                r for r in results if (r.model, r.judge, r.metric) == (one.model, HUMAN, one.metric)
            )
            log(
                f"{one.model} wins {one.value:.3f} [{one.low:.3f}, {one.high:.3f}] by annotators "
                f"and llm_judge on {num_prompts} prompts; by annotators alone {alone.value:.3f} "
                f"[{alone.low:.3f}, {alone.high:.3f}] on {alone.n}"
            )
