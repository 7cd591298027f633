"""Biases of an LLM judge, measured against annotators."""

import random

import numpy as np
import pytest

from rlhf.evaluation.core.study_config import StudyConfig
from rlhf.evaluation.judges.human_sample import HumanSample
from rlhf.evaluation.judges.judge_bias import (
    judge_biases,
    judge_models,
    num_list_items,
    num_markdown_marks,
)
from rlhf.evaluation.judges.pairwise import PairOutcome
from tests.evaluation.judges.two_models import pair_of, spec_of, verdict_of


@pytest.mark.slow
def test_intervals_of_biases_cover():
    """The judge sides with the longer response in 30% more of the pairs than people do."""
    sample, rng, covered = HumanSample(pairs=[], probabilities={}), random.Random(1), []
    for _ in range(200):
        results = judge_biases(*_biased_verdicts(rng, 80), sample, spec_of(80))
        [bias] = [one for one in results if one.metric == "judge_bias_length"]
        covered.append(bias.low <= 0.3 <= bias.high)
    assert 0.91 <= np.mean(covered) <= 0.985


def _biased_verdicts(rng, count=400):
    """People flip a coin; the judge sides with the longer response in 80% of the pairs."""
    verdicts, outcomes = [], []
    for i in range(count):
        longer = rng.random() < 0.5
        pair = pair_of(i, "- a\n- b and more" if longer else "c", "d, and two")
        win = float(longer) if rng.random() < 0.8 else float(not longer)
        verdicts.append(verdict_of(pair, win))
        outcomes.append(PairOutcome(pair=pair, win=float(rng.random() < 0.5)))
    return verdicts, outcomes


def test_biases_are_measured_against_people():
    """The judge prefers the longer response in 80% of pairs and people in 50%: 0.3 more often.

    Lists are in the longer responses alone, so their bias is the same; there is no markdown, and
    both orders agree, so the position decides nothing.
    """
    verdicts, outcomes = _biased_verdicts(random.Random(0))
    results = judge_biases(
        verdicts, outcomes, HumanSample(pairs=[], probabilities={}), spec_of(400), own=["ppo"]
    )
    values = {r.metric: r for r in results}
    assert values["judge_bias_length"].value == pytest.approx(0.3, abs=0.07)
    assert values["judge_bias_length"].low > 0
    assert values["judge_bias_lists"].value == pytest.approx(0.3, abs=0.1)
    assert values["judge_agreement"].value == pytest.approx(0.5, abs=0.07)
    assert values["judge_bias_position"].value == 0.0
    assert abs(values["judge_bias_self"].value) < 0.07
    assert "judge_bias_markdown" not in values


def test_rare_prompts_count_more():
    """A prompt drawn with 0.1 counts ten times as much as one drawn with 1: (10 · 1 + 0)/11."""
    pairs = [pair_of(0), pair_of(1)]
    verdicts = [verdict_of(pair, 1.0) for pair in pairs]
    outcomes = [PairOutcome(pair=pairs[0], win=1.0), PairOutcome(pair=pairs[1], win=0.0)]
    sample = HumanSample(pairs=pairs, probabilities={0: 0.1, 1: 1.0})
    [agreement] = [
        r for r in judge_biases(verdicts, outcomes, sample, spec_of(2))
        if r.metric == "judge_agreement"
    ]  # fmt: skip
    assert agreement.value == pytest.approx(10 / 11)


def test_text_features():
    assert num_list_items("Do:\n- one\n2. two\n  * three\n-not this\n3.5 is a number") == 3
    assert num_markdown_marks("# Title\n**bold** and `code`\n| a | b |\nplain * text") == 4


def test_judge_that_is_a_model_itself_is_found_by_its_name():
    study = StudyConfig(judge=["human+llm"], llm_judge="runs/ppo")
    assert judge_models(study, spec_of(1)) == ["ppo"]
