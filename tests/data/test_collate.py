"""Padding by hand: the mask comes from lengths, not from comparing with the pad id."""

import torch

from rlhf.data.collate import left_pad, right_pad

ROWS = [[5, 0], [7], [1, 2, 3]]  # the first row ends with the pad id itself


def test_left_pad_has_padding_before_each_row():
    ids, mask = left_pad(ROWS, 0)
    assert ids.tolist() == [[0, 5, 0], [0, 0, 7], [1, 2, 3]]
    assert mask.tolist() == [[False, True, True], [False, False, True], [True, True, True]]


def test_right_pad_has_padding_after_each_row():
    ids, mask = right_pad(ROWS, 0)
    assert ids.tolist() == [[5, 0, 0], [7, 0, 0], [1, 2, 3]]
    assert mask.tolist() == [[True, True, False], [True, False, False], [True, True, True]]
    assert (ids.dtype, mask.dtype) == (torch.long, torch.bool)


def test_no_rows_make_an_empty_batch():
    assert left_pad([], 0)[0].shape == right_pad([], 0)[0].shape == (0, 0)
