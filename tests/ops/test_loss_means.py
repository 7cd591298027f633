import pytest
import torch

from rlhf.ops.loss_means import loss_denominator, token_weights

MASK = torch.tensor([[True, True, True, True], [True, False, False, False], [False] * 4])
LOSSES = torch.tensor([[1.0, 2.0, 3.0, 6.0], [8.0, 0.0, 0.0, 0.0], [5.0] * 4])


@pytest.mark.parametrize(
    ("loss_type", "expected"),
    [
        ("token-mean", 20 / 5),  # 12 + 8, of five tokens
        ("sequence-mean", (12 / 4 + 8 / 1 + 0) / 3),  # the masked response counts with 0
        ("dr_grpo", 20 / (3 * 10)),
        ("dapo", 20 / 8),
    ],
)
def test_literal_means(loss_type, expected):
    """Responses of four tokens, one, and four that are masked."""
    denominator = loss_denominator(MASK, loss_type, max_length=10, tokens_per_minibatch=8.0)
    loss = (LOSSES * token_weights(MASK, loss_type)).sum() / denominator
    assert loss.item() == pytest.approx(expected, rel=1e-6)


def test_equal_lengths_make_three_means_equal():
    """With four responses of the longest length, in minibatches of as many tokens."""
    mask, losses = torch.ones(4, 3, dtype=torch.bool), torch.rand(4, 3)
    means = {
        float((losses * token_weights(mask, kind)).sum())
        / float(loss_denominator(mask, kind, max_length=3, tokens_per_minibatch=12.0))
        for kind in ("token-mean", "sequence-mean", "dr_grpo", "dapo")
    }
    assert max(means) == pytest.approx(min(means), rel=1e-6)


@pytest.mark.parametrize("loss_type", ["token-mean", "sequence-mean", "dr_grpo", "dapo"])
def test_minibatch_without_trained_tokens_has_loss_0(loss_type):
    mask = torch.zeros(2, 3, dtype=torch.bool)
    denominator = loss_denominator(mask, loss_type, max_length=3, tokens_per_minibatch=0.0)
    assert (token_weights(mask, loss_type).sum() / denominator).item() == 0.0
