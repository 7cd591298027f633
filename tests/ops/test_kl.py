import math

import torch

from rlhf.ops.kl import estimate_kl, kl_k1, kl_k2, kl_k3

POLICY, REF = torch.tensor([0.6, 0.3, 0.1]), torch.tensor([0.3, 0.3, 0.4])
EXACT = 0.6 * math.log(2) + 0.1 * math.log(0.25)  # KL(policy || ref) = 0.2773 nats


def test_literal_values_of_one_token():
    """log-ratio ln 2: k1 = 0.6931, k2 = 0.6931²/2 = 0.2402, k3 = 1/2 - 1 + 0.6931 = 0.1931."""
    logprob, ref = torch.tensor(0.6).log(), torch.tensor(0.3).log()
    torch.testing.assert_close(kl_k1(logprob, ref).item(), 0.693147, atol=1e-6, rtol=0)
    torch.testing.assert_close(kl_k2(logprob, ref).item(), 0.240227, atol=1e-6, rtol=0)
    torch.testing.assert_close(kl_k3(logprob, ref).item(), 0.193147, atol=1e-6, rtol=0)


def test_mean_k1_is_kl_from_policy_to_ref():
    """Three tokens make the expectation exact; the other direction would give 0.3466."""
    mean = (POLICY * kl_k1(POLICY.log(), REF.log())).sum()
    torch.testing.assert_close(mean.item(), EXACT, atol=1e-6, rtol=0)


def test_mean_k3_is_kl_from_policy_to_ref():
    """A flipped ratio gives 0.2477."""
    mean = (POLICY * kl_k3(POLICY.log(), REF.log())).sum()
    torch.testing.assert_close(mean.item(), EXACT, atol=1e-6, rtol=0)


def test_k3_keeps_the_digits_of_a_small_ratio():
    """k3 of x = 1e-4 is x²/2 = 5e-9; exp(-x) - 1 + x in float32 gives 0."""
    k3 = kl_k3(torch.tensor(1e-4), torch.tensor(0.0)).item()
    assert 4e-9 < k3 < 1.2e-8


def test_estimate_by_name():
    a, b = torch.tensor([-1.0]), torch.tensor([-3.0])
    assert estimate_kl(a, b, estimator="k1").item() == 2.0
    assert estimate_kl(a, b, estimator="k2").item() == 2.0
    torch.testing.assert_close(estimate_kl(a, b, estimator="k3").item(), math.exp(-2) + 1)
