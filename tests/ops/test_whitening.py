import math

import torch

from rlhf.ops.whitening import masked_variance, whiten

VALUES = torch.tensor([[1.0, 2.0], [3.0, 100.0]])
MASK = torch.tensor([[True, True], [True, False]])


def test_literal_whitening():
    """1, 2, 3: mean 2, variance (1 + 0 + 1) / 2 = 1, so -1, 0, 1; padding 0."""
    expected = torch.tensor([[-1.0, 0.0], [1.0, 0.0]])
    torch.testing.assert_close(whiten(VALUES, MASK), expected, atol=1e-6, rtol=0)


def test_variance_is_bessel_corrected():
    """(0.5² + 0.5²) / 1; the population variance would be 0.25."""
    values, mask = torch.tensor([1.0, 2.0]), torch.ones(2, dtype=torch.bool)
    assert masked_variance(values, mask).item() == 0.5


def test_without_shift_the_mean_is_kept():
    """(x - 2) / 1 + 2 leaves 1, 2, 3; twice them are divided by 2 around their mean 4."""
    torch.testing.assert_close(whiten(VALUES, MASK, shift_mean=False), VALUES * MASK)
    doubled = whiten(2 * VALUES, MASK, shift_mean=False)
    torch.testing.assert_close(doubled, torch.tensor([[3.0, 4.0], [5.0, 0.0]]))


def test_equal_values_give_zeros_not_nan():
    mask = torch.ones(3, dtype=torch.bool)
    assert whiten(torch.full((3,), 7.0), mask).tolist() == [0.0, 0.0, 0.0]


def test_rows_of_all_ranks_are_whitened_together():
    """Whitened apart, [0, 1] and [10, 11] would both become ±0.71."""
    both = torch.tensor([[0.0, 1.0], [10.0, 11.0]])
    whitened = whiten(both, torch.ones(2, 2, dtype=torch.bool))
    deviation = math.sqrt((5.5**2 + 4.5**2) * 2 / 3)
    torch.testing.assert_close(whitened, (both - 5.5) / deviation)
