"""Methods, keys and runs of a comparison, and what is wrong with them, by code."""

import json

import pytest

from rlhf.pipeline.compare.methods import parse_methods
from rlhf.pipeline.compare.runs import by_strength, policy_of, run_stage_of, training_runs
from rlhf.runtime.run_folder import RunConfig
from tests.errors import raises
from tests.pipeline.compare.points import config_of

SWEEP = {"sweep": {"kl_coef": [0.1, 0.3]}}


def test_name_is_the_recipe_unless_another_is_given():
    grpo = {"recipe": "ppo", "keys": {"advantage": "grpo"}, **SWEEP}
    first, second = parse_methods(json.dumps({"ppo": SWEEP, "grpo": grpo}))
    assert (first.name, first.recipe, first.values) == ("ppo", "ppo", [0.1, 0.3])
    assert (second.name, second.recipe, second.keys) == ("grpo", "ppo", {"advantage": "grpo"})
    assert first.uses_reward
    assert first.trains


@pytest.mark.parametrize(
    ("methods", "code", "name"),
    [
        ({}, "bad-value", "methods"),
        ({"a/b": SWEEP}, "bad-value", "a/b"),
        ({"sft": {"recipe": "ppo", **SWEEP}}, "bad-value", "sft"),
        ({"ppo": [1]}, "bad-value", "ppo"),
        ({"ppo": {"sweeps": {"kl_coef": [1]}}}, "unknown-key", "did you mean sweep"),
        ({"grpo": SWEEP}, "bad-value", "recipe='grpo'"),
        ({"ppo": {}}, "missing-key", "sweep"),
        ({"ppo": {"sweep": {"kl_coef": [1], "lam": [1]}}}, "bad-value", "sweep"),
        ({"ppo": {"sweep": {"kl_coef": []}}}, "bad-value", "kl_coef"),
        ({"ppo": {"sweep": {"kl_coef": ["high"]}}}, "bad-value", "kl_coef"),
        ({"ppo": {"sweep": {"kl_coef": [True]}}}, "bad-value", "kl_coef"),
        ({"ppo": {"sweep": {"kl_coef": [0.1, 0.1]}}}, "repeated-key", "kl_coef"),
        ({"ppo": {"sweep": {"seed": [1, 2]}}}, "key-conflict", "seed"),
        ({"ppo": {"keys": {"reward": ["x"]}, **SWEEP}}, "key-conflict", "reward"),
        ({"ppo": {"keys": {"kl_coef": 1}, **SWEEP}}, "key-conflict", "kl_coef"),
        ({"ppo": {"keys": [1], **SWEEP}}, "bad-value", "keys"),
        ({"ppo": {"config": 3, **SWEEP}}, "bad-value", "config"),
        ({"best_of_n": {"sweep": {"n": [2]}}}, "unknown-key", "num_responses"),
        ({"best_of_n": {"sweep": {"num_responses": [1]}}}, "bad-value", "num_responses"),
        ({"best_of_n": {"sweep": {"num_responses": [2.5]}}}, "bad-value", "num_responses"),
        (
            {"best_of_n": {"keys": {"x": 1}, "sweep": {"num_responses": [2]}}},
            "key-conflict",
            "best_of_n",
        ),
    ],
)
def test_method_that_cannot_be_run_raises(methods, code, name):
    with raises(code, name):
        parse_methods(json.dumps(methods))


def test_text_that_is_not_json_raises():
    with raises("bad-value", "methods"):
        parse_methods("{ppo")


@pytest.mark.parametrize(
    ("keys", "code", "name"),
    [
        ({"budget_responses": 100, "budget_seconds": 10.0}, "key-conflict", "budget"),
        ({"budget_responses": 0}, "bad-value", "budget_responses"),
        ({"budget_seconds": -1.0}, "bad-value", "budget_seconds"),
        ({"seeds": []}, "bad-value", "seeds"),
        ({"seeds": [1, 1]}, "repeated-key", "seeds"),
        ({"seeds": [-1]}, "bad-value", "seeds"),
        ({"temperature": 0.0}, "bad-value", "temperature"),
        ({"label_eval_fraction": 0.0}, "bad-value", "label_eval_fraction"),
        ({"reward_model": "gold.py:score"}, "key-conflict", "judge"),
        ({"extra_rewards": ["0.5*gold.py:score"]}, "key-conflict", "judge"),
        ({"reward_model": "rm", "reward_model_config": "a.yaml"}, "key-conflict", "reward_model"),
        ({"reward_model_keys": ["x"]}, "bad-value", "reward_model_keys"),
        ({"num_generations": 0}, "bad-value", "num_generations"),
    ],
)
def test_key_that_cannot_be_used_raises(keys, code, name):
    with raises(code, name):
        config_of({"ppo": SWEEP}, **keys)


def test_seconds_do_not_bound_rejection_sampling():
    sampling = {"rejection_sampling": {"sweep": {"num_responses": [4]}}}
    with raises("unsupported", "budget_seconds", "rejection_sampling"):
        config_of(sampling, budget_seconds=60.0)


def test_runs_are_strengths_times_seeds(tmp_path):
    methods = {"ppo": SWEEP, "best_of_n": {"sweep": {"num_responses": [2, 4]}}}
    config = config_of(methods, seeds=[3, 5])
    runs = training_runs(RunConfig(output_dir=str(tmp_path)), config)
    assert [run.name for run in runs] == [
        "ppo kl_coef=0.1 seed 3",
        "ppo kl_coef=0.1 seed 5",
        "ppo kl_coef=0.3 seed 3",
        "ppo kl_coef=0.3 seed 5",
    ]
    assert runs[0].folder == tmp_path / "ppo" / "kl_coef-0.1" / "seed-3"
    assert [len(group) for group in by_strength(runs).values()] == [2, 2]


def test_recipes_get_the_same_model_and_the_rows_of_their_kind(tmp_path):
    methods = {
        "ppo": SWEEP,
        "dpo": {"sweep": {"beta": [0.1]}},
        "rejection_sampling": {"keys": {"num_rounds": 2}, "sweep": {"num_responses": [4]}},
    }
    run_config = RunConfig(output_dir=str(tmp_path))
    config = config_of(methods, seeds=[7], extra_rewards=["0.5*gold.py:short"])
    runs = {run.method.name: run for run in training_runs(run_config, config)}
    keys = {
        name: run_stage_of(run, run_config, config, {"max_steps": 9}).keys
        for name, run in runs.items()
    }
    labels = str(tmp_path / "labels" / "rankings_train.jsonl")
    assert keys["ppo"]["reward"] == [str(tmp_path / "reward_model"), "0.5*gold.py:short"]
    assert keys["ppo"]["train_data"] == "prompts.jsonl"
    assert (keys["ppo"]["kl_coef"], keys["ppo"]["max_steps"]) == (0.3, 9)
    assert keys["dpo"]["train_data"] == labels
    assert "reward" not in keys["dpo"]
    assert {each["model_name_or_path"] for each in keys.values()} == {"sft"}
    assert {each["seed"] for each in keys.values()} == {7}
    folder = runs["rejection_sampling"].folder / "train"
    assert policy_of(runs["rejection_sampling"]) == folder / "round-2" / "sft"
