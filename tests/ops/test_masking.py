import pytest
import torch

from rlhf.ops.masking import left_justified, length_mask, masked_mean


def test_mean_ignores_masked_nan():
    values = torch.tensor([[1.0, 2.0, float("nan")]])
    mask = torch.tensor([[True, True, False]])
    assert masked_mean(values, mask).item() == 1.5


def test_nan_on_padding_does_not_reach_the_gradient():
    values = torch.tensor([1.0, float("nan")], requires_grad=True)
    masked_mean(values, torch.tensor([True, False])).backward()
    assert values.grad.tolist() == [1.0, 0.0]


def test_mean_of_empty_mask_is_zero():
    assert masked_mean(torch.ones(2), torch.zeros(2, dtype=torch.bool)).item() == 0.0


def test_mask_of_other_shape_raises():
    with pytest.raises(ValueError, match="differ"):
        masked_mean(torch.ones(2, 3), torch.ones(2, dtype=torch.bool))


def test_length_mask():
    expected = [[True, False], [True, True]]
    assert length_mask(torch.tensor([1, 2]), 2).tolist() == expected


def test_left_justified_positions_predict_the_next_token():
    """Row 0: prompt 5 6, response 7 8: token 7 stands at place 2, predicted at 1."""
    ids, rows, columns = left_justified(
        torch.tensor([[0, 5, 6], [1, 2, 3]]),
        torch.tensor([[False, True, True], [True, True, True]]),
        torch.tensor([[7, 8], [9, 0]]),
        torch.tensor([[True, True], [True, False]]),
    )
    assert ids.tolist() == [[5, 6, 7, 8], [1, 2, 3, 9]]
    assert rows.tolist() == [0, 0, 1]
    assert columns.tolist() == [1, 2, 2]
