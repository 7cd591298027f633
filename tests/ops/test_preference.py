"""Losses of pairs and of thumbs by literal values, and the same as TRL's functions."""

import math
from types import SimpleNamespace

import torch
from torch.nn.functional import logsigmoid
from trl.experimental.cpo import CPOTrainer
from trl.experimental.orpo import ORPOTrainer

from rlhf.ops import (
    apo_down_pair_loss,
    apo_zero_pair_loss,
    hinge_pair_loss,
    ipo_pair_loss,
    kto_loss,
    odds_ratio_pair_loss,
    robust_pair_loss,
    sigmoid_pair_loss,
)

CPU = SimpleNamespace(device=torch.device("cpu"))


def close(value, expected):
    torch.testing.assert_close(value, torch.tensor(expected), rtol=1e-4, atol=1e-5)


def test_sigmoid_loss_of_three_pairs():
    """-log σ(0.1 d): log 2 at 0, log(1 + e^-1) at 10, log(1 + e^2) at -20."""
    close(sigmoid_pair_loss(torch.tensor([0.0, 10.0, -20.0]), beta=0.1), [0.6931, 0.3133, 2.1269])


def test_margin_moves_the_loss_by_its_size():
    """β d = 1 with a margin of 1 costs as much as 0 without."""
    loss = sigmoid_pair_loss(torch.tensor([10.0]), beta=0.1, margins=torch.tensor([1.0]))
    close(loss, [math.log(2)])


def test_conservative_loss_is_lowest_at_the_share_of_right_labels():
    """ε = 0.1: at β d = log 9, where σ = 0.9, the loss is the entropy 0.3251 and has slope 0."""
    d = torch.tensor([math.log(9) / 0.1], requires_grad=True)
    loss = sigmoid_pair_loss(d, beta=0.1, label_smoothing=0.1)
    loss.sum().backward()
    close(loss.detach(), [0.3251])
    close(d.grad, [0.0])


def test_robust_loss_on_flipped_labels_is_the_loss_on_true_ones():
    """A share ε = 0.2 of the labels is flipped: 0.8 l(d) + 0.2 l(-d) of the robust loss is l(d)."""
    d = torch.tensor([3.0, -7.0, 12.0])
    kept = robust_pair_loss(d, beta=0.1, label_smoothing=0.2)
    flipped = robust_pair_loss(-d, beta=0.1, label_smoothing=0.2)
    torch.testing.assert_close(0.8 * kept + 0.2 * flipped, -logsigmoid(0.1 * d))


def test_hinge_ends_at_its_margin():
    """β d = 0.5, 1 and 2 with β = 0.1; then the same with a margin of 1 on top."""
    d = torch.tensor([5.0, 10.0, 20.0])
    close(hinge_pair_loss(d, beta=0.1), [0.5, 0.0, 0.0])
    close(hinge_pair_loss(d, beta=0.1, margins=torch.ones(3)), [1.5, 1.0, 0.0])


def test_ipo_is_lowest_at_half_of_the_inverse_beta():
    close(ipo_pair_loss(torch.tensor([0.0, 5.0, 6.0]), beta=0.1), [25.0, 0.0, 1.0])


def test_anchored_losses_at_the_reference_and_beyond():
    """Log-ratios 0: ½ + ½. Chosen 10, rejected -10: σ(1) = 0.7311, σ(2) = 0.8808."""
    chosen, rejected = torch.tensor([0.0, 10.0]), torch.tensor([0.0, -10.0])
    close(apo_zero_pair_loss(chosen, rejected, beta=0.1), [1.0, 0.5379])
    close(apo_down_pair_loss(chosen, rejected, beta=0.1), [1.0, 0.8503])


def test_odds_ratio_of_two_means():
    """p = 0.5 and 0.2: odds 1 and 0.25, log ratio 1.3863, -log σ = log(1 + ¼) = 0.22314."""
    loss = odds_ratio_pair_loss(torch.tensor([0.5]).log(), torch.tensor([0.2]).log())
    close(loss, [0.22314])


def test_odds_of_certain_and_impossible_responses_are_finite():
    chosen = torch.tensor([0.0, -1e-9, -200.0], requires_grad=True)
    loss = odds_ratio_pair_loss(chosen, torch.tensor([-200.0, -1.0, 0.0]))
    loss.sum().backward()
    assert loss.isfinite().all()
    assert chosen.grad.isfinite().all()


def test_kto_of_four_thumbs():
    """β = 0.1, z0 = 5, log-ratios 15 and -5: σ(-1) = 0.2689, σ(1) = 0.7311; λ 1 and 2."""
    loss = kto_loss(
        torch.tensor([15.0, -5.0, 15.0, -5.0]), torch.tensor([True, True, False, False]), 5.0,
        beta=0.1, undesirable_weight=2.0,
    )  # fmt: skip
    close(loss, [0.26894, 0.73106, 1.46212, 0.53788])


def test_simpo_is_that_of_trl():
    trainer = SimpleNamespace(
        alpha=0.0, accelerator=CPU, loss_type="simpo", simpo_gamma=1.0, beta=2.0, label_smoothing=0
    )
    chosen, rejected = torch.tensor([-1.0, -2.0]), torch.tensor([-1.5, -1.0])
    theirs = CPOTrainer.cpo_loss(trainer, chosen, rejected)[0]
    ours = sigmoid_pair_loss(chosen - rejected, beta=2.0, margins=torch.ones(2))
    torch.testing.assert_close(ours, theirs)


def test_odds_ratio_is_that_of_trl():
    """TRL returns beta * log σ, which its trainer subtracts."""
    chosen, rejected = torch.tensor([-1.0, -0.01]), torch.tensor([-1.5, -3.0])
    trainer = SimpleNamespace(accelerator=CPU, beta=0.1)
    theirs = ORPOTrainer.odds_ratio_loss(trainer, chosen, rejected)[0]
    torch.testing.assert_close(0.1 * odds_ratio_pair_loss(chosen, rejected), -theirs)
