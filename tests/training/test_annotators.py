"""Reliabilities from tables worked by hand, and from simulated careless and reversed people."""

import random

import numpy as np
import pytest

from rlhf.errors import ConfigError
from rlhf.training.annotators import (
    CHANCE,
    OPPOSITE,
    describe,
    estimate_reliabilities,
    factorize,
    read_reliabilities,
    weighted,
    write_reliabilities,
)
from rlhf.training.reward_rows import TokenRanking

CARE = {"Ann": 0.1, "Bob": 0.2, "Cem": 0.25, "Dot": 0.3}  # share of pairs each gets wrong


def pair(number, annotator, first_is_better):
    return TokenRanking(
        prompt=str(number),
        group=str(number),
        ids=[(1,), (2,)],
        ranks=[1, 2] if first_is_better else [2, 1],
        annotator=annotator,
    )


def people(errors, *, share=0.0, bad=0.5, overlap=2, count=800, seed=0):
    """Pairs with a right side, each labelled by `overlap` people; X takes `share` of the labels
    and is wrong in `bad` of them. Also a model's scores, right in 0.7 of the pairs."""
    draw, rows, scores = random.Random(seed), [], []
    for number in range(count):
        right, model = draw.random() < 0.5, draw.random() < 0.7
        for name in draw.sample(sorted(errors), overlap):
            careless = draw.random() < share
            wrong = bad if careless else errors[name]
            said = right ^ (draw.random() < wrong)
            rows.append(pair(number, "X" if careless else name, said))
            scores.append([1.0, 0.0] if right == model else [0.0, 1.0])
    return rows, scores


def by_name(found):
    return {one.annotator: one for one in found}


def test_factors_of_a_table_without_noise():
    """t = 0.9, 0.6, 0.3, -0.5: 2 P(agree) - 1 = t_a t_b gives them back."""
    t = np.array([0.9, 0.6, 0.3, -0.5])
    both = np.full((4, 4), 100.0) - np.diag([100.0] * 4)
    same = both * (1 + np.outer(t, t)) / 2
    assert factorize(same, both) == pytest.approx(t, abs=1e-3)


def test_reliabilities_are_found_from_agreement_alone():
    """An error rate e is t = 1 - 2e: 0.8, 0.6, 0.5, 0.4, each within its interval."""
    found = by_name(estimate_reliabilities(people(CARE, count=2000)[0], None))
    for name, wrong in CARE.items():
        one = found[name]
        assert one.low < 1 - 2 * wrong < one.high, name
        assert one.remark == ""
    rows = people(CARE, count=2000)[0]
    mean = sum(found[row.annotator].weight for row in rows) / len(rows)
    assert mean == pytest.approx(1.0)


@pytest.mark.parametrize("overlap", [1, 2])
@pytest.mark.parametrize("share", [0.05, 0.2])
@pytest.mark.parametrize("bad", [0.5, 0.9])
def test_a_careless_or_reversed_annotator_is_named_and_weighs_little(overlap, share, bad):
    """5% or 20% of the labels; alone with the model's voice, and with the others' beside it."""
    rows, scores = people(CARE, share=share, bad=bad, overlap=overlap, count=2400 // overlap)
    found = by_name(estimate_reliabilities(rows, scores))
    assert [name for name, one in found.items() if one.remark] == ["X"]
    assert found["X"].weight == 0.0
    assert found["X"].remark == (OPPOSITE if bad == 0.9 else CHANCE)
    said = describe(list(found.values()))
    assert said[0].startswith("annotator X")


def test_an_annotator_of_few_labels_is_taken_for_a_usual_one():
    """Two wrong labels do not make a weight of 0: the interval is wide, the mean is near."""
    rows, scores = people(CARE, overlap=1, count=400)
    rows += [pair(n, "New", not scores[n][0] > scores[n][1]) for n in range(2)]
    scores += scores[:2]
    new = by_name(estimate_reliabilities(rows, scores))["New"]
    assert new.weight > 0.1


def test_ties_and_equal_texts_are_no_votes():
    rows = [
        TokenRanking(prompt="p", group="p", ids=[(1,), (2,)], ranks=[1, 1], annotator="Ann"),
        TokenRanking(prompt="p", group="p", ids=[(1,), (1,)], ranks=[1, 2], annotator="Bob"),
    ]
    with pytest.raises(ConfigError, match="no pair of answers was ordered by two annotators"):
        estimate_reliabilities(rows, None)


def test_one_annotator_cannot_be_compared():
    with pytest.raises(ConfigError, match="there is 1"):
        estimate_reliabilities([pair(0, "", True)], None)


def test_reliabilities_survive_a_file_and_become_weights(tmp_path):
    rows, scores = people(CARE, count=100)
    found = estimate_reliabilities(rows, scores)
    write_reliabilities(tmp_path, found)
    assert read_reliabilities(tmp_path) == found
    assert read_reliabilities(tmp_path / "elsewhere") is None
    weights = {one.annotator: one.weight for one in found}
    assert [row.weights for row in weighted(rows, found)] == [
        (weights[row.annotator],) for row in rows
    ]
