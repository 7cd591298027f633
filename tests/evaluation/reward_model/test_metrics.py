"""Metrics of scored rankings, computed by hand."""

import math
import random

import pytest

from rlhf.evaluation.reward_model.best_of_n import best_of_n, kl_bound, pick_probabilities
from rlhf.evaluation.reward_model.calibration import calibration_error, error_by_chance, reliability
from rlhf.evaluation.reward_model.gate import judge_reward_model
from rlhf.evaluation.reward_model.metrics import (
    accuracy,
    heads_agree,
    held_out_loss,
    human_agreement,
    length_correlation,
    reward_metrics,
    tie_rate,
)
from rlhf.evaluation.reward_model.scored_rankings import ScoredRanking
from rlhf.types import Ranking


def scored(scores, ranks, prompt="p", *, heads=None, lengths=None, texts=None, **more):
    count = len(scores)
    return ScoredRanking(
        ranking=Ranking(
            prompt=prompt,
            responses=texts or [f"response {i}" for i in range(count)],
            ranks=ranks,
            **more,
        ),
        scores=scores,
        heads=heads or [[score] for score in scores],
        lengths=lengths or [1] * count,
    )


def test_accuracy_leaves_ties_out_and_clusters_by_prompt():
    """Ranks 1, 2, 2 make two pairs; scores 3, 1, 4 order one of them; equal scores count half;
    equal prompts count once: (1 + 1 + ½) of 4 pairs over 2 prompts."""
    rows = [
        scored([3.0, 1.0, 4.0], [1, 2, 2]),
        scored([0.0, 1.0], [2, 1], "P!"),
        scored([2.0, 2.0], [1, 2], "q"),
    ]
    estimate = accuracy(rows)
    assert (estimate.value, estimate.n) == (pytest.approx(2.5 / 4), 2)
    assert accuracy(rows[:2]) is None  # a single prompt


def test_held_out_loss_is_a_mean_over_rankings():
    """Margins of ln 3 and -ln 3 cost log 4/3 and log 4; three equal scores cost log 2; a ranking
    that ties everything has no loss."""
    rows = [
        scored([math.log(3), 0.0], [1, 2], "a"),
        scored([math.log(3), 0.0], [2, 1], "b"),
        scored([1.0, 1.0, 1.0], [1, 2, 3], "c"),
        scored([5.0, 1.0], [1, 1], "d"),
    ]
    estimate = held_out_loss(rows)
    expected = (math.log(4 / 3) + math.log(4) + math.log(2)) / 3
    assert (estimate.value, estimate.n) == (pytest.approx(expected), 3)
    assert held_out_loss(rows[:1]) is None


def test_pairs_without_a_prompt_are_independent():
    """20 pairs without a prompt count as 20 prompts, not as one."""
    rows = [scored([1.0, 0.0], [1, 2], "", texts=[f"a{i}", f"b{i}"]) for i in range(20)]
    estimate = accuracy(rows)
    assert (estimate.n, estimate.value) == (20, 1.0)
    # Wilson's interval of 20 heads in 20 flips: 1 / (1 + 1.96² / 20).
    assert estimate.low == pytest.approx(0.8389, abs=1e-4)


def test_accuracy_by_rank_gap_strength_and_annotator():
    """Rank gaps of 1, 1 and 2 in three responses; strengths; annotators."""
    rows = [
        scored([3.0, 2.0, 1.0], [1, 2, 3], "p", annotator="Ann", strength=2.0),
        scored([3.0, 2.0, 1.0], [3, 2, 1], "q", annotator="Bob"),
        scored([3.0, 2.0, 1.0], [2, 1, 3], "r", annotator="Ann", strength=2.0),
        scored([3.0, 2.0, 1.0], [3, 2, 1], "s", annotator="Bob"),
    ]
    parts = {r.subset: r.value for r in reward_metrics(rows, "m") if r.metric == "accuracy"}
    assert parts[None] == pytest.approx(5 / 12)
    # Gap 1: both of p, none of q and s, of r 2-1 wrong, 2-3 right, and 1-3 right by 2 ranks.
    assert parts["gap of 1 rank"] == pytest.approx(3 / 8)
    assert parts["gap of 2 or 3 ranks"] == pytest.approx(2 / 4)
    assert parts["annotator Ann"] == parts["strength 2"] == pytest.approx(5 / 6)
    assert parts["annotator Bob"] == parts["strength 1"] == 0.0
    assert "gap of 4 ranks or more" not in parts


def test_many_strengths_form_three_groups():
    """Half of the rows have strength 1, the others 1.5, 2.5 … 11.5: twelve values in fours."""
    strengths = [1.0] * 11 + [number + 0.5 for number in range(1, 12)]
    rows = [scored([1.0, 0.0], [1, 2], f"p{i}", strength=s) for i, s in enumerate(strengths)]
    parts = [r for r in reward_metrics(rows, "m") if (r.subset or "").startswith("strength")]
    assert [(r.subset, r.n) for r in parts] == [
        ("strength 1 to 3.5", 14),
        ("strength 4.5 to 7.5", 4),
        ("strength 8.5 to 11.5", 4),
    ]


def test_human_agreement_is_over_shared_ordered_pairs():
    """p: Ann and Bob agree; q: they differ; r: only Ann, Bob has a tie. 1 of 2."""
    rows = [
        scored([0.0, 1.0], [1, 2], "p", annotator="Ann"),
        scored([0.0, 1.0], [1, 2], "p", annotator="Bob"),
        scored([0.0, 1.0], [1, 2], "q", annotator="Ann"),
        scored([0.0, 1.0], [2, 1], "q", annotator="Bob"),
        scored([0.0, 1.0], [1, 2], "r", annotator="Ann"),
        scored([0.0, 1.0], [1, 1], "r", annotator="Bob"),
    ]
    agreement = human_agreement(rows)
    assert (agreement.value, agreement.n) == (0.5, 2)
    parts = {r.subset: r.value for r in reward_metrics(rows, "m") if r.metric == "accuracy"}
    # The model orders 2, 1 everywhere: wrong twice on p, right for Bob on q.
    assert parts["pairs that several people ordered"] == pytest.approx(1 / 4)
    assert human_agreement(rows[:1] + rows[2:3]) is None


def test_many_annotators_of_one_pair_do_not_dominate_agreement():
    """p by four, 3 to 1: three people agree with 2 of 3 others, one with none: 2 of 4 cases.
    q and r by two who agree: 4 of 4. Together 6 of 8; by couples it would be (3 + 1 + 1) / 8."""
    crowd = zip("ABCD", ([1, 2], [1, 2], [1, 2], [2, 1]), strict=True)
    rows = [scored([0.0, 1.0], ranks, "p", annotator=name) for name, ranks in crowd]
    rows += [scored([0.0, 1.0], [1, 2], prompt, annotator=name) for prompt in "qr" for name in "AB"]
    assert human_agreement(rows).value == pytest.approx(6 / 8)


def test_repeated_label_of_one_annotator_is_not_agreement():
    rows = [scored([0.0, 1.0], [1, 2], p, annotator="Ann") for p in "ppqq"]
    assert human_agreement(rows) is None


def test_tie_rate_counts_pairs_of_different_texts():
    """1, 1, 2: one of three pairs; texts that differ in outer spaces only are no pair: 1 of 4."""
    rows = [
        scored([0.0, 1.0, 2.0], [1, 1, 2], "p"),
        scored([0.0, 0.0, 1.0], [1, 1, 1], "q", texts=["a", "a ", "a"]),
        scored([0.0, 1.0], [1, 2], "r"),
    ]
    assert tie_rate(rows).value == pytest.approx(1 / 4)


def test_length_correlation_is_within_prompts():
    """Scores rise with length within each prompt, though the longer prompt scores lower: r = 1."""
    rows = [
        scored([1.0, 2.0], [1, 2], "p", lengths=[10, 11]),
        scored([-5.0, -4.0], [1, 2], "q", lengths=[100, 101]),
        scored([0.0, 1.0], [1, 2], "r", lengths=[50, 51]),
    ]
    assert length_correlation(rows).value == pytest.approx(1.0)
    mixed = [*rows, scored([1.0, 0.0], [1, 2], "s", lengths=[3, 4])]
    # Σxy = 3·½ - ½ = 1, Σx² = Σy² = 2: r = ½.
    assert length_correlation(mixed).value == pytest.approx(0.5)
    assert length_correlation([scored([0.0, 1.0], [1, 2], p) for p in "pq"]) is None


def test_interval_of_a_length_correlation_stays_below_1():
    """Each prompt has x = (-½, ½) and y = (-c, c): Σxy = c, Σx² = ½, Σy² = 2c².

    c = 1, 1, 1, 3 give r = 6 / sqrt(2 * 24) = 0.8660. Without a 1: 5 / sqrt(1.5 * 22) = 0.8704;
    without the 3: 3 / sqrt(1.5 * 6) = 1, whose plain interval would reach above 1.
    """
    scores = [[0.0, 2.0], [0.0, 2.0], [0.0, 2.0], [0.0, 6.0]]
    rows = [scored(s, [2, 1], p, lengths=[1, 2]) for s, p in zip(scores, "pqrs", strict=True)]
    estimate = length_correlation(rows)
    assert estimate.value == pytest.approx(0.8660, abs=1e-4)
    assert -1 <= estimate.low < estimate.value < estimate.high <= 1
    # Student's t with three degrees of freedom: 3.1824 and 0.9785 of the interval's standard error.
    half = (estimate.high - estimate.low) / 2
    assert estimate.mde == pytest.approx(half * (3.1824 + 0.9785) / 3.1824, rel=1e-4)


def test_heads_agree_if_all_order_a_pair_alike():
    """Two pairs, three heads: 2, 1, 3 above 0 each; 1, -1, 1 against 0."""
    rows = [
        scored([2.0, 0.0], [1, 2], "p", heads=[[2.0, 1.0, 3.0], [0.0, 0.0, 0.0]]),
        scored([0.3, 0.0], [1, 2], "q", heads=[[1.0, -1.0, 1.0], [0.0, 0.0, 0.0]]),
    ]
    assert heads_agree(rows).value == 0.5
    assert heads_agree([scored([0.0, 1.0], [1, 2])]) is None


def test_calibration_of_two_bins():
    """d = log 3 (confidence 0.75), right in 1 of 2; d = log 9 (0.9), right in 2 of 2.

    ECE = ½ |0.5 - 0.75| + ½ |1 - 0.9| = 0.175.
    """
    far, near = math.log(9.0), math.log(3.0)
    rows = [
        scored([near + 1e-9, 0.0], [1, 2], "p"),
        scored([near + 1e-9, 0.0], [2, 1], "q"),
        scored([far + 1e-6, 0.0], [1, 2], "r"),
        scored([0.0, far + 1e-6], [2, 1], "s"),
    ]
    error = calibration_error(rows)
    assert error.value == pytest.approx(0.175, abs=1e-5)
    curve = reliability(rows)
    assert [(round(b.confidence, 4), b.accuracy, b.pairs) for b in curve] == [
        (0.75, 0.5, 2),
        (0.9, 1.0, 2),
    ]


def test_calibration_error_by_chance_of_two_pairs():
    """d = log 3 on two prompts: 0.25 where both or one are right (15/16), 0.75 where none is:
    mean 0.28125; 500 draws know it to ±0.022."""
    rows = [scored([math.log(3.0), 0.0], [2, 1], p) for p in "pq"]
    error = error_by_chance(rows)
    assert error.value == pytest.approx(0.28125, abs=0.022)
    assert (error.low, error.high, error.n) == (pytest.approx(0.25), pytest.approx(0.75), 2)
    assert error_by_chance(rows[:1]) is None


@pytest.mark.parametrize(("scale", "least", "most"), [(1.0, 0, 2), (4.0, 12, 20)])
def test_few_pairs_of_calibrated_scores_do_not_warn(scale, least, most):
    """40 pairs with orders drawn from their scores, 20 times: the bootstrap of the error is above
    0.1 in most. Scores that are 4 times too large do warn."""
    rng, count = random.Random(0), 0
    for _ in range(20):
        rows = []
        for number in range(40):
            score = rng.gauss(0, 1.5)
            first = rng.random() < 1 / (1 + math.exp(-score))
            rows.append(scored([scale * score, 0.0], [1, 2] if first else [2, 1], str(number)))
        gate = judge_reward_model(reward_metrics(rows, "m"))
        count += any("calibration error" in reason for reason in gate.reasons)
    assert least <= count <= most


def test_pick_probabilities_of_three_responses():
    """C(2,1)/C(3,2) = 2/3, C(1,1)/3 = 1/3, 0; of all three always the first."""
    assert pick_probabilities(3, 2) == pytest.approx([2 / 3, 1 / 3, 0.0])
    assert pick_probabilities(3, 3) == [1.0, 0.0, 0.0]
    assert pick_probabilities(3, 1) == pytest.approx([1 / 3] * 3)


def test_kl_bound_of_best_of_n():
    """0 for one; log 2 - 1/2 = 0.193147; log 8 - 7/8 = 1.204442."""
    assert [round(kl_bound(n), 6) for n in (1, 2, 8)] == [0.0, 0.193147, 1.204442]


def test_best_of_n_of_three_responses():
    """Scores 3, 2, 1 and annotators' shares below 1, 0, ½ (ranks 1, 3, 2), mean 1, std 2.

    N = 1: reward (2 - 1)/2 = 0.5, annotators ½. N = 2: (8/3 - 1)/2 = 0.8333, 2/3 * 1 + 1/3 * 0.
    N = 3: (3 - 1)/2 = 1, 1.
    """
    rows = [scored([3.0, 2.0, 1.0], [1, 3, 2], p) for p in "pq"]
    curve = best_of_n(rows, mean=1.0, std=2.0)
    assert [point.n for point in curve] == [1, 2, 3]
    assert [point.reward for point in curve] == pytest.approx([0.5, 5 / 6, 1.0])
    assert [point.people for point in curve] == pytest.approx([0.5, 2 / 3, 1.0])


def test_equal_scores_are_selected_equally_often():
    """The shares 1 and 0 of equal scores are averaged, whichever comes first."""
    rows = [scored([2.0, 2.0], ranks, p) for p, ranks in (("p", [1, 2]), ("q", [2, 1]))]
    assert best_of_n(rows, mean=0.0, std=1.0)[1].people == pytest.approx(0.5)


def test_no_rankings_give_no_metrics():
    assert reward_metrics([], "m") == []
    assert best_of_n([], mean=0.0, std=1.0) == []
    assert reliability([]) == []
