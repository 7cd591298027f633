"""Every mistake that can be known before the first stage is said before the first stage."""

import json

import pytest

from rlhf.errors import ConfigError, DataError
from rlhf.pipeline.config import AlignConfig
from rlhf.pipeline.label_stage import label_stage
from rlhf.pipeline.preflight import check_inputs, plan
from rlhf.pipeline.stages import evaluation_stage, ppo_stage, reward_model_stage, sft_stage
from rlhf.runtime.run_folder import RunConfig
from tests.tiny_models import make_model

GOLD = "def score(prompts, completions, **columns):\n    return [0.0 for _ in prompts]\n"


@pytest.fixture(scope="module")
def keys(tmp_path_factory):
    """Keys of a chain that can run."""
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
    ("changed", "said"),
    [
        ({"ppo_keys": ["max_steps=1", "kl_coeff=0.1"]}, "ppo_keys: .*'kl_coeff'; did you mean kl_"),
        ({"sft_keys": ["max_length=abc"]}, "sft_keys: .*invalid int value: 'abc'"),
        ({"sft_keys": ["output_dir=x"]}, "output_dir is given 2 times"),
        ({"evaluate_keys": ["num_generations=0"]}, "evaluate_keys: num_generations=0"),
        ({"annotators": "nope.yaml"}, "nope.yaml cannot be read"),
        ({"gold": "nope.py:f"}, "nope.py:f: no such file"),
        ({"axes": "nope.py:f"}, "nope.py:f: no such file"),
        ({"sample_max_new_tokens": 256}, "fills all 256 positions"),
    ],
)
def test_a_mistake_of_a_later_stage_is_found_before_the_first(keys, run, changed, said):
    with pytest.raises(ConfigError, match=said):
        check_inputs(run, AlignConfig(**{**keys, **changed}))


def test_keys_that_are_no_yaml_are_named(keys):
    with pytest.raises(ConfigError, match=r"sft_keys: 'chat_template=\[' cannot be read"):
        AlignConfig(**keys, sft_keys=["chat_template=["])


def test_prompts_to_rank_have_to_leave_room_for_the_answer(keys, run, tmp_path):
    """As `rlhf sample` has it: 256 positions, though rotary ones could go on."""
    long = tmp_path / "long.jsonl"
    long.write_text(json.dumps({"prompt": "word " * 45}) + '\n{"prompt": "Hi"}\n')
    check_inputs(run, AlignConfig(**{**keys, "ranking_prompts": str(long)}))
    changed = {"ranking_prompts": str(long), "sample_max_new_tokens": 100}
    with pytest.raises(DataError, match=r"long\.jsonl:1 the prompt: .* has 256 positions"):
        check_inputs(run, AlignConfig(**{**keys, **changed}))
    check_inputs(run, AlignConfig(**{**keys, **changed}, drop_bad_rows=True))


def test_labels_have_to_hold_what_the_loss_learns_from(keys, run, tmp_path):
    """A ranking that ties all is no row where a tie is no pair, one where it is half a pair."""
    tied = tmp_path / "tied.jsonl"
    row = {"prompt": "Hi", "responses": ["A cat.", "A dog."]}
    file = AlignConfig(**{**keys, "labels": str(tied)})
    tied.write_text(json.dumps({**row, "ranks": [1, 1]}) + "\n")
    with pytest.raises(DataError, match="1 without an order"):
        check_inputs(run, file)
    with tied.open("a") as more:
        more.write(json.dumps({**row, "ranks": [1, 2]}) + "\n")
    half = AlignConfig(**{**keys, "labels": str(tied)}, reward_model_keys=["ties=half"])
    assert [check_inputs(run, config).rows["labels"] for config in (file, half)] == [1, 2]


@pytest.mark.parametrize("stage", [sft_stage, reward_model_stage, ppo_stage, evaluation_stage])
def test_dropping_bad_rows_reaches_every_recipe(keys, run, stage):
    """Not set, it is left to the recipe's own file."""
    assert stage(run, AlignConfig(**keys, drop_bad_rows=True)).keys["drop_bad_rows"] is True
    assert "drop_bad_rows" not in stage(run, AlignConfig(**keys)).keys


def test_dropping_bad_rows_reaches_the_sampling(keys, run, monkeypatch):
    ran = []
    monkeypatch.setattr("rlhf.pipeline.label_stage.run_module", lambda _, words: ran.append(words))
    for drop in (False, True):
        label_stage(run, AlignConfig(**keys, drop_bad_rows=drop)).steps[0].run()
    assert [words[-1] == "--drop_bad_rows" for words in ran] == [False, True]


def test_the_plan_has_rows_parameters_and_memory_of_each_stage(keys, run):
    config = AlignConfig(**keys)
    sft, labels, reward_model, ppo, evaluation = plan(config, check_inputs(run, config))
    assert sft.startswith("sft: 2 demonstrations; 0.0 M parameters")
    assert labels == "labels: 4 answers to each of 3 prompts"
    assert ppo.startswith("ppo: 3 prompts; policy: 0.0 M parameters")
    assert "3 models, one at a time, x 4 answers to 3 prompts" in evaluation
    assert all("GiB a device" in line for line in (sft, reward_model, ppo, evaluation))
