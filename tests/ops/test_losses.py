import math

import pytest
import torch

from rlhf.ops.losses import (
    cispo_loss,
    kl_loss,
    kl_weights,
    policy_loss,
    value_loss,
)

ONE = torch.ones(1, 1, dtype=torch.bool)


def loss_of(ratio: float, advantage: float, dual_clip: float | None = None) -> float:
    terms = policy_loss(
        torch.tensor([[math.log(ratio)]]),
        torch.zeros(1, 1),
        torch.tensor([[advantage]]),
        ONE,
        clip_range=0.2,
        dual_clip=dual_clip,
    )
    return terms.loss.item()


@pytest.mark.parametrize(
    ("ratio", "advantage", "expected"),
    [
        (1.0, 2.0, -2.0),  # -A ρ
        (1.5, 2.0, -2.4),  # clipped: -2 * 1.2
        (0.5, 2.0, -1.0),  # a worse ratio keeps its gradient: max(-1, -1.6)
        (0.5, -2.0, 1.6),  # clipped: 2 * 0.8
        (1.5, -2.0, 3.0),  # keeps its gradient: max(3, 2.4)
    ],
)
def test_literal_policy_loss(ratio, advantage, expected):
    assert loss_of(ratio, advantage) == pytest.approx(expected, abs=1e-6)


def test_dual_clip_bounds_the_loss_of_a_negative_advantage():
    """ρ = 10, A = -2 would cost 20; with c = 3 it costs 6, and A > 0 is as before."""
    assert loss_of(10.0, -2.0, dual_clip=3.0) == pytest.approx(6.0)
    assert loss_of(1.5, 2.0, dual_clip=3.0) == pytest.approx(-2.4)


@pytest.mark.parametrize(
    ("ratio", "advantage", "expected", "slope"),
    [
        (1.25, 2.0, -2.5, -2.5),  # above 1.2, below 1.3: not clipped
        (1.5, 2.0, -2.6, 0.0),  # clipped: -2 * 1.3
        (0.5, -2.0, 1.6, 0.0),  # below 1 the range is still 0.2
    ],
)
def test_clip_higher_moves_only_the_upper_bound(ratio, advantage, expected, slope):
    new = torch.tensor([[math.log(ratio)]], requires_grad=True)
    terms = policy_loss(
        new,
        torch.zeros(1, 1),
        torch.tensor([[advantage]]),
        ONE,
        clip_range=0.2,
        clip_range_high=0.3,
    )
    terms.loss.backward()
    assert terms.loss.item() == pytest.approx(expected, abs=1e-6)
    assert new.grad.item() == pytest.approx(slope, abs=1e-6)
    assert terms.clipped.item() == (slope == 0.0)


def test_literal_cispo_loss():
    """Log-ratios ln 2, ln 8, ln 1/2 of log-probs -1; the cap 5 counts; weights 2, 5, 1/2.

    loss = -Σ w A log p = 2 * 1 * 1 - 5 * 3 * 1 ... with A = 1, 3, -2: 2 + 15 - 1 = 16.
    """
    logprobs = -1 - torch.tensor([[2.0, 8.0, 0.5, 1.0]]).log()
    logprobs[0, 3] = float("nan")
    new = torch.tensor([[-1.0, -1.0, -1.0, float("nan")]], requires_grad=True)
    mask = torch.tensor([[True, True, True, False]])
    advantages = torch.tensor([[1.0, 3.0, -2.0, 1.0]])
    terms = cispo_loss(new, logprobs, advantages, mask, clip_range_high=4.0)
    terms.loss.backward()
    assert terms.loss.item() == pytest.approx(16.0, rel=1e-5)
    torch.testing.assert_close(new.grad, torch.tensor([[-2.0, -15.0, 1.0, 0.0]]))
    assert terms.clipped.item() == 1.0
    assert terms.ratio.item() == pytest.approx(10.5, rel=1e-5)


def test_sequence_level_ratio_is_the_geometric_mean():
    """Ratios 2 and 1/8 of two tokens: s = √(1/4) = 1/2, whatever padding holds. A = 1: -2 * 1/2.

    The gradient with respect to each log-prob is -A s, as that of 2 s: s/2 each, times 2.
    """
    new = torch.tensor([[math.log(2), -math.log(8), float("nan")]], requires_grad=True)
    mask = torch.tensor([[True, True, False]])
    terms = policy_loss(
        new,
        torch.zeros(1, 3),
        torch.ones(1, 3),
        mask,
        clip_range=0.2,
        importance_level="sequence",
    )
    terms.loss.backward()
    assert terms.loss.item() == pytest.approx(-1.0, abs=1e-6)
    assert terms.ratio.item() == pytest.approx(1.0, abs=1e-6)
    torch.testing.assert_close(new.grad, torch.tensor([[-0.5, -0.5, 0.0]]))


def test_sequence_level_ratio_clips_whole_responses():
    """s = 1/2 is clipped where A < 0, although one token's own ratio is 2."""
    new = torch.tensor([[math.log(2), -math.log(8)]], requires_grad=True)
    mask = torch.ones(1, 2, dtype=torch.bool)
    terms = policy_loss(
        new,
        torch.zeros(1, 2),
        -torch.ones(1, 2),
        mask,
        clip_range=0.2,
        importance_level="sequence",
    )
    terms.loss.backward()
    assert terms.clipped.item() == 2.0
    assert new.grad.tolist() == [[0.0, 0.0]]


def test_log_ratio_is_clamped():
    """exp(20) = 4.85e8, where exp(100) would be infinite."""
    assert loss_of(math.exp(100), -1.0) == pytest.approx(math.exp(20), rel=1e-5)


def test_policy_metrics_are_sums_over_response_tokens():
    """Ratios 1.5 (A > 0: clipped) and 1: k3 = 0.5 - ln 1.5 = 0.0945, padding counts nothing."""
    mask = torch.tensor([[True, True, False]])
    new = torch.tensor([[math.log(1.5), 0.0, float("nan")]], requires_grad=True)
    terms = policy_loss(new, torch.zeros(1, 3), torch.ones(1, 3), mask, clip_range=0.2)
    assert terms.ratio.item() == pytest.approx(2.5)
    assert terms.clipped.item() == 1.0
    assert terms.approx_kl.item() == pytest.approx(0.5 - math.log(1.5), abs=1e-6)
    assert terms.loss.item() == pytest.approx(-2.2)
    terms.loss.backward()
    assert new.grad.tolist() == [[0.0, -1.0, 0.0]]  # clipped, -A, padding


def test_gradient_at_ratio_one_is_the_policy_gradient():
    new = torch.zeros(1, 1, requires_grad=True)
    terms = policy_loss(new, torch.zeros(1, 1), torch.tensor([[3.0]]), ONE, clip_range=0.2)
    terms.loss.backward()
    assert new.grad.item() == -3.0


@pytest.mark.parametrize(
    ("value", "old", "target", "expected"),
    [
        (0.1, 0.0, 1.0, 0.405),  # inside the range: ½ 0.9²
        (0.5, 0.0, 1.0, 0.32),  # clipped to 0.2: ½ max(0.5², 0.8²)
        (-0.5, 0.0, 1.0, 1.125),  # worse than its clip: ½ max(1.5², 1.2²)
    ],
)
def test_literal_value_loss(value, old, target, expected):
    tensors = [torch.tensor([[x]]) for x in (value, old, target)]
    terms = value_loss(*tensors, ONE, value_clip_range=0.2)
    assert terms.loss.item() == pytest.approx(expected, abs=1e-6)


def test_value_loss_without_clip_is_half_the_squared_error():
    tensors = [torch.tensor([[x]]) for x in (0.5, 0.0, 1.0)]
    assert value_loss(*tensors, ONE, value_clip_range=None).loss.item() == 0.125


def test_value_loss_ignores_padding():
    mask = torch.tensor([[True, False]])
    new = torch.tensor([[0.0, float("nan")]], requires_grad=True)
    terms = value_loss(new, torch.zeros(1, 2), torch.ones(1, 2), mask, value_clip_range=0.2)
    terms.loss.backward()
    assert terms.loss.item() == 0.5
    assert new.grad.tolist() == [[-1.0, 0.0]]


def test_weights_scale_the_loss_but_not_the_metrics():
    """Ratios 1, advantages 1 and 2, weights 0.5 and 2: -(0.5 + 4); the ratios still sum to 2."""
    mask = torch.ones(1, 2, dtype=torch.bool)
    zeros = torch.zeros(1, 2)
    weights = torch.tensor([[0.5, 2.0]])
    terms = policy_loss(
        zeros, zeros, torch.tensor([[1.0, 2.0]]), mask, clip_range=0.2, weights=weights
    )
    assert terms.loss.item() == pytest.approx(-4.5)
    assert terms.ratio.item() == 2.0


def test_literal_kl_loss():
    """log-ratio ln 2: k2 = 0.2402, k3 = 1/2 - 1 + 0.6931 = 0.1931; gradients k1 = 0.6931, 1/2."""
    new = torch.tensor([[math.log(0.6), float("nan")]], requires_grad=True)
    ref, mask = torch.full((1, 2), math.log(0.3)), torch.tensor([[True, False]])
    for estimator, value, slope in (("k2", 0.240227, 0.693147), ("k3", 0.193147, 0.5)):
        new.grad = None
        loss = kl_loss(new, ref, mask, estimator=estimator)
        loss.backward()
        assert loss.item() == pytest.approx(value, abs=1e-6)
        assert new.grad[0].tolist() == pytest.approx([slope, 0.0], abs=1e-6)


def test_k2_loss_has_the_gradient_of_the_kl():
    """Over all three tokens, weighted by the policy: what autograd gives for the enumerated KL."""
    logits = torch.tensor([0.2, -0.5, 1.0], requires_grad=True)
    ref = torch.tensor([0.3, 0.3, 0.4]).log()
    logprobs = logits.log_softmax(-1)
    exact = torch.autograd.grad((logprobs.exp() * (logprobs - ref)).sum(), logits)[0]
    logprobs = logits.log_softmax(-1)
    each = [
        logprobs[i].exp().detach()
        * kl_loss(logprobs[i].view(1, 1), ref[i].view(1, 1), ONE, estimator="k2")
        for i in range(3)
    ]
    gradient = torch.autograd.grad(sum(each), logits)[0]
    torch.testing.assert_close(gradient, exact, atol=1e-6, rtol=0)


def test_weighted_k2_has_the_gradient_of_the_kl_on_tokens_of_another_policy():
    """All three tokens, weighted by the sampler that drew them; k3 and unweighted k2 are biased."""
    logits = torch.tensor([0.2, -0.5, 1.0], requires_grad=True)
    ref = torch.tensor([0.3, 0.3, 0.4]).log()
    sampler = torch.tensor([0.5, 0.3, 0.2])

    def gradient(estimator, weighted):
        new = logits.log_softmax(-1)
        total = torch.zeros(())
        for i in range(3):
            token, old = new[i].view(1, 1), sampler[i].log().view(1, 1)
            weights = kl_weights(token, old, ONE) if weighted else None
            loss = kl_loss(token, ref[i].view(1, 1), ONE, estimator=estimator, weights=weights)
            total = total + sampler[i] * loss
        return torch.autograd.grad(total, logits)[0]

    logprobs = logits.log_softmax(-1)
    exact = torch.autograd.grad((logprobs.exp() * (logprobs - ref)).sum(), logits)[0]
    torch.testing.assert_close(gradient("k2", weighted=True), exact, atol=1e-6, rtol=0)
    for estimator, weighted in (("k2", False), ("k3", True), ("k3", False)):
        assert (gradient(estimator, weighted) - exact).abs().max() > 0.02
