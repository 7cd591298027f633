"""Metrics and gate of verdicts and ratings, computed by hand."""

import math
import random

import pytest
import torch

from rlhf.evaluation.reward_model.calibration import calibration_error_of, reliability_of
from rlhf.evaluation.reward_model.probes import SHUFFLED
from rlhf.evaluation.reward_model.rated import (
    ScoredResponse,
    axis_metrics,
    correlation,
    error_by_chance,
    outcome_metrics,
    probability_bin,
    probability_cases,
    reward_rankings,
)
from rlhf.evaluation.reward_model.rated_gate import judge_axes, judge_verifier
from rlhf.evaluation.reward_model.rated_report import make_rated_report
from rlhf.models.axes import Axis
from rlhf.types import RatedResponse
from tests.evaluation.reward_model.test_gate import above, point, result


def scored(prompt, score, correct, *, length=1, text=None):
    """A response with a verdict; the score is the logit."""
    row = RatedResponse(
        prompt=prompt, completion=text or f"{score}", ratings={"correct": float(correct)}
    )
    return ScoredResponse(row=row, score=score, axes=[score], length=length)


def rated(prompt, outputs, ratings, text):
    row = RatedResponse(prompt=prompt, completion=text, ratings=ratings)
    return ScoredResponse(row=row, score=outputs[0] - outputs[1], axes=outputs, length=1)


def value(results, metric, axis=None, subset=None):
    [found] = [r for r in results if (r.metric, r.axis, r.subset) == (metric, axis, subset)]
    return found.value


LOG3 = math.log(3.0)  # P = 3/4


def test_metrics_of_verdicts():
    """P 3/4 for correct, correct, wrong, and 1/4 for wrong.

    AUC: correct above the wrong of 1/4 twice, equal to that of 3/4 twice: (2 + 2·½) / 4 = 3/4.
    Brier: (1/16 + 1/16 + 9/16 + 1/16) / 4 = 3/16; a constant of ½ has 1/4, the ratio is 3/4.
    At P >= ½ three of four are classified correctly.
    Calibration: three of 3/4 with 2/3 correct, one of 1/4 with none: (3·1/12 + 1/4) / 4 = 1/8.
    """
    rows = [
        scored("a", LOG3, True, length=4),
        scored("b", LOG3, True, length=1),
        scored("c", LOG3, False, length=2),
        scored("d", -LOG3, False, length=3),
    ]
    results = outcome_metrics(rows, "m")
    assert value(results, "auc") == 0.75
    assert value(results, "length_auc") == 0.5
    assert value(results, "brier") == pytest.approx(3 / 16)
    assert value(results, "brier_ratio") == pytest.approx(3 / 4)
    assert value(results, "accuracy_at_half") == 0.75
    assert value(results, "rate") == 0.5
    [auc] = [one for one in results if one.metric == "auc"]
    # Student's t with three degrees of freedom: 3.1824 and 0.9785 of the interval's standard error.
    half = (auc.high - auc.low) / 2
    assert auc.mde == pytest.approx(half * (3.1824 + 0.9785) / 3.1824, rel=1e-4)
    assert value(results, "ece") == pytest.approx(1 / 8)
    assert outcome_metrics(rows[:1], "m") == []


def test_correlation_detects_by_students_t():
    """Of four prompts, three degrees of freedom: 3.1824 and 0.9785."""
    estimate = correlation([("p", 0.0, 0.0), ("q", 1.0, 1.0), ("r", 2.0, 1.5), ("s", 3.0, 3.5)])
    half = (estimate.high - estimate.low) / 2
    assert estimate.mde == pytest.approx(half * (3.1824 + 0.9785) / 3.1824, rel=1e-4)


def test_reliability_has_a_bin_for_each_tenth():
    cases = probability_cases(
        [scored(str(i), math.log(p / (1 - p)), i % 2) for i, p in enumerate((0.12, 0.14, 0.97))]
        + [scored("x", 100.0, True)]
    )
    bins = reliability_of(cases, probability_bin)
    assert [one.pairs for one in bins] == [2, 2]
    assert bins[0].confidence == pytest.approx(0.13)
    assert (probability_bin(0.0), probability_bin(1.0)) == (0, 9)


def test_calibrated_labels_have_the_error_of_chance():
    """Labels drawn from the probabilities lie in the central 95% of such draws; opposite ones do
    not."""
    draw = random.Random(0)
    cases = []
    for number in range(400):
        probability = draw.random()
        cases.append((str(number), probability, float(draw.random() < probability)))
    chance = error_by_chance(cases)
    error = calibration_error_of(cases, probability_bin)
    assert chance.low <= error.value <= chance.high
    flipped = [(prompt, 1 - p, y) for prompt, p, y in cases]
    assert calibration_error_of(flipped, probability_bin).value > 2 * chance.high


def test_responses_to_one_prompt_form_a_ranking():
    """Two texts, one with the verdicts of two annotators: means ½ and 1. One text is no ranking."""
    rows = [
        scored("p", 1.0, True, text="a"),
        scored("P!", 1.0, False, text="a"),
        scored("p", 2.0, True, text="b"),
        scored("q", 0.0, True, text="c"),
    ]
    [ranking] = reward_rankings(rows, [Axis(name="correct")], is_outcome=True)
    assert ranking.ranking.responses == ["a", "b"]
    assert ranking.ranking.ranks == [2, 1]
    assert ranking.scores == [1.0, 2.0]


AXES = [
    Axis(name="helpful", weight=1.0, mean=2.0, std=2.0),
    Axis(name="brief", weight=-1.0, mean=1.0, std=1.0),
]


def axis_rows():
    """Outputs equal to the standardised helpfulness; the opposite of brevity."""
    rows = []
    for number in range(8):
        helpful, brief = float(number % 4), float(number % 3)
        outputs = [(helpful - 2) / 2, -(brief - 1)]
        ratings = {"helpful": helpful, "brief": brief}
        if number == 7:
            del ratings["brief"]
        rows.append(rated(f"p{number // 2}", outputs, ratings, f"text {number}"))
    return rows


def test_metrics_of_axes():
    """The first head is exact, the second reversed; errors are in units of the ratings."""
    results = axis_metrics(axis_rows(), AXES, "m")
    assert value(results, "axis_correlation", "helpful") == pytest.approx(1.0)
    assert value(results, "axis_correlation", "brief") == pytest.approx(-1.0)
    assert value(results, "axis_error", "helpful") == pytest.approx(0.0, abs=1e-9)
    # Predicted 1 - (brief - 1): off by 2, 0, 2, 2, 0, 2, 2 for brief 0, 1, 2, 0, 1, 2, 0.
    assert value(results, "axis_error", "brief") == pytest.approx(10 / 7)
    assert value(results, "axis_accuracy", "helpful") == 1.0
    assert value(results, "axis_accuracy", "brief") == 0.0
    [whole] = [r for r in results if (r.metric, r.axis) == ("correlation", None)]
    assert whole.n == 4


def test_correlation_is_that_of_numpy():
    """Pearson's r of six cases; the interval holds it and stays within [-1, 1]."""
    xs, ys = [0.0, 1.0, 2.0, 3.0, 4.0, 5.0], [0.1, 0.9, 2.2, 2.9, 4.1, 4.8]
    estimate = correlation(zip("abcdef", xs, ys, strict=True))
    both = torch.tensor([xs, ys])
    assert estimate.value == pytest.approx(float(torch.corrcoef(both)[0, 1]), abs=1e-5)
    assert -1 <= estimate.low < estimate.value < estimate.high <= 1
    assert correlation([("a", 1.0, 1.0), ("b", 1.0, 2.0)]) is None
    assert correlation([("a", 1.0, 1.0), ("a", 2.0, 2.0)]) is None


GOOD = [
    result("auc", 0.85), result("length_auc", 0.5), result("accuracy", 0.8),
    result("brier_ratio", 0.7), above(0.95),
]  # fmt: skip


def changed(base, *others):
    names = {(one.metric, one.axis) for one in others}
    return [one for one in base if (one.metric, one.axis) not in names] + list(others)


@pytest.mark.parametrize(
    ("others", "verdict", "reason"),
    [
        ([], "pass", None),
        ([result("auc", 0.53)], "fail", "chance"),
        ([result("auc", 0.2)], "fail", "reversed"),
        ([result("auc", 0.85, n=5)], "fail", "not conclusive"),
        ([result("auc", 0.58)], "warn", "below 0.6"),
        ([result("length_auc", 0.9)], "warn", "longer"),
        ([result("accuracy", 0.2)], "fail", "reversed"),
        ([result("accuracy", 0.52)], "warn", "chance"),
        ([result("brier_ratio", 0.98)], "warn", "constant"),
        ([result("ece", 0.3), result("ece_by_chance", 0.02)], "warn", "probabilities"),
        ([result("ece", 0.3), result("ece_by_chance", 0.3)], "pass", None),
        ([above(0.2)], "fail", SHUFFLED),
    ],
)
def test_gate_of_a_verifier(others, verdict, reason):
    gate = judge_verifier(changed(GOOD, *others))
    assert gate.verdict == verdict, gate.reasons
    assert reason is None or any(reason in each for each in gate.reasons)


def test_gate_of_a_verifier_without_pairs_and_with_leaks():
    without = [one for one in GOOD if one.metric != "accuracy"]
    assert "one prompt" in judge_verifier(without).reasons[0]
    assert judge_verifier([above(0.95)]).verdict == "fail"
    leaked = judge_verifier(GOOD, trained_on=3)
    assert (leaked.verdict, "3 held-out" in leaked.reasons[0]) == ("warn", True)
    falling = judge_verifier(GOOD, [point(1, 0.9), point(8, 0.5)])
    assert falling.verdict == "warn"


WEIGHTS = {"helpful": 1.0, "brief": -0.5, "kind": 0.0}
GOOD_AXES = [
    result("correlation", 0.6), result("accuracy", 0.8), above(0.95),
    result("axis_correlation", 0.6, axis="helpful"), result("axis_correlation", 0.5, axis="brief"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("others", "verdict", "reason"),
    [
        ([], "pass", None),
        ([result("correlation", 0.03)], "fail", "includes 0"),
        ([result("correlation", -0.4)], "fail", "reversed"),
        ([result("correlation", 0.2)], "warn", "below 0.3"),
        ([result("correlation", 0.6, n=20)], "warn", "fewer than 30"),
        ([result("correlation", 0.6, n=4)], "fail", "not conclusive"),
        ([result("axis_correlation", -0.4, axis="brief")], "fail", "brief"),
        ([result("axis_correlation", 0.02, axis="brief")], "warn", "brief"),
        ([result("axis_correlation", -0.4, axis="kind")], "pass", None),
        ([result("accuracy", 0.2)], "fail", "reversed"),
    ],
)
def test_gate_of_axes(others, verdict, reason):
    """An axis of weight 0 is not in the reward: it stops nothing."""
    gate = judge_axes(changed(GOOD_AXES, *others), WEIGHTS)
    assert gate.verdict == verdict, gate.reasons
    assert reason is None or any(reason in each for each in gate.reasons)


class Lengths:
    """Its logit is the number of words minus 3; counts the scored texts."""

    mean, std, chat, axes = 0.0, 1.0, None, [Axis(name="correct")]

    def score_axes(self, prompts, responses, tools=None):
        return torch.tensor([[len(text.split()) - 3.0] for text in responses])

    score_heads = score_axes


def test_report_of_a_verifier(monkeypatch):
    """Longer responses are correct: AUC 1, and the pairs and best of N of each prompt."""
    monkeypatch.setattr(
        "rlhf.evaluation.reward_model.rated_report.lengths_of",
        lambda model, texts: [len(text[1]) for text in texts],
    )
    rows = [
        RatedResponse(
            prompt=f"p{number}", completion=" ".join(["word"] * size), ratings={"correct": size > 3}
        )
        for number in range(10)
        for size in (1, 2, 5)
    ]
    report = make_rated_report(
        Lengths(), rows, [], is_outcome=True, name="m", num_demonstrations=1, seed=0
    )
    assert value(report.results, "auc") == 1.0
    assert value(report.results, "accuracy") == 1.0
    assert [one.n for one in report.best_of_n] == [1, 2, 3]
    assert report.reliability
    metrics = [one.metric for one in report.results]
    assert metrics.count("ece") == 1  # of probabilities, not of score differences
    assert report.gate.verdict == "warn"
