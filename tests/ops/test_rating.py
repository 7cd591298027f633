"""Losses of verdicts and ratings, and expected verdicts, by literal values."""

import math

import pytest
import torch

from rlhf.ops import auc_with_interval, expected_verdict, outcome_loss, rating_loss
from rlhf.ops.accuracy import auc_with_freedom

NAN = math.nan


def test_outcome_loss_is_minus_the_log_probability_of_the_label():
    """σ(log 3) = 3/4: a correct response costs -log 3/4 = 0.2877, a wrong one -log 1/4 = 1.3863."""
    scores = torch.full((3,), math.log(3.0))
    losses = outcome_loss(scores, torch.tensor([1.0, 0.0, NAN]))
    torch.testing.assert_close(losses, torch.tensor([0.287682, 1.386294, 0.0]))


def test_outcome_loss_is_finite_for_large_logits():
    losses = outcome_loss(torch.tensor([200.0, -200.0]), torch.tensor([0.0, 1.0]))
    torch.testing.assert_close(losses, torch.tensor([200.0, 200.0]))


def test_gradient_of_outcome_loss_is_probability_minus_label():
    """σ(log 3) - 1 = -1/4 and 3/4 - 0; none without a label."""
    scores = torch.full((3,), math.log(3.0), requires_grad=True)
    outcome_loss(scores, torch.tensor([1.0, 0.0, NAN])).sum().backward()
    torch.testing.assert_close(scores.grad, torch.tensor([-0.25, 0.75, 0.0]))


def test_rating_loss_leaves_missing_ratings_out():
    """(1 - 3)² = 4 and (2 - 2.5)² = 0.25; gradients 2 (1 - 3) and 2 (2 - 2.5); no NaN."""
    scores = torch.tensor([[1.0, 2.0, 5.0]], requires_grad=True)
    losses = rating_loss(scores, torch.tensor([[3.0, 2.5, NAN]]))
    torch.testing.assert_close(losses, torch.tensor([[4.0, 0.25, 0.0]]))
    losses.sum().backward()
    torch.testing.assert_close(scores.grad, torch.tensor([[-4.0, -1.0, 0.0]]))


@pytest.mark.parametrize("loss", [outcome_loss, rating_loss])
def test_labels_of_another_shape_raise(loss):
    with pytest.raises(ValueError, match="differ"):
        loss(torch.zeros(2, 1), torch.zeros(2))


def test_expected_verdict_renormalises_over_the_verdicts():
    """Probabilities 0.4, 0.1, 0.5 of three tokens; verdicts are the first (1) and second (-1).

    (0.4 - 0.1) / (0.4 + 0.1) = 0.6 with mass 0.5.
    """
    logits = torch.tensor([[0.4, 0.1, 0.5]]).log()
    expected, mass = expected_verdict(logits, torch.tensor([0, 1]), torch.tensor([1.0, -1.0]))
    torch.testing.assert_close(expected, torch.tensor([0.6]))
    torch.testing.assert_close(mass, torch.tensor([0.5]))


def test_expected_verdict_keeps_its_precision_where_the_mass_is_tiny():
    """Both verdicts 200 nats below another token: e^-200 is 0 in float32, their odds are 3 to 1."""
    logits = torch.tensor([[0.0, -200.0, -200.0 - math.log(3.0)]])
    expected, mass = expected_verdict(logits, torch.tensor([1, 2]), torch.tensor([1.0, 0.0]))
    torch.testing.assert_close(expected, torch.tensor([0.75]))
    assert float(mass) == 0.0


def test_auc_and_its_interval():
    """Correct 3 and 1, wrong 2 and 0: three of four pairs are in order.

    Shares of right pairs: 1 and 1/2 of the correct ones, 1/2 and 1 of the wrong ones; each differs
    from 3/4 by 1/4, over 2 responses of its kind: variance 4/3 · 4 · (1/8)² = 1/12, as that of
    0.1875 / (1/12) = 2.25 coin flips. Wilson with t(3) = 3.182: [0.1036, 0.9873].
    """
    scores = torch.tensor([3.0, 1.0, 2.0, 0.0])
    correct = torch.tensor([True, True, False, False])
    auc, low, high = auc_with_interval(scores, correct, torch.arange(4))
    assert auc == 0.75
    assert (low, high) == (pytest.approx(0.1036, abs=1e-3), pytest.approx(0.9873, abs=1e-3))


def test_equal_scores_count_half_and_one_kind_has_no_auc():
    groups = torch.arange(4)
    correct = torch.tensor([True, True, False, False])
    assert auc_with_interval(torch.zeros(4), correct, groups)[0] == 0.5
    assert math.isnan(auc_with_interval(torch.zeros(4), torch.ones(4).bool(), groups)[0])
    assert auc_with_interval(torch.arange(4.0), correct, torch.zeros(4).long())[1:] == (0.0, 1.0)


def test_auc_has_a_degree_of_freedom_less_than_prompts_if_it_has_a_spread():
    """Of 1, 2, 3, 4 the correct ones are 2 and 4 (AUC 3/4), 3 and 4 (AUC 1, no spread)."""
    scores, prompts = torch.tensor([1.0, 2.0, 3.0, 4.0]), torch.tensor([0, 1, 2, 2])
    assert auc_with_freedom(scores, torch.tensor([False, True, False, True]), prompts)[3] == 2.0
    ordered = torch.tensor([False, False, True, True])
    assert auc_with_freedom(scores, ordered, prompts)[3] == math.inf
    one_prompt = torch.zeros(4).long()
    assert (
        auc_with_freedom(scores, torch.tensor([False, True, False, True]), one_prompt)[3]
        == math.inf
    )


def test_auc_interval_is_wider_if_responses_share_prompts():
    """The same 80 responses as 80 prompts, and as 10 prompts whose 8 responses err together."""
    draw = torch.Generator().manual_seed(0)
    prompts = torch.arange(10).repeat_interleave(8)
    correct = prompts % 2 == 0
    shift = torch.randn(10, generator=draw)[prompts]
    scores = correct.float() + shift + 0.1 * torch.randn(80, generator=draw)
    _, low, high = auc_with_interval(scores, correct, torch.arange(80))
    _, low_shared, high_shared = auc_with_interval(scores, correct, prompts)
    assert high_shared - low_shared > 1.5 * (high - low)


def test_auc_interval_covers_the_truth():
    """σ(x) labels of normal scores; 300 draws of 60 responses: at least 90 of 100 intervals."""
    draw = torch.Generator().manual_seed(1)
    truth_scores = torch.randn(200_000, generator=draw)
    labels = torch.rand(200_000, generator=draw) < truth_scores.sigmoid()
    truth, _, _ = auc_with_interval(truth_scores, labels, torch.arange(200_000))
    covered = 0
    for start in range(0, 300 * 60, 60):
        part = slice(start, start + 60)
        _, low, high = auc_with_interval(truth_scores[part], labels[part], torch.arange(60))
        covered += low <= truth <= high
    assert covered >= 270
