"""Reliabilities from tables worked by hand, and from simulated careless and reversed people."""

import random

import numpy as np
import pytest

from rlhf.training.reward.annotators import (
    ANNOTATORS,
    CHANCE,
    MODEL,
    OPPOSITE,
    agreement_tables,
    describe,
    estimate_reliabilities,
    factorize,
    read_reliabilities,
    weighted,
    write_reliabilities,
)
from rlhf.training.reward.data import TokenRanking
from tests.errors import raises

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
            first_is_better = right ^ (draw.random() < wrong)
            rows.append(pair(number, "X" if careless else name, first_is_better))
            scores.append([1.0, 0.0] if right == model else [0.0, 1.0])
    return rows, scores


def by_name(reliabilities):
    return {one.annotator: one for one in reliabilities}


def test_factors_of_a_noise_free_table():
    """t = 0.9, 0.6, 0.3, -0.5: 2 P(agree) - 1 = t_a t_b gives them back."""
    t = np.array([0.9, 0.6, 0.3, -0.5])
    both = np.full((4, 4), 100.0) - np.diag([100.0] * 4)
    same = both * (1 + np.outer(t, t)) / 2
    assert factorize(same, both) == pytest.approx(t, abs=1e-3)


def test_reliabilities_are_estimated_from_agreement():
    """An error rate e is t = 1 - 2e: 0.8, 0.6, 0.5, 0.4, each within its interval."""
    reliabilities = by_name(estimate_reliabilities(people(CARE, count=2000)[0], None))
    for name, wrong in CARE.items():
        one = reliabilities[name]
        assert one.low < 1 - 2 * wrong < one.high, name
        assert one.remark == ""
    rows = people(CARE, count=2000)[0]
    mean = sum(reliabilities[row.annotator].weight for row in rows) / len(rows)
    assert mean == pytest.approx(1.0)


@pytest.mark.parametrize("overlap", [1, 2])
@pytest.mark.parametrize("share", [0.05, 0.2])
@pytest.mark.parametrize("bad", [0.5, 0.9])
def test_careless_or_reversing_annotator_gets_low_weight(overlap, share, bad):
    """5% or 20% of the labels; alone with the model's voice, and with the others' beside it."""
    rows, scores = people(CARE, share=share, bad=bad, overlap=overlap, count=2400 // overlap)
    reliabilities = by_name(estimate_reliabilities(rows, scores))
    assert [name for name, one in reliabilities.items() if one.remark] == ["X"]
    assert reliabilities["X"].weight == 0.0
    assert reliabilities["X"].remark == (OPPOSITE if bad == 0.9 else CHANCE)
    lines = describe(list(reliabilities.values()))
    assert lines[0].startswith("annotator X")


def votes(*agreements):
    """Tables of (one voice, other voice, agreement 2p - 1) over 100 votes each; 4 voices."""
    both = np.zeros((4, 4))
    same = np.zeros((4, 4))
    for one, other, agreement in agreements:
        for a, b in ((one, other), (other, one)):
            both[a, b], same[a, b] = 100.0, 50 * (1 + agreement)
    return same, both


def test_annotator_contradicting_all_others_is_reversed():
    """C is compared with A and with B, nobody else with anybody: the votes are even, the people
    are 2 to 1, in whichever order they come. The products are the agreements."""
    for odd in (0, 1, 2):
        a, b = [voice for voice in (0, 1, 2) if voice != odd]
        t = factorize(*votes((a, odd, -0.6), (b, odd, -0.4)))
        assert t[odd] < 0 < min(t[a], t[b])
        assert [t[a] * t[odd], t[b] * t[odd]] == pytest.approx([-0.6, -0.4], abs=1e-3)
        assert t[3] == 0.0  # the model was not asked


def test_two_contradicting_annotators_cannot_be_told_apart():
    """Nothing says who is right. A model (the last voice) does."""
    assert factorize(*votes((0, 1, -0.8))).tolist() == [0.0] * 4
    rows = [pair(n, name, name == "Ann") for n in range(100) for name in ("Ann", "Bob")]
    with raises("bad-label", "annotator_weights"):
        estimate_reliabilities(rows, None)
    t = factorize(*votes((0, 1, -0.4), (0, 3, -0.2), (1, 3, 0.3)))
    assert t[0] < 0 < min(t[1], t[3])


def test_unconnected_sets_of_annotators_are_signed_separately():
    """A and B agree, C and the model do not: only the model's side of the latter is known."""
    t = factorize(*votes((0, 1, 0.5), (2, 3, -0.5)))
    assert t[2] < 0 < min(t[0], t[1], t[3])


def test_model_counts_once_per_prompt():
    """Three people on one pair: 3 votes between people, and one of each with the model."""
    rows = [pair(0, name, True) for name in "ABC"]
    _, both = agreement_tables(rows, [[1.0, 0.0]] * 3, ["A", "B", "C", MODEL])
    assert both.sum(0).tolist() == [[0, 1, 1, 1], [1, 0, 1, 1], [1, 1, 0, 1], [1, 1, 1, 0]]


def test_annotator_with_few_labels_is_shrunk_to_the_mean():
    """Two wrong labels do not make a weight of 0: the interval is wide, the mean is near."""
    rows, scores = people(CARE, overlap=1, count=400)
    rows += [pair(n, "New", not scores[n][0] > scores[n][1]) for n in range(2)]
    scores += scores[:2]
    new = by_name(estimate_reliabilities(rows, scores))["New"]
    assert new.weight > 0.1


def test_ties_and_equal_texts_are_not_votes():
    rows = [
        TokenRanking(prompt="p", group="p", ids=[(1,), (2,)], ranks=[1, 1], annotator="Ann"),
        TokenRanking(prompt="p", group="p", ids=[(1,), (1,)], ranks=[1, 2], annotator="Bob"),
    ]
    with raises("key-conflict", "annotator_weights=agreement"):
        estimate_reliabilities(rows, None)


def test_single_annotator_is_rejected():
    with raises("key-conflict", "annotator_weights", 1):
        estimate_reliabilities([pair(0, "", True)], None)


def test_reliabilities_are_read_from_file_as_weights(tmp_path):
    rows, scores = people(CARE, count=100)
    reliabilities = estimate_reliabilities(rows, scores)
    write_reliabilities(tmp_path, reliabilities)
    assert read_reliabilities(tmp_path) == reliabilities
    assert (tmp_path / ANNOTATORS).stat().st_mode & 0o777 == 0o600
    assert read_reliabilities(tmp_path / "elsewhere") is None
    weights = {one.annotator: one.weight for one in reliabilities}
    assert [row.weights for row in weighted(rows, reliabilities)] == [
        (weights[row.annotator],) for row in rows
    ]
