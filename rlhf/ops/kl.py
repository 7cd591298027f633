"""Per-token estimators of KL(policy || reference).

With tokens sampled from the policy (http://joschu.net/blog/kl-approx.html, where r = q/p and
the sign of k1's logarithm follows from that): log-ratio = policy_logprobs - ref_logprobs.
All in nats per token; a sum over a response is nats per response.
"""

import torch
from torch import Tensor

from rlhf.types import KLEstimator as KLEstimator


def kl_k1(policy_logprobs: Tensor, ref_logprobs: Tensor) -> Tensor:
    """policy_logprobs - ref_logprobs. Unbiased, can be negative, high variance."""
    return policy_logprobs - ref_logprobs


def kl_k2(policy_logprobs: Tensor, ref_logprobs: Tensor) -> Tensor:
    """k1² / 2. Biased, low variance, never negative."""
    return (policy_logprobs - ref_logprobs) ** 2 / 2


def kl_k3(policy_logprobs: Tensor, ref_logprobs: Tensor) -> Tensor:
    """exp(-k1) - 1 + k1. Unbiased, never negative."""
    k1 = policy_logprobs - ref_logprobs
    return torch.expm1(-k1) + k1  # expm1: exp(x) - 1 loses every digit of a small x


def estimate_kl(policy_logprobs: Tensor, ref_logprobs: Tensor, *, estimator: KLEstimator) -> Tensor:
    """The per-token estimate by name; shape of the inputs."""
    if estimator == "k1":
        return kl_k1(policy_logprobs, ref_logprobs)
    if estimator == "k2":
        return kl_k2(policy_logprobs, ref_logprobs)
    return kl_k3(policy_logprobs, ref_logprobs)
