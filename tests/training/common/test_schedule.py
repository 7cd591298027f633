"""The prompts and the learning rate of each step."""

from dataclasses import replace

import pytest

from rlhf.training.common.schedule import batch_rows, num_steps, rate
from rlhf.training.reward.config import RewardModelConfig
from tests.errors import raises


def test_epochs_are_permutations_across_batches():
    """10 rows in batches of 4: rows 0-9 and 10-19 of the stream each hold every row once."""
    stream = [row for step in range(5) for row in batch_rows(step, 10, 4, seed=1)]
    assert sorted(stream[:10]) == list(range(10))
    assert sorted(stream[10:]) == list(range(10))
    assert stream[:10] != stream[10:]


def test_number_of_steps():
    """1.5 epochs of 10 prompts in fours: 15 / 4, rounded up, are 4 steps."""
    config = RewardModelConfig(num_train_epochs=1.5)
    assert num_steps(config, 10, 4) == 4
    assert num_steps(replace(config, max_steps=7), 10, 4) == 7


def test_learning_rate_warms_up_and_decays_to_zero():
    """Ten steps, two of them warm-up: 1/3, 2/3, then 8/8 … 1/8, and 0 after the last."""
    rates = [rate(step, total=10, warmup_ratio=0.2) for step in range(11)]
    expected = [1 / 3, 2 / 3, *(k / 8 for k in range(8, -1, -1))]
    assert rates == pytest.approx(expected)


def test_settings_out_of_range_are_rejected():
    with raises("bad-value", "eval_steps=0"):
        RewardModelConfig(eval_steps=0)
    with raises("bad-value", "warmup_ratio=1"):
        RewardModelConfig(warmup_ratio=1.0)
