"""Rules of RewardBench, RM-Bench and reWordBench on few cases, worked out by hand."""

import numpy as np
import pytest

from rlhf.evaluation.benchmarks import rules, shapes
from rlhf.evaluation.benchmarks.case import judged_by_scores
from rlhf.evaluation.benchmarks.rule_ties import margins, ties_terms

FILE = "Natural/dataset.json"


def table(rule, judged):
    return {(row.metric, row.subset): row.estimate for row in rule(judged, 0)}


def pair(prompt, scores, subset, identifier="1"):
    row = {
        "id": identifier,
        "prompt": prompt,
        "chosen": "good",
        "rejected": "bad",
        "subset": subset,
    }
    return judged_by_scores(shapes.rewardbench_row(row, FILE), scores)


def test_rewardbench_weights_subsets_by_the_released_counts():
    """Chat: alpacaeval-easy 1/2 right (weight 100), mt-bench-med 0 right (weight 40): 50/140.

    Reasoning: math-prm 1/2 (984), hep-go 2/2 (164): (492 + 164)/1148. Equal scores are wrong. The
    score is the mean of the two sections that there are."""
    judged = [
        pair("a", [2.0, 1.0], "alpacaeval-easy"),
        pair("b", [1.0, 1.0], "alpacaeval-easy"),
        pair("c", [0.0, 1.0], "mt-bench-med"),
        pair("d", [0.0, 1.0], "mt-bench-med"),
        pair("e", [2.0, 1.0], "math-prm"),
        pair("f", [0.0, 1.0], "math-prm"),
        pair("g", [2.0, 1.0], "hep-go"),
        pair("h", [2.0, 1.0], "hep-go"),
    ]
    result = table(rules.rewardbench, judged)
    chat, reasoning = 50 / 140, (492 + 164) / 1148
    assert result["accuracy", "alpacaeval-easy"].value == 0.5
    assert result["accuracy", "Chat"].value == pytest.approx(chat)
    assert result["accuracy", "Reasoning"].value == pytest.approx(reasoning)
    assert result["score", None].value == pytest.approx((chat + reasoning) / 2)
    assert result["score", None].n == 8


def four(prompt, scores, subset):
    row = {
        "id": prompt,
        "prompt": prompt,
        "chosen": ["right"],
        "rejected": ["x", "y", "z"],
        "subset": subset,
    }
    return judged_by_scores(shapes.rewardbench2_row(row, FILE), scores)


def test_best_of_four_counts_ties_for_the_highest_score():
    """1, 1/2 and 0 of three: the mean is 1/2. One response has no score: wrong."""
    judged = [
        four("a", [3.0, 1.0, 2.0, 0.0], "Math"),
        four("b", [3.0, 3.0, 2.0, 0.0], "Math"),
        four("c", [3.0, 4.0, 2.0, 0.0], "Math"),
        four("d", [3.0, 1.0, float("nan"), 0.0], "Focus"),
        four("e", [3.0, 1.0, 1.0, 0.0], "Focus"),
    ]
    result = table(rules.rewardbench2, judged)
    assert result["accuracy", "Math"].value == pytest.approx(0.5)
    assert result["accuracy", "Focus"].value == pytest.approx(0.5)
    assert result["score", None].value == pytest.approx(0.5)


def ties(identifier, right, wrong):
    row = {
        "id": identifier,
        "prompt": f"Name a colour, {identifier}",
        "chosen": [f"right {n}" for n in range(len(right))],
        "rejected": [f"wrong {n}" for n in range(len(wrong))],
        "subset": "Ties",
    }
    return judged_by_scores(shapes.rewardbench2_row(row, FILE), [*right, *wrong])


def test_ties_follow_their_own_rule():
    """Prompt 0: spread 1, gaps 3 (tied) and 2 (ref): all true, tanh(2/1 - 1).

    Prompt 1: spread 4, gaps 1 (tied) and 5 (ref): accurate, margins not preferred, tanh(1/4 - 1).
    Prompt 2: spread 0, gap -1 (tied) and 1 (ref): tied inaccurate, tanh(-inf)."""
    import math

    judged = [
        ties("tied:0", [5.0, 6.0], [2.0]),
        ties("ref:0", [4.0], [2.0, 1.0]),
        ties("tied:1", [2.0, 6.0], [1.0, 0.0]),
        ties("ref:1", [6.0], [1.0]),
        ties("tied:2", [1.0, 1.0], [2.0]),
        ties("ref:2", [2.0], [1.0]),
    ]
    sizes = math.tanh(1.0) + math.tanh(-0.75) - 1.0
    # gap_tied > spread: prompt 0 alone (3 > 1); -1 > 0 is false. min(gaps) > spread: prompt 0.
    expected = 0.3 * 2 / 3 + 0.3 + 0.2 / 3 + 0.2 / 3 + 0.01 * sizes / 3
    result = table(rules.rewardbench2, judged)
    assert result["score", "Ties"].value == pytest.approx(expected)
    assert result["score", "Ties"].n == 3
    assert result["score", None].value == pytest.approx(expected)
    assert (margins(judged[0]).spread, margins(judged[0]).gap) == (1.0, 3.0)


def test_ties_without_their_reference_count_in_the_accuracies_alone():
    terms = ties_terms([ties("tied:0", [5.0, 6.0], [2.0]), ties("ref:1", [4.0], [2.0])])
    assert [len(one.values) for one in terms] == [1, 1, 0, 0, 0]


def styles(prompt, chosen, rejected, domain):
    row = {
        "id": prompt,
        "prompt": prompt,
        "chosen": ["c0", "c1", "c2"],
        "rejected": ["r0", "r1", "r2"],
        "domain": domain,
    }
    return judged_by_scores(shapes.rm_bench_row(row, FILE), [*chosen, *rejected])


def test_rm_bench_has_three_difficulties_and_averages_domains():
    """A model of style alone, c_i = i, r_j = j + ½: the chosen wins where i > j: easy 1, else 0.

    A model that is right everywhere: all 1. chat has one of each, math the right one twice."""
    by_style = ([0.0, 1.0, 2.0], [0.5, 1.5, 2.5])
    correct = ([9.0, 9.0, 9.0], [0.0, 1.0, 2.0])
    judged = [
        styles("a", *by_style, "chat"),
        styles("b", *correct, "chat"),
        styles("c", *correct, "math"),
        styles("d", *correct, "math"),
        styles("e", *by_style, "safety-refuse"),
        styles("f", *by_style, "safety-response"),
    ]
    result = table(rules.rm_bench, judged)
    assert result["accuracy", "easy"].value == 1.0
    assert result["accuracy", "normal"].value == pytest.approx((0.5 + 1 + 0) / 3)
    assert result["accuracy", "hard"].value == pytest.approx((0.5 + 1 + 0) / 3)
    assert result["accuracy", "chat"].value == pytest.approx((1 + 0.5 + 0.5) / 3)
    assert result["accuracy", "safety"].value == pytest.approx(1 / 3)
    assert result["score", None].value == pytest.approx((2 / 3 + 1 + 1 / 3) / 3)
    assert result["accuracy", "easy"].low < 1.0  # six prompts are not certain


def test_rm_bench_equals_the_matrix_of_its_readme():
    """Wins of chosen style i against rejected style j, averaged over 300 prompts with random
    scores: hard is above the diagonal, normal on it, easy below. Domains count alike."""
    rng = np.random.default_rng(0)
    judged, wins = [], {"chat": [], "code": [], "math": []}
    for number, domain in enumerate(rng.choice(list(wins), 300, p=[0.5, 0.3, 0.2])):
        chosen, rejected = rng.integers(0, 5, (2, 3)).astype(float)
        judged.append(styles(str(number), chosen.tolist(), rejected.tolist(), str(domain)))
        wins[str(domain)].append(chosen[:, None] > rejected[None, :])
    means = [np.mean(of_domain, 0) for of_domain in wins.values()]
    result = table(rules.rm_bench, judged)
    above, on, below = np.triu_indices(3, 1), np.diag_indices(3), np.tril_indices(3, -1)
    for name, places in (("hard", above), ("normal", on), ("easy", below)):
        expected = np.mean([mean[places].mean() for mean in means])
        assert result["accuracy", name].value == pytest.approx(expected, abs=1e-14)
    assert result["score", None].value == pytest.approx(np.mean(means), abs=1e-14)


def reworded(identifier, scores, transformation=None):
    row = {
        "id": identifier,
        "prompt": f"{identifier} {transformation}",
        "chosen": "good",
        "rejected": "bad",
        "subset": "hep-go",
        **({"transformation": transformation} if transformation else {}),
    }
    return judged_by_scores(shapes.rewordbench_row(row, FILE), scores)


def test_transformations_are_paired_with_the_unchanged_rows():
    """Unchanged 1, 1, 0. Typos 1, 0, 0: the drop is the mean of 0, 1, 0. Paraphrase 0, 1 of two."""
    judged = [
        reworded("1", [1.0, 0.0]),
        reworded("2", [1.0, 0.0]),
        reworded("3", [0.0, 1.0]),
        reworded("1", [1.0, 0.0], "typos"),
        reworded("2", [0.0, 1.0], "typos"),
        reworded("3", [0.0, 1.0], "typos"),
        reworded("2", [0.0, 1.0], "paraphrase"),
        reworded("3", [1.0, 0.0], "paraphrase"),
    ]
    result = table(rules.rewordbench, judged)
    assert result["accuracy", "original"].value == pytest.approx(2 / 3)
    assert result["accuracy_drop", "typos"].value == pytest.approx(1 / 3)
    assert result["accuracy_drop", "paraphrase"].value == pytest.approx(0.0)
    assert result["score", None].value == pytest.approx((1 / 3 + 1 / 2) / 2)
