"""From one score per response to one reward per token."""

import torch
from torch import Tensor


def penalized_rewards(
    scores: Tensor, kl: Tensor, response_mask: Tensor, *, kl_coef: float
) -> Tensor:
    """Per-token rewards: -kl_coef * kl_t, plus the score on the last response token.

        r_t = -kl_coef * kl_t + [t = n - 1] * score      (Ziegler et al. 2019, eq. 2)

    The last token is the EOS, if any, never the position after it.

    scores: float [B]; kl: float [B, R]; response_mask: bool [B, R], at least one True a row, False
    also on tokens that the model did not write. Returns float [B, R], 0 where the mask is False.
    Nothing here is differentiated.
    """
    from_here_on = response_mask.flip(1).cumsum(1).flip(1)
    last = response_mask & (from_here_on == 1)
    rewards = torch.where(response_mask, -kl_coef * kl, 0.0)
    return rewards + torch.where(last, scores[:, None], 0.0)


def apply_missing_eos(
    scores: Tensor,
    ended_with_eos: Tensor,
    *,
    missing_eos_penalty: float | None,
    missing_eos_score: float | None,
) -> Tensor:
    """Scores [B] in which a response without EOS loses the penalty, or gets the fixed score.

    At most one of the two is set. The decoding loop records whether a response ended, with any of
    its stop ids; comparing ids with the pad id would fail if the pad id is the EOS.
    """
    if missing_eos_score is not None:
        return torch.where(ended_with_eos, scores, missing_eos_score)
    if missing_eos_penalty is not None:
        return torch.where(ended_with_eos, scores, scores - missing_eos_penalty)
    return scores


def overlong_penalty(lengths: Tensor, *, max_length: int, buffer: int) -> Tensor:
    """A penalty of long responses, float [B], from 0 to -1 (DAPO: arXiv 2503.14476, eq. 13).

        0                                     where length <= max_length - buffer
        (max_length - buffer - length) / buffer      above

    The paper gives -1 to longer responses than `max_length`; here none is longer.

    lengths: long [B], response tokens; max_length: the longest response; buffer: the tokens before
    it in which the penalty grows.
    """
    return ((max_length - buffer - lengths) / buffer).clamp(max=0.0)


def normalized_sum(values: Tensor, weights: Tensor) -> Tensor:
    """The weighted sum of sources that are standardised over the batch, float [B].

        Σ_s w_s (x_s - μ_s) / σ_s        μ_s, σ_s over the B responses

    Sources on different scales then count by their weights alone, and sums of different parts that
    would be equal stay apart (GDPO, arXiv 2601.05242, sec. 3). The paper standardises each source
    within the responses to a prompt and the sum over the batch; here it is the batch for both,
    which also works for one response to a prompt. A source that is the same for all counts 0.

    values: float [S, B], of all ranks; weights: float [S]. σ² is over B, not B - 1.
    """
    exact = values.double()
    centred = exact - exact.mean(dim=1, keepdim=True)
    std = centred.square().mean(dim=1, keepdim=True).sqrt()
    # Rounding of a mean leaves equal values about 1e-16 apart from it, relative to their size.
    varies = std > 1e-9 * exact.abs().amax(dim=1, keepdim=True)
    standardised = torch.where(varies, centred / torch.where(varies, std, 1.0), 0.0)
    return (weights.double()[:, None] * standardised).sum(dim=0).to(values.dtype)
