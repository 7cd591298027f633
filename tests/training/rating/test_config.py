"""Keys of the objective of a reward model: which belong together."""

import pytest

from rlhf.training.reward.config import RewardModelConfig
from rlhf.training.reward.trainer import RewardTrainer
from tests.errors import raises
from tests.training.tiny_runs import rankings


def test_weights_may_be_a_mapping():
    config = RewardModelConfig(objective="axes", axis_weights={"helpful": 1, "brief": -0.5})
    assert config.weight_of_axis == {"helpful": 1.0, "brief": -0.5}
    assert RewardModelConfig().weight_of_axis == {}


@pytest.mark.parametrize(
    ("keys", "code", "name"),
    [
        ({"objective": "axes"}, "missing-key", "axis_weights"),
        ({"axis_weights": '{"a": 1}'}, "key-conflict", "axis_weights"),
        ({"objective": "outcome", "axis_weights": '{"a": 1}'}, "key-conflict", "axis_weights"),
        ({"objective": "axes", "axis_weights": "a=1"}, "bad-value", "a=1"),
        ({"objective": "axes", "axis_weights": "{}"}, "bad-value", "axis_weights"),
        ({"objective": "axes", "axis_weights": '{"a": 0}'}, "bad-value", "axis_weights"),
        ({"objective": "axes", "axis_weights": '{"a": true}'}, "bad-value", "'a'"),
        ({"objective": "axes", "axis_weights": '{"a": NaN}'}, "bad-value", "nan"),
        ({"objective": "pairs"}, "bad-value", "objective"),
    ],
)
def test_weights_that_cannot_be_used_raise(keys, code, name):
    with raises(code, name):
        RewardModelConfig(**keys)


@pytest.mark.parametrize(
    "keys",
    [
        {"num_heads": 2},
        {"loss_type": "plackett_luce"},
        {"ties": "half"},
        {"margin_coef": 0.1},
        {"label_smoothing": 0.1},
        {"center_rewards_coefficient": 0.01},
        {"annotator_weights": "agreement"},
        {"score_columns": "ignore"},
        {"weight_column": "w"},
        {"probability_column": "p"},
    ],
)
def test_key_of_rankings_conflicts_with_other_objectives(keys):
    with raises("key-conflict", *keys):
        RewardModelConfig(objective="outcome", **keys)


def test_reward_trainer_rejects_labels_of_single_responses(llama):
    [row] = rankings(1)
    rows = [{"prompt": row.prompt, "responses": row.responses, "ranks": row.ranks}]
    with raises("key-conflict", "RatingTrainer"):
        RewardTrainer(str(llama), rows, config=RewardModelConfig(objective="outcome"))
