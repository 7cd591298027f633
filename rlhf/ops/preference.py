"""Losses of preference pairs: DPO and its relatives, one number per pair.

Log-probs are of whole responses: sums over their tokens, the end included, in nats. A *log-ratio*
is the log-prob under the policy minus that under the frozen reference; β times it is the response's
implicit reward. No function averages over pairs, and the caller weighs them. The gradient is that
of the policy's log-probs; those of the reference have none.
"""

import torch
from torch import Tensor
from torch.nn import functional as F


def sigmoid_pair_loss(
    difference: Tensor,
    *,
    beta: float,
    margins: Tensor | None = None,
    label_smoothing: float = 0.0,
) -> Tensor:
    """DPO: -log of the probability of the label, float [M].

        d = β difference
        loss = -(1 - ε) log σ(d - m) - ε log σ(-d - m)

    Rafailov et al. 2023 (https://arxiv.org/abs/2305.18290), eq. 7. The margin m is ODPO's offset
    (https://arxiv.org/abs/2402.10571); ε > 0 is conservative DPO, which assumes that a share
    ε of the labels is wrong (https://ericmitchell.ai/cdpo.pdf). Its minimum is at
    σ(d) = 1 - ε, not at infinity.

    Of differences of mean log-probs without a reference this is SimPO with γ = m
    (https://arxiv.org/abs/2405.14734, eq. 6).

    Args:
        difference: float [M], chosen log-ratio - rejected log-ratio.
        beta: inverse temperature.
        margins: float [M], m of each pair; None is 0.
        label_smoothing: ε, 0 to below ½.
    """
    scaled = beta * difference
    cut: Tensor | float = 0.0 if margins is None else margins
    # softplus(-x) is -log σ(x) without the overflow of log(1 + e^-x).
    loss = F.softplus(cut - scaled)
    if not label_smoothing:
        return loss
    return (1 - label_smoothing) * loss + label_smoothing * F.softplus(cut + scaled)


def robust_pair_loss(
    difference: Tensor,
    *,
    beta: float,
    margins: Tensor | None = None,
    label_smoothing: float,
) -> Tensor:
    """Robust DPO: an unbiased estimate of DPO's loss on the true labels, float [M].

        loss = ((1 - ε) l(d) - ε l(-d)) / (1 - 2 ε),   l(d) = -log σ(d - m)

    Chowdhury et al. 2024 (https://arxiv.org/abs/2403.00409): its mean over labels of which a
    share ε is flipped equals the loss on labels that are not. It can be negative.

    The arguments are those of `sigmoid_pair_loss`.
    """
    clean = sigmoid_pair_loss(difference, beta=beta, margins=margins)
    flipped = sigmoid_pair_loss(-difference, beta=beta, margins=margins)
    return ((1 - label_smoothing) * clean - label_smoothing * flipped) / (1 - 2 * label_smoothing)


def hinge_pair_loss(difference: Tensor, *, beta: float, margins: Tensor | None = None) -> Tensor:
    """max(0, 1 + m - β difference), float [M]: no gradient beyond a margin.

    SLiC (https://arxiv.org/abs/2305.10425) in the form of RSO
    (https://arxiv.org/abs/2309.06657).

    The arguments are those of `sigmoid_pair_loss`.
    """
    cut: Tensor | float = 1.0 if margins is None else 1.0 + margins
    return torch.relu(cut - beta * difference)


def ipo_pair_loss(mean_difference: Tensor, *, beta: float) -> Tensor:
    """(mean_difference - 1 / (2 β))², float [M]: pulls each pair to a margin of 1 / (2 β).

    Azar et al. 2023 (https://arxiv.org/abs/2310.12036, eq. 17), with β for their τ. Deviation, as
    in TRL: log-ratios are means over tokens, since the square of a sum would grow with length.

    Args:
        mean_difference: float [M], chosen - rejected log-ratio, each per token.
        beta: regularisation; a smaller one asks for a larger margin.
    """
    return (mean_difference - 1 / (2 * beta)) ** 2


def apo_zero_pair_loss(chosen: Tensor, rejected: Tensor, *, beta: float) -> Tensor:
    """1 - σ(β chosen) + σ(β rejected), float [M]: raises chosen and lowers rejected responses.

    Anchored preference optimization (https://arxiv.org/abs/2408.06266, eq. 7), for chosen responses
    that are better than the model's own.

    chosen, rejected: float [M], log-ratios.
    """
    return 1 - torch.sigmoid(beta * chosen) + torch.sigmoid(beta * rejected)


def apo_down_pair_loss(chosen: Tensor, rejected: Tensor, *, beta: float) -> Tensor:
    """σ(β chosen) + 1 - σ(β (chosen - rejected)), float [M]: lowers both, rejected ones more.

    Anchored preference optimization (https://arxiv.org/abs/2408.06266, eq. 8), for chosen responses
    that are worse than the model's own.

    chosen, rejected: float [M], log-ratios.
    """
    return torch.sigmoid(beta * chosen) + 1 - torch.sigmoid(beta * (chosen - rejected))


def odds_ratio_pair_loss(chosen_mean: Tensor, rejected_mean: Tensor) -> Tensor:
    """-log σ(log odds(chosen) - log odds(rejected)), float [M], without a reference.

        odds(p) = p / (1 - p),   log p = mean log-prob of the response's tokens

    ORPO (https://arxiv.org/abs/2403.07691, eq. 7), which adds it to the loss of SFT on the chosen
    response.

    chosen_mean, rejected_mean: float [M], log-probs per token, below 0.
    """
    ratio = chosen_mean - rejected_mean - (_log1mexp(chosen_mean) - _log1mexp(rejected_mean))
    return F.softplus(-ratio)


def kto_loss(
    logratios: Tensor,
    desirable: Tensor,
    kl: Tensor | float,
    *,
    beta: float,
    desirable_weight: float = 1.0,
    undesirable_weight: float = 1.0,
) -> Tensor:
    """Kahneman-Tversky optimization of single labelled responses, float [B].

        desirable:    λ_D (1 - σ(β (logratio - kl)))
        undesirable:  λ_U (1 - σ(β (kl - logratio)))

    Ethayarajh et al. 2024 (https://arxiv.org/abs/2402.01306), without their constant λ_y.

    Args:
        logratios: float [B].
        desirable: bool [B], thumbs up.
        kl: the reference point z0 >= 0, without a gradient: an estimate of KL(policy || reference)
            from responses to other prompts.
        beta: risk aversion, and inverse temperature.
        desirable_weight: λ_D.
        undesirable_weight: λ_U.
    """
    above = beta * (logratios - kl)
    # 1 - σ(x) is σ(-x).
    losses = torch.sigmoid(torch.where(desirable, -above, above))
    return losses * torch.where(desirable, desirable_weight, undesirable_weight)


def _log1mexp(log_p: Tensor) -> Tensor:
    """log(1 - p) of log p <= 0. The odds of a response of p > 1 - 1e-6 count as those of 1e6."""
    return torch.log(-torch.expm1(log_p.clamp(max=-1e-6)))
