"""The losses of a reward model, against hand-worked numbers."""

import math
from itertools import permutations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.functional import logsigmoid

from rlhf.ops.ranking import (
    centering_loss,
    plackett_luce_loss,
    ranking_loss,
    soft_ranking_loss,
    tie_threshold_of,
)


def one(values, ranks, **keys):
    """The loss of a single prompt."""
    groups = torch.zeros(len(ranks), dtype=torch.long)
    return ranking_loss(torch.tensor(values), torch.tensor(ranks), groups, **keys).item()


def soft(values, preferred, groups=None):
    groups = torch.zeros(len(values), dtype=torch.long) if groups is None else groups
    return soft_ranking_loss(torch.tensor(values), torch.tensor(preferred), groups)


def test_pair_on_which_people_split_has_a_cross_entropy():
    """d = 1 and 70% for the first: 0.7 · 0.313262 + 0.3 · 1.313262 = 0.613262."""
    assert soft([1.0, 0.0], [[0.0, 0.7], [0.3, 0.0]]).item() == pytest.approx(0.613262, abs=1e-6)
    even = soft([0.0, 0.0], [[0.0, 0.5], [0.5, 0.0]]).item()
    assert even == pytest.approx(math.log(2))


def test_soft_loss_is_lowest_where_the_model_predicts_the_split():
    """σ(d) = 0.7 at d = log(7/3): no gradient. A hard label has one at every d."""
    scores = torch.tensor([math.log(7 / 3), 0.0], requires_grad=True)
    groups = torch.zeros(2, dtype=torch.long)
    soft_ranking_loss(scores, torch.tensor([[0.0, 0.7], [0.3, 0.0]]), groups).sum().backward()
    assert scores.grad.tolist() == pytest.approx([0.0, 0.0], abs=1e-7)


def test_soft_loss_is_the_mean_over_annotators():
    """Seven rank a > b > c and three b > a > c: the mean of ten losses, of value and gradient."""
    values, groups = [0.4, -0.2, 0.1], torch.zeros(3, dtype=torch.long)
    scores = [torch.tensor(values, requires_grad=True) for _ in range(2)]
    ranks = [[1, 2, 3]] * 7 + [[2, 1, 3]] * 3
    many = [ranking_loss(scores[0], torch.tensor(each), groups) for each in ranks]
    torch.stack(many).mean().backward()
    preferred = torch.tensor([[0.0, 0.7, 1.0], [0.3, 0.0, 1.0], [0.0, 0.0, 0.0]])
    loss = soft_ranking_loss(scores[1], preferred, groups)
    loss.sum().backward()
    torch.testing.assert_close(loss[0], torch.stack(many).mean())
    torch.testing.assert_close(scores[0].grad, scores[1].grad)


def test_soft_loss_of_a_ranking_without_a_pair_is_0():
    preferred = [[0.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, 0.0, 0.0]]
    losses = soft([5.0, 1.0, 0.0], preferred, torch.tensor([0, 1, 1]))
    assert losses.tolist() == pytest.approx([0.0, 0.313262], abs=1e-6)


def test_one_pair_is_bradley_terry():
    """-log σ(2 - 0.5) = log(1 + e^-1.5) = 0.201413."""
    assert one([2.0, 0.5], [1, 2]) == pytest.approx(0.201413, abs=1e-6)


def test_order_of_responses_does_not_matter():
    assert one([0.5, 2.0], [2, 1]) == pytest.approx(0.201413, abs=1e-6)


def test_loss_of_three_responses_is_mean_of_three_pairs():
    """d = 1, 3, 2: (0.313262 + 0.048587 + 0.126928) / 3 = 0.162926."""
    assert one([3.0, 2.0, 0.0], [1, 2, 3]) == pytest.approx(0.162926, abs=1e-6)


def test_ties_are_left_out():
    """Ranks 1, 2, 2: only d = 1 and d = 3 count: (0.313262 + 0.048587) / 2 = 0.180925."""
    assert one([3.0, 2.0, 0.0], [1, 2, 2]) == pytest.approx(0.180925, abs=1e-6)


def test_half_tie_is_a_pair_with_target_one_half():
    """d = 2: ½(0.126928 + 2.126928) = 1.126928; at d = 0 it is log 2, its minimum."""
    assert one([2.0, 0.0], [1, 1], ties="half") == pytest.approx(1.126928, abs=1e-6)
    assert one([1.0, 1.0], [1, 1], ties="half") == pytest.approx(math.log(2), abs=1e-6)


def test_only_ties_give_zero_loss_and_gradient():
    scores = torch.tensor([1.0, 2.0], requires_grad=True)
    loss = ranking_loss(scores, torch.tensor([1, 1]), torch.zeros(2, dtype=torch.long))
    loss.sum().backward()
    assert loss.item() == 0.0
    assert scores.grad.tolist() == [0.0, 0.0]


def test_number_of_responses_does_not_change_the_weight():
    """All scores 0: every pair is log 2, so both prompts are, whatever their number of pairs."""
    ranks = torch.tensor([1, 2, *range(1, 10)])
    groups = torch.tensor([0, 0, *([1] * 9)])
    loss = ranking_loss(torch.zeros(11), ranks, groups)
    torch.testing.assert_close(loss, torch.full((2,), math.log(2)))


def test_groups_do_not_mix():
    """Together as alone: pairs never cross from one prompt to another."""
    scores, ranks = (
        torch.randn(7, generator=torch.Generator().manual_seed(0)),
        [1, 2, 3, 2, 1, 1, 2],
    )
    groups = torch.tensor([0, 0, 0, 1, 1, 2, 2])
    together = ranking_loss(scores, torch.tensor(ranks), groups).tolist()
    alone = [one(scores[a:b].tolist(), ranks[a:b]) for a, b in ((0, 3), (3, 5), (5, 7))]
    assert together == pytest.approx(alone, abs=1e-6)


def test_gradient_of_a_pair():
    """d/ds_better = -σ(-d), d/ds_worse = +σ(-d); d = 0 gives ∓½."""
    scores = torch.zeros(2, requires_grad=True)
    ranking_loss(scores, torch.tensor([1, 2]), torch.zeros(2, dtype=torch.long)).sum().backward()
    assert scores.grad.tolist() == [-0.5, 0.5]


def test_large_difference_stays_finite():
    assert one([-1e4, 1e4], [1, 2]) == pytest.approx(2e4)


@given(st.lists(st.tuples(st.floats(-9, 9), st.integers(1, 4)), min_size=2, max_size=9))
def test_loss_equals_a_double_loop(responses):
    """The vectorised loss against the sum as one would write it down."""
    scores, ranks = [s for s, _ in responses], [r for _, r in responses]
    terms = [
        -logsigmoid(torch.tensor(scores[i] - scores[j])).item()
        for i in range(len(responses))
        for j in range(len(responses))
        if ranks[i] < ranks[j]
    ]
    expected = sum(terms) / len(terms) if terms else 0.0
    assert one(scores, ranks) == pytest.approx(expected, rel=1e-4, abs=1e-5)


def test_rao_kupper_pair_and_tie():
    """η = 0.5, d = 1: better -log σ(0.5) = 0.474077; tie -log(σ(1.5) - σ(0.5)) = 1.634166."""
    keys = {"ties": "rao_kupper", "tie_threshold": 0.5}
    assert one([1.0, 0.0], [1, 2], **keys) == pytest.approx(0.474077, abs=1e-5)
    assert one([1.0, 0.0], [1, 1], **keys) == pytest.approx(1.634166, abs=1e-5)
    assert one([0.0, 1.0], [1, 1], **keys) == pytest.approx(1.634166, abs=1e-5)


def test_rao_kupper_tie_is_one_pair_of_the_mean():
    """Ranks 1, 2, 2, scores 3, 2, 0, η = 0.5: -log σ(0.5), -log σ(2.5), -log(σ(2.5) - σ(1.5)):
    (0.474077 + 0.078890 + 2.238977) / 3 = 0.930648."""
    loss = one([3.0, 2.0, 0.0], [1, 2, 2], ties="rao_kupper", tie_threshold=0.5)
    assert loss == pytest.approx(0.930648, abs=1e-5)


@given(st.floats(-6, 6), st.floats(0.05, 3))
def test_probabilities_of_better_worse_and_tie_sum_to_one(d, threshold):
    """The three probabilities of Rao and Kupper add up to 1, whatever the scores."""
    keys = {"ties": "rao_kupper", "tie_threshold": threshold}
    losses = [one([d, 0.0], ranks, **keys) for ranks in ([1, 2], [2, 1], [1, 1])]
    assert sum(math.exp(-loss) for loss in losses) == pytest.approx(1.0, abs=1e-4)


def test_noisy_comparisons_tie_as_often_as_rao_kupper():
    """Gumbel noise makes differences logistic: d = 0.7, η = 0.6, 200,000 draws, ±0.004."""
    draw = torch.Generator().manual_seed(0)
    noise = -torch.log(-torch.log(torch.rand(2, 200_000, generator=draw, dtype=torch.double)))
    gap = 0.7 + noise[0] - noise[1]
    tied, better = float((gap.abs() < 0.6).double().mean()), float((gap >= 0.6).double().mean())
    keys = {"ties": "rao_kupper", "tie_threshold": 0.6}
    assert math.exp(-one([0.7, 0.0], [1, 1], **keys)) == pytest.approx(tied, abs=4e-3)
    assert math.exp(-one([0.7, 0.0], [1, 2], **keys)) == pytest.approx(better, abs=4e-3)


def test_tie_threshold_of_a_tie_rate():
    """tanh(η/2) = 0.2: η = log(1.2/0.8) = 0.405465, and equal scores then tie in 1 of 5."""
    threshold = tie_threshold_of(0.2)
    assert threshold == pytest.approx(0.405465, abs=1e-6)
    loss = one([1.0, 1.0], [1, 1], ties="rao_kupper", tie_threshold=threshold)
    assert math.exp(-loss) == pytest.approx(0.2, abs=1e-6)
    for rate in (0.0, 1.0):
        with pytest.raises(ValueError, match="no threshold"):
            tie_threshold_of(rate)


def test_margin_is_subtracted_from_the_difference():
    """d = 1.5, m = 0.5: log(1 + e^-1) = 0.313262; the other ranking keeps 0.201413."""
    loss = ranking_loss(
        torch.tensor([2.0, 0.5, 2.0, 0.5]),
        torch.tensor([1, 2, 1, 2]),
        torch.tensor([0, 0, 1, 1]),
        margins=torch.tensor([0.5, 0.0]),
    )
    assert loss.tolist() == pytest.approx([0.313262, 0.201413], abs=1e-6)


def test_label_smoothing():
    """d = 1.5, ε = 0.1: 0.9 * 0.201413 + 0.1 * 1.701413 = 0.351413; least at σ(d) = 0.9."""
    assert one([2.0, 0.5], [1, 2], label_smoothing=0.1) == pytest.approx(0.351413, abs=1e-6)
    scores = torch.tensor([math.log(9.0), 0.0], requires_grad=True)
    ids = torch.zeros(2, dtype=torch.long)
    ranking_loss(scores, torch.tensor([1, 2]), ids, label_smoothing=0.1).sum().backward()
    assert scores.grad.tolist() == pytest.approx([0.0, 0.0], abs=1e-6)


def choices(values, ranks):
    """The Plackett-Luce loss of a single prompt."""
    groups = torch.zeros(len(ranks), dtype=torch.long)
    return plackett_luce_loss(torch.tensor(values), torch.tensor(ranks), groups).item()


def test_plackett_luce_of_three():
    """Best of three: log(e³ + e² + 1) - 3 = 0.349012; of two: log(e² + 1) - 2 = 0.126928."""
    assert choices([3.0, 2.0, 0.0], [1, 2, 3]) == pytest.approx(0.237970, abs=1e-6)
    assert choices([0.0, 3.0, 2.0], [3, 1, 2]) == pytest.approx(0.237970, abs=1e-6)


def test_plackett_luce_of_tied_answers():
    """Ranks 1, 2, 2: one choice, 0.349012. Ranks 1, 1, 2: each against the last alone,
    (log(e³ + 1) - 3 + log(e² + 1) - 2) / 2 = (0.048587 + 0.126928) / 2 = 0.087758."""
    assert choices([3.0, 2.0, 0.0], [1, 2, 2]) == pytest.approx(0.349012, abs=1e-6)
    assert choices([3.0, 2.0, 0.0], [1, 1, 2]) == pytest.approx(0.087758, abs=1e-6)
    assert choices([3.0, 2.0], [1, 1]) == 0.0


def test_plackett_luce_of_a_pair_is_bradley_terry():
    assert choices([2.0, 0.5], [1, 2]) == pytest.approx(one([2.0, 0.5], [1, 2]))


@given(st.permutations([0, 1, 2, 3]), st.lists(st.floats(-5, 5), min_size=4, max_size=4))
def test_plackett_luce_is_a_distribution_over_orders(order, scores):
    """e^-(sum of the choices' losses), summed over all 24 orders of four responses, is 1."""
    total = sum(math.exp(-3 * choices(scores, [1 + i for i in p])) for p in permutations(order))
    assert total == pytest.approx(1.0, abs=1e-4)


def test_plackett_luce_gradient_is_finite_and_separate_by_group():
    scores = torch.tensor([50.0, -50.0, 0.0, 9.0], requires_grad=True)
    loss = plackett_luce_loss(scores, torch.tensor([2, 1, 1, 1]), torch.tensor([0, 0, 1, 1]))
    loss.sum().backward()
    assert loss.tolist() == pytest.approx([100.0, 0.0])
    assert scores.grad.tolist() == pytest.approx([1.0, -1.0, 0.0, 0.0])


def test_centering():
    """Two responses: (2 + 0.5)² = 6.25. Three: ((3+2)² + (3+0)² + (2+0)²) / 3 = 38/3."""
    losses = centering_loss(torch.tensor([2.0, 0.5, 3.0, 2.0, 0.0]), torch.tensor([0, 0, 1, 1, 1]))
    assert losses.tolist() == pytest.approx([6.25, 38 / 3])
