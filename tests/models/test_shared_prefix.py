"""Responses to one prompt: the prompt is read once, with the same scores."""

import pytest
import torch

from rlhf.models.load import new_reward_model
from rlhf.models.scorer import Scorer, head_scores
from rlhf.models.shared_prefix import can_share_prefixes, prefix_groups
from tests.rewards.test_backbones import FAMILIES
from tests.tiny_models import make_model

PROMPT, OTHER = [5, 6, 7, 8], [5, 6, 9]
ROWS = [[*PROMPT, 9], [*OTHER, 3], [*PROMPT, 7, 6, 5], [4], [*PROMPT, 9, 9], [*OTHER, 4, 4], [5]]


def test_groups_are_the_responses_to_a_prompt():
    """In alphabetical order: 4 | 5 | 5 6 7 8 with three ends | 5 6 9 with two. Rows of 7, 5 and 6
    tokens become 4 + 3 * 3, which saves 5; rows of 4 and 5 become 3 + 2 * 2, which saves 2."""
    groups = prefix_groups(ROWS, num_weights=500_000_000)
    assert groups == [([2, 0, 4], 4), ([1, 5], 3)]


def test_small_savings_make_no_group():
    """Rows of 4 tokens become 3 + 2 * 1: 3 tokens are saved, and 3 times 300 million weights are
    0.9e9."""
    assert prefix_groups([[5, 6, 7, 1], [5, 6, 7, 2]], num_weights=300_000_000) == []
    assert prefix_groups([[5, 6, 7, 1], [5, 6, 7, 2]], num_weights=400_000_000) == [([0, 1], 3)]


def test_rows_without_a_token_of_their_own_are_read():
    """A row that another begins with, and equal rows, keep their last token."""
    rows = [[5, 6, 7], [5, 6, 7], [5, 6, 7, 8]]
    assert prefix_groups(rows, num_weights=10**9) == [([0, 1, 2], 2)]


@pytest.mark.parametrize("family", FAMILIES)
def test_scores_equal_those_of_whole_rows(tmp_path, monkeypatch, family):
    model = new_reward_model(make_model(tmp_path / "base", family), seed=0)
    scorer, read = Scorer(model, bf16=False), []
    whole = head_scores(scorer, ROWS, 0)
    monkeypatch.setattr("rlhf.models.shared_prefix.WORTH_SHARING", 1)
    shared = head_scores(scorer, ROWS, 0, on_rows=read.append)
    torch.testing.assert_close(shared, whole, rtol=1e-5, atol=1e-5)
    assert sum(read) == len(ROWS)
    if can_share_prefixes(model):
        assert read[0] == 3 or read[0] == 4, read
