"""How an LLM judge differs from people, on the pairs that both judged."""

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from rlhf.evaluation.core.metric_spec import MetricSpec
from rlhf.evaluation.core.results import Result, result_of
from rlhf.evaluation.core.study_config import StudyConfig
from rlhf.evaluation.judges.human_sample import HumanSample
from rlhf.evaluation.judges.pairwise import FIRST, SECOND, Pair, PairOutcome, Verdict
from rlhf.evaluation.judges.pairwise_metrics import LLM, names_of
from rlhf.evaluation.stats.bootstrap import ratio

_LIST_ITEM = re.compile(r"^\s*(?:[-*+•]|\d+[.)])\s+\S", re.MULTILINE)
_MARKDOWN = re.compile(r"^#{1,6}\s|\*\*[^*\n]+\*\*|```|^\s*\|.*\|\s*$|`[^`\n]+`", re.MULTILINE)

Case = tuple[int, float, float]
"""A prompt, a numerator and a denominator."""


def judge_biases(
    verdicts: Sequence[Verdict],
    outcomes: Sequence[PairOutcome],
    sample: HumanSample,
    spec: MetricSpec,
    own: Sequence[str] = (),
) -> list[Result]:
    """Agreement and biases of the judge for each model; those without a case are left out.

    - judge_agreement: 1 - |judge's win - people's win|; ½ if one of them calls a tie.
    - judge_bias_position: share of the judge's decisions for the response shown first, minus ½.
    - judge_bias_length, _lists, _markdown: how much more often than people the judge prefers the
      response that is longer, has more list items, has more markdown (headings, bold, code,
      tables), over the pairs that differ in it. 0.1 means 60% where people say 50%.
    - judge_bias_self: the same for the judge's own responses.

    These features go together (long responses have lists), and so do their biases. Each prompt
    counts with 1/its probability, so that the figures are those of all prompts.

    Args:
        verdicts: the judge's, in both orders.
        outcomes: the people's.
        sample: the probabilities of the drawn prompts.
        spec: models and baseline.
        own: names of the models that are the judge itself.
    """
    people = {one.pair: one.win for one in outcomes if one.pair.ours != one.pair.theirs}
    results = []
    for model in spec.models:
        both = [
            (verdict, people[verdict.pair])
            for verdict in verdicts
            if names_of(verdict.pair) == (model, spec.baseline) and verdict.pair in people
        ]
        for metric, cases in _metrics(both, own).items():
            weighted = [_weigh(case, sample) for case in cases]
            prompts = {prompt for prompt, _, counted in weighted if counted}
            if len(prompts) > 1:
                above, below = _by_prompt(weighted)
                estimate = ratio(above, below, **spec.bootstrap)
                results.append(
                    result_of(estimate, metric, model, baseline=spec.baseline, judge=LLM)
                )
    return results


def judge_models(study: StudyConfig, spec: MetricSpec) -> list[str]:
    """The models that are the judge itself: they have the name of its folder or of its model."""
    names = {study.llm_judge_model, Path(study.llm_judge or "").name} - {""}
    return [model for model in spec.models if model in names]


def num_list_items(text: str) -> int:
    """Lines that begin with a bullet or a number."""
    return len(_LIST_ITEM.findall(text))


def num_markdown_marks(text: str) -> int:
    """Headings, bold words, code and rows of tables."""
    return len(_MARKDOWN.findall(text))


def _metrics(
    both: Sequence[tuple[Verdict, float]], own: Sequence[str]
) -> dict[str, Sequence[Case]]:
    features: Mapping[str, Callable[[Pair], int]] = {
        "judge_bias_length": lambda pair: len(pair.ours) - len(pair.theirs),
        "judge_bias_lists": lambda pair: num_list_items(pair.ours) - num_list_items(pair.theirs),
        "judge_bias_markdown": lambda pair: (
            num_markdown_marks(pair.ours) - num_markdown_marks(pair.theirs)
        ),
        "judge_bias_self": lambda pair: (pair.model in own) - (pair.baseline in own),
    }
    return {
        "judge_agreement": [(v.pair.prompt_index, 1 - abs(v.win - win), 1.0) for v, win in both],
        "judge_bias_position": [case for v, _ in both for case in _position(v)],
        **{
            name: [_excess(verdict, win, feature(verdict.pair)) for verdict, win in both]
            for name, feature in features.items()
        },
    }


def _position(verdict: Verdict) -> list[Case]:
    """One case for each order in which the judge decided."""
    decided = [v for v in (verdict.ours_first, verdict.theirs_first) if v in (FIRST, SECOND)]
    return [(verdict.pair.prompt_index, float(v == FIRST) - 0.5, 1.0) for v in decided]


def _excess(verdict: Verdict, people: float, difference: int) -> Case:
    """The judge's win minus the people's, of the response that has more; no case if equal."""
    sign = (difference > 0) - (difference < 0)
    return verdict.pair.prompt_index, sign * (verdict.win - people), float(sign != 0)


def _weigh(case: Case, sample: HumanSample) -> Case:
    prompt, above, below = case
    weight = 1 / sample.probabilities.get(prompt, 1.0)
    return prompt, weight * above, weight * below


def _by_prompt(cases: Sequence[Case]) -> tuple[list[float], list[float]]:
    """Sums of numerators and denominators of each prompt."""
    above: dict[int, float] = {}
    below: dict[int, float] = {}
    for prompt, top, bottom in cases:
        above[prompt] = above.get(prompt, 0.0) + top
        below[prompt] = below.get(prompt, 0.0) + bottom
    return list(above.values()), list(below.values())
