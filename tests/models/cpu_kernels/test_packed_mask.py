"""Grids of packed rows by literal numbers, and a packed model that equals its rows alone."""

import pytest
import torch

import rlhf.models.cpu_kernels.packed_mask as packed_mask_module
from rlhf.models.cpu_kernels import attention
from rlhf.models.cpu_kernels.attention import use_fast_cpu_attention
from rlhf.models.cpu_kernels.packed_mask import cells_of, packed_mask, row_starts
from rlhf.models.load import load_policy
from tests.tiny_models import make_model


def rows_mask(*lengths):
    return torch.block_diag(*(torch.ones(n, n).tril() for n in lengths)).bool()


def packed_of(*lengths):
    rows = torch.repeat_interleave(torch.arange(len(lengths)), torch.tensor(lengths))

    def same_row(batch, head, query, key):
        return (query >= key) & (rows[query] == rows[key])

    number = sum(lengths)
    return packed_mask(
        1, number, number, mask_function=same_row, allow_is_causal_skip=False, use_vmap=True
    )


def count_grids(monkeypatch):
    """The shapes of the grids that attention reads, as a list that grows."""
    shapes = []
    layout = attention._Layout

    def noted(cells):
        shapes.append(tuple(cells.shape))
        return layout(cells)

    monkeypatch.setattr(attention, "_Layout", noted)
    return shapes


def test_rows_start_where_a_token_attends_to_itself_alone():
    assert row_starts(rows_mask(3, 1, 2)).tolist() == [0, 3, 4]


@pytest.mark.parametrize(
    "change",
    [
        (2, 0, False),  # a window of two tokens
        (1, 2, True),  # a token sees the next one
        (4, 2, True),  # a row sees the end of another
        (0, 0, False),  # padding, which sees nothing
    ],
)
def test_other_masks_have_no_rows(change):
    row, column, value = change
    mask = rows_mask(3, 2)
    mask[row, column] = value
    assert row_starts(mask) is None


def test_grid_has_a_row_of_cells_for_each_packed_row():
    expected = [[0, 1, 2], [3, -1, -1], [4, 5, -1]]
    assert cells_of(torch.tensor([0, 3, 4]), 6).tolist() == expected


def test_grid_replaces_the_mask_only_where_it_takes_less_work():
    """Two rows of 3: 2 * 3² = 18 products instead of 6² = 36. A row of 5 and one of 1: 2 * 5² = 50.

    Three rows of one token: 3 instead of 9.
    """
    assert packed_of(3, 3).tolist() == [[[[0, 1, 2], [3, 4, 5]]]]
    assert packed_of(5, 1).shape == (1, 1, 6, 6)
    assert packed_of(1, 1, 1).tolist() == [[[[0], [1], [2]]]]


def test_rows_beyond_the_first_block_are_checked(monkeypatch):
    """Blocks of 2 tokens; the last row of 5 sees the one before it."""
    monkeypatch.setattr(packed_mask_module, "TOKENS_AT_ONCE", 2)
    mask = rows_mask(2, 1, 2)
    assert row_starts(mask).tolist() == [0, 2, 3]
    mask[4, 2] = True
    assert row_starts(mask) is None


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("checkpointing", [True, False])
def test_packed_rows_equal_rows_alone(tmp_path, monkeypatch, training, checkpointing):
    """Values and gradients of three rows behind one another, in float32, read as a grid."""
    model = load_policy(make_model(tmp_path / "llama"))
    use_fast_cpu_attention(model)
    model.train(training)
    if checkpointing:
        model.gradient_checkpointing_enable()
    grids = count_grids(monkeypatch)
    rows = [torch.randint(5, 200, (1, length)) for length in (4, 7, 5)]
    positions = torch.cat([torch.arange(row.shape[1]) for row in rows])[None]
    weight = model.model.layers[0].self_attn.k_proj.weight
    gradients = []
    with torch.set_grad_enabled(training):
        alone = torch.cat([model(row, use_cache=False).logits for row in rows], dim=1)
        packed = model(torch.cat(rows, dim=1), position_ids=positions, use_cache=False).logits
        for logits in (alone, packed) if training else ():
            gradients += torch.autograd.grad(logits.square().mean(), weight)
    assert (3, 7) in grids
    torch.testing.assert_close(packed, alone, rtol=1e-5, atol=1e-6)
    if training:
        torch.testing.assert_close(*gradients, rtol=1e-4, atol=1e-7)
