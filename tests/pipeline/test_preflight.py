"""The inputs of all stages are checked before the first stage."""

import json

import pytest

from rlhf.errors import ConfigError
from rlhf.pipeline.config import AlignConfig
from rlhf.pipeline.label_stage import label_stage
from rlhf.pipeline.preflight import check_inputs, plan
from rlhf.pipeline.stages import evaluation_stage, ppo_stage, reward_model_stage, sft_stage
from rlhf.runtime.run_folder import RunConfig
from tests.errors import raises
from tests.tiny_models import make_model

GOLD = "def score(prompts, completions, **columns):\n    return [0.0 for _ in prompts]\n"


@pytest.fixture(scope="module")
def keys(tmp_path_factory):
    """Keys of a pipeline that can run."""
    folder = tmp_path_factory.mktemp("check")
    (folder / "gold.py").write_text(GOLD)
    (folder / "annotators.yaml").write_text("annotators: [{name: a}]")
    (folder / "prompts.jsonl").write_text('{"prompt": "Hi"}\n' * 3)
    (folder / "demonstrations.jsonl").write_text('{"prompt": "Hi", "completion": "A cat."}\n' * 2)
    prompts = ("ranking_prompts", "ppo_prompts", "heldout_prompts")
    return {
        **dict.fromkeys(prompts, str(folder / "prompts.jsonl")),
        "model_name_or_path": str(make_model(folder / "model", "qwen2")),
        "demonstrations": str(folder / "demonstrations.jsonl"),
        "annotators": str(folder / "annotators.yaml"),
        "gold": f"{folder}/gold.py:score",
        "sample_max_new_tokens": 16,
        "ppo_keys": ["max_steps=1"],
    }


@pytest.fixture
def run(tmp_path):
    return RunConfig(output_dir=str(tmp_path / "run"))


@pytest.mark.parametrize(
    ("changed", "names"),
    [
        ({"ppo_keys": ["max_steps=1", "kl_coeff=0.1"]}, ["ppo_keys", "'kl_coeff'", "kl_coef"]),
        ({"sft_keys": ["max_length=abc"]}, ["sft_keys", "'abc'"]),
        ({"sft_keys": ["output_dir=x"]}, ["output_dir"]),
        ({"evaluate_keys": ["num_generations=0"]}, ["evaluate_keys", "num_generations=0"]),
        ({"annotators": "nope.yaml"}, ["nope.yaml"]),
        ({"gold": "nope.py:f"}, ["nope.py:f"]),
        ({"axes": "nope.py:f"}, ["nope.py:f"]),
        ({"sample_max_new_tokens": 256}, ["256"]),
        ({"label_overlap": 2}, ["label_overlap=2", "annotators.yaml", "1 annotator;"]),
    ],
)
def test_mistakes_of_all_stages_raise_before_the_first(keys, run, changed, names):
    with pytest.raises(ConfigError) as caught:
        check_inputs(run, AlignConfig(**{**keys, **changed}))
    assert all(name in str(caught.value) for name in names)


def test_key_that_is_not_yaml_raises(keys):
    with raises("bad-value", "sft_keys", "chat_template=["):
        AlignConfig(**keys, sft_keys=["chat_template=["])


def test_prompts_to_rank_leave_room_for_the_response(keys, run, tmp_path):
    """As in `rlhf sample`: 256 positions, although rotary ones could be extended."""
    long = tmp_path / "long.jsonl"
    long.write_text(json.dumps({"prompt": "word " * 45}) + '\n{"prompt": "Hi"}\n')
    check_inputs(run, AlignConfig(**{**keys, "ranking_prompts": str(long)}))
    changed = {"ranking_prompts": str(long), "sample_max_new_tokens": 100}
    with raises("bad-row", "long.jsonl:1", 256):
        check_inputs(run, AlignConfig(**{**keys, **changed}))
    check_inputs(run, AlignConfig(**{**keys, **changed}, drop_bad_rows=True))


def test_labels_fit_the_treatment_of_ties(keys, run, tmp_path):
    """A ranking with ties only is a usable row with ties=half, but not by default."""
    tied = tmp_path / "tied.jsonl"
    row = {"prompt": "Hi", "responses": ["A cat.", "A dog."]}
    file = AlignConfig(**{**keys, "labels": str(tied)})
    tied.write_text(json.dumps({**row, "ranks": [1, 1]}) + "\n")
    with raises("no-rows", "tied.jsonl"):
        check_inputs(run, file)
    with tied.open("a") as more:
        more.write(json.dumps({**row, "ranks": [1, 2]}) + "\n")
    half = AlignConfig(**{**keys, "labels": str(tied)}, reward_model_keys=["ties=half"])
    assert [check_inputs(run, config).rows["labels"] for config in (file, half)] == [1, 2]


@pytest.mark.parametrize("stage", [sft_stage, reward_model_stage, ppo_stage, evaluation_stage])
def test_drop_bad_rows_is_passed_to_every_recipe(keys, run, stage):
    """If it is not set, the recipe's own file decides."""
    assert stage(run, AlignConfig(**keys, drop_bad_rows=True)).keys["drop_bad_rows"] is True
    assert "drop_bad_rows" not in stage(run, AlignConfig(**keys)).keys


def test_drop_bad_rows_is_passed_to_sampling(keys, run, monkeypatch):
    commands = []
    monkeypatch.setattr(
        "rlhf.pipeline.label_stage.run_module", lambda _, words: commands.append(words)
    )
    for drop in (False, True):
        label_stage(run, AlignConfig(**keys, drop_bad_rows=drop)).steps[0].run()
    assert [words[-1] == "--drop_bad_rows" for words in commands] == [False, True]


def test_plan_has_rows_parameters_and_memory_of_each_stage(keys, run):
    config = AlignConfig(**keys)
    sft, labels, reward_model, ppo, evaluation = plan(config, check_inputs(run, config))
    assert sft.startswith("sft: 2 demonstrations; 0.0 M parameters")
    assert labels == "labels: 4 responses to each of 3 prompts"
    assert ppo.startswith("ppo: 3 prompts; 0.0 M parameters")
    assert "3 models, one at a time, x 4 responses to 3 prompts" in evaluation
    assert all("GiB" in line for line in (sft, reward_model, ppo, evaluation))
