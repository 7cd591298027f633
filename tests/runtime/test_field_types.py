"""Configurations made in Python: every field has a value of its type, or the field is named."""

from pathlib import Path

import numpy as np
import pytest

import rlhf
from rlhf.runtime.config import as_yaml
from rlhf.runtime.run_folder import RunConfig
from tests.errors import raises


@pytest.mark.parametrize(
    ("kind", "values", "names"),
    [
        (rlhf.RewardConfig, {"normalize_reward": "foo"}, ["none, mean, mean_std or probability"]),
        (rlhf.RewardConfig, {"on_reward_error": "ignore"}, ["stop or skip"]),
        (rlhf.RewardConfig, {"reward": "folder"}, ["a list of text"]),
        (rlhf.RewardModelConfig, {"loss_type": "bradley"}, ["mean bradley_terry?"]),
        (rlhf.SFTConfig, {"train_on": "lst"}, ["all or last", "mean last?"]),
        (rlhf.SFTConfig, {"packing": "false"}, ["True or False"]),
        (rlhf.SFTConfig, {"packing": 0}, ["True or False"]),
        (rlhf.SFTConfig, {"lr_scheduler_type": "cos"}, ["mean cosine?"]),
        (rlhf.SFTConfig, {"max_steps": 1.5}, ["an integer or None"]),
        (rlhf.SFTConfig, {"max_steps": True}, ["an integer or None"]),
        (rlhf.SFTConfig, {"learning_rate": "1e-4"}, ["a number"]),
        (rlhf.SFTConfig, {"learning_rate": None}, ["a number"]),
        (rlhf.PPOConfig, {"mode": "Lora", "max_steps": 1}, ["mean lora?"]),
        (rlhf.PPOConfig, {"kl_estimator": 3, "max_steps": 1}, ["k1, k2 or k3 or None"]),
        (rlhf.ModelConfig, {"model_name_or_path": 3}, ["text"]),
        (rlhf.ModelConfig, {"model_name_or_path": "x", "lora_target_modules": [1]}, ["list"]),
        (rlhf.DataOptions, {"max_length": "512"}, ["an integer"]),
        (rlhf.DataConfig, {"train_data": 5}, ["a list of text"]),
        (RunConfig, {"output_dir": "x", "seed": None}, ["an integer"]),
    ],
)
def test_value_of_another_type_is_rejected(kind, values, names):
    field, value = next((name, value) for name, value in values.items() if value != "x")
    with raises("bad-value", f"{kind.__name__}.{field}={value!r}", *names):
        kind(**values)


def test_paths_tuples_and_numpy_numbers_are_converted():
    """config.yaml can hold them then."""
    config = rlhf.SFTConfig(learning_rate=np.float64(1e-4), max_steps=np.int64(3))
    assert (type(config.learning_rate), type(config.max_steps)) == (float, int)
    model = rlhf.ModelConfig(
        model_name_or_path=Path("folder"), use_peft=True, lora_target_modules=("q_proj",)
    )
    assert (model.model_name_or_path, model.lora_target_modules) == ("folder", ["q_proj"])
    data = rlhf.DataConfig(train_data=Path("rows.jsonl"), chat_template_kwargs={"think": False})
    assert (data.train_data, data.template_kwargs) == (["rows.jsonl"], {"think": False})
    assert "q_proj" in as_yaml(model, config, data)


def test_integers_are_numbers():
    assert rlhf.SFTConfig(num_train_epochs=2).num_train_epochs == 2


def test_lists_of_mappings_are_converted_to_json():
    config = rlhf.RewardConfig(
        reward=["a", "b"], reward_chat_template_kwargs=[{"think": False}, None]
    )
    assert config.reward_chat_template_kwargs == '[{"think": false}, null]'
    with raises("bad-value", "reward_chat_template_kwargs"):
        rlhf.RewardConfig(reward=["a"], reward_chat_template_kwargs=[1])


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize(
    ("kind", "key"),
    [
        (rlhf.SFTConfig, "learning_rate"),
        (rlhf.SFTConfig, "num_train_epochs"),
        (rlhf.SFTConfig, "weight_decay"),
        (rlhf.RewardModelConfig, "learning_rate"),
        (rlhf.RewardModelConfig, "margin_coef"),
        (rlhf.RewardModelConfig, "center_rewards_coefficient"),
    ],
)
def test_numbers_that_are_not_finite_are_rejected(kind, key, value):
    with raises("bad-value", f"{key}={value}"):
        kind(**{key: value})
