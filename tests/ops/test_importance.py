"""Importance weights and the gap between two sets of log-probs, by literal values."""

import math

import pytest
import torch

from rlhf.ops.importance import importance_weights, logprob_gap

# p_train / p_sampler of two responses: 3/2, 1/2, 8; and 1/4, 4 with padding.
TRAIN = torch.tensor([[0.3, 0.1, 0.8], [0.1, 0.8, 1.0]]).log()
SAMPLER = torch.tensor([[0.2, 0.2, 0.1], [0.4, 0.2, float("nan")]]).log()
MASK = torch.tensor([[True, True, True], [True, True, False]])


def test_literal_importance_weights():
    """p_train / p_rollout = 3/2, 1/2, 8 capped at 2, and 1 on padding; no gradient."""
    train = torch.tensor([[0.3, 0.1, 0.8, 1.0]]).log().requires_grad_(True)
    rollout = torch.tensor([[0.2, 0.2, 0.1, float("nan")]]).log()
    mask = torch.tensor([[True, True, True, False]])
    weights = importance_weights(train, rollout, mask, cap=2.0)
    torch.testing.assert_close(weights, torch.tensor([[1.5, 0.5, 2.0, 1.0]]))
    assert not weights.requires_grad


def test_importance_weights_correct_the_mean():
    """Tokens drawn by [0.6, 0.4], weighed by [0.5, 0.5] / that: E[w f] = mean of f."""
    rollout, train = torch.tensor([0.6, 0.4]), torch.tensor([0.5, 0.5])
    weights = importance_weights(
        train.log()[None], rollout.log()[None], torch.ones(1, 2, dtype=torch.bool), cap=10.0
    )[0]
    f = torch.tensor([3.0, -1.0])
    assert (rollout * weights * f).sum().item() == pytest.approx(1.0, abs=1e-6)


def test_constant_advantage_moves_a_policy_away_from_its_sampler_without_weights():
    """Σ_a q(a) c ∇ log p(a) = c (q - p) in the logits of p: q = [0.6, 0.4], p = [0.5, 0.5].

    With weights it is 0: whatever the baseline of the advantages is, it costs no bias.
    """
    logits = torch.zeros(2, requires_grad=True)
    rollout, train = torch.tensor([0.6, 0.4]), logits.log_softmax(0)
    mask = torch.ones(1, 2, dtype=torch.bool)
    weights = importance_weights(train[None], rollout.log()[None], mask, cap=10.0)[0]
    for factor, expected in ((1.0, [-0.2, 0.2]), (weights, [0.0, 0.0])):
        (given,) = torch.autograd.grad(
            (rollout * factor * -2.0 * train).sum(), logits, retain_graph=True
        )
        torch.testing.assert_close(given, torch.tensor(expected), atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    ("shift", "keys", "expected"),
    [
        (0.0, {"cap": 100.0}, 0.43776),
        (0.0, {"cap": 2.0}, -0.23104),
        (0.0, {"cap": 2.0, "correction": "mask"}, -0.3648),
        # Less -2.576, their mean under the policy: the end token is better than the mean.
        (2.576, {"cap": 100.0}, 0.43776),
        (2.576, {"cap": 2.0}, 0.16051),
        (2.576, {"cap": 2.0, "correction": "mask"}, 0.10506),
    ],
)
def test_cut_weights_reverse_a_gradient_where_the_mean_advantage_is_low(shift, keys, expected):
    """The end token has advantage -2.0, the other one -4.4: the end token should get likelier.

    One update took the other token from 0.02 to 0.24, so ρ is 0.76 / 0.98 and 12. In the logit of
    the end token Σ_a q(a) w(a) A(a) ∇ log p(a) is

        0.76 * A_end * 0.24 - 0.02 * w_other * A_other * 0.76,    w_other = 12, 2 or 0.
    """
    logits = torch.tensor([0.76, 0.24]).log().requires_grad_(True)
    sampler, train = torch.tensor([0.98, 0.02]), logits.log_softmax(0)
    mask = torch.ones(1, 2, dtype=torch.bool)
    weights = importance_weights(train[None], sampler.log()[None], mask, **keys)[0]
    advantages = torch.tensor([-2.0, -4.4]) + shift
    (given,) = torch.autograd.grad((sampler * weights * advantages * train).sum(), logits)
    assert given[0].item() == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ({"cap": 2.0}, [[1.5, 0.5, 2.0], [0.25, 2.0, 1.0]]),
        ({"cap": 4.0, "correction": "mask"}, [[1.5, 0.5, 0.0], [0.25, 4.0, 1.0]]),
        ({"cap": 4.0, "correction": "mask", "floor": 0.5}, [[1.5, 0.5, 0.0], [0.0, 4.0, 1.0]]),
        # Whole responses: 3/2 * 1/2 * 8 = 6, and 1/4 * 4 = 1.
        ({"cap": 2.0, "level": "sequence"}, [[2.0, 2.0, 2.0], [1.0, 1.0, 1.0]]),
        (
            {"cap": 2.0, "level": "sequence", "correction": "mask"},
            [[0.0, 0.0, 0.0], [1.0, 1.0, 1.0]],
        ),
    ],
)
def test_weights_of_each_correction(keys, expected):
    torch.testing.assert_close(
        importance_weights(TRAIN, SAMPLER, MASK, **keys), torch.tensor(expected)
    )


def test_literal_gap():
    """Ratios 3/2, 1/2, 8, 1/4, 4: their mean 14.25 / 5; squares 2.25, 0.25, 64, 0.0625, 16."""
    gap = logprob_gap(TRAIN, SAMPLER, MASK)
    logs = [math.log(x) for x in (1.5, 2, 8, 4, 4)]
    assert gap.mean == pytest.approx(sum(logs) / 5)
    assert gap.largest == pytest.approx(math.log(8))
    assert gap.weight == pytest.approx(14.25 / 5)
    assert gap.largest_weight == pytest.approx(8)
    assert gap.effective == pytest.approx(14.25**2 / 5 / 82.5625)


def test_equal_logprobs_have_no_gap():
    gap = logprob_gap(TRAIN, TRAIN, MASK)
    assert (gap.mean, gap.largest, gap.weight, gap.largest_weight) == (0, 0, 1, 1)
    assert gap.effective == pytest.approx(1)
