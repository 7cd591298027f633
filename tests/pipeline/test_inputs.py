"""The inputs of each stage of the pipeline."""

import pytest

from rlhf.pipeline.config import AlignConfig
from rlhf.pipeline.fingerprint import settings_of
from rlhf.pipeline.label_stage import label_stage
from rlhf.pipeline.recipe_stage import RecipeStage, recipe_stage
from rlhf.pipeline.stages import (
    ppo_stage,
    process_note,
    processes,
    reward_model_stage,
    sft_stage,
)
from rlhf.runtime.run_folder import RunConfig
from tests.pipeline.keys import KEYS


@pytest.fixture
def inputs(tmp_path):
    """The inputs of a stage for keys of the pipeline; missing files are represented by name."""

    def of(stage, **keys):
        config = AlignConfig(**KEYS, **keys)
        created = stage(RunConfig(output_dir=str(tmp_path / "run")), config)
        return (recipe_stage(created) if isinstance(created, RecipeStage) else created).inputs

    return of


@pytest.mark.parametrize("stage", [sft_stage, label_stage, reward_model_stage, ppo_stage])
def test_edited_chat_template_changes_the_inputs(inputs, tmp_path, stage):
    file = tmp_path / "chat.jinja"
    file.write_text("one")
    before = inputs(stage, chat_template=str(file))
    assert inputs(stage, chat_template=str(file)) == before
    file.write_text("two")
    assert inputs(stage, chat_template=str(file)) != before
    assert inputs(stage, chat_template="none")["chat_template"] == "none"


@pytest.mark.parametrize("stage", [sft_stage, reward_model_stage])
def test_inputs_have_the_number_of_processes_if_batches_are_per_process(inputs, monkeypatch, stage):
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    assert inputs(stage, num_processes=2) != inputs(stage, num_processes=4)


@pytest.mark.parametrize(("gpus", "expected"), [(0, 6), (1, 1), (2, 2), (4, 3), (5, 3), (8, 6)])
def test_processes_do_not_share_a_gpu(monkeypatch, gpus, expected):
    """NCCL rejects two on one GPU; 6 batches are divided among 1, 2, 3 or 6 processes."""
    monkeypatch.setattr("torch.cuda.device_count", lambda: gpus)
    assert processes(AlignConfig(**KEYS, num_processes=6)) == expected


@pytest.mark.parametrize("stage", [sft_stage, reward_model_stage])
@pytest.mark.parametrize(("gpus", "expected"), [(0, [6, 2, 5]), (2, [2, 6, 15]), (4, [3, 4, 10])])
def test_batch_does_not_depend_on_the_number_of_gpus(tmp_path, monkeypatch, stage, gpus, expected):
    """processes * gradient_accumulation_steps is 6 * 2 of the file, and 6 * 5 of the keys."""
    monkeypatch.setattr("torch.cuda.device_count", lambda: gpus)
    (tmp_path / "recipe.yaml").write_text("gradient_accumulation_steps: 2\n")
    files = dict.fromkeys(("sft_config", "reward_model_config"), str(tmp_path / "recipe.yaml"))
    keys = ["gradient_accumulation_steps=5"]
    counts = []
    for more in ({}, {"sft_keys": keys, "reward_model_keys": keys}):
        config = AlignConfig(**KEYS, **files, **more, num_processes=6)
        made = stage(RunConfig(output_dir=str(tmp_path / "run")), config)
        settings = settings_of(made.config, made.keys)
        counts += [made.num_processes, settings["gradient_accumulation_steps"]]
    assert [counts[0], counts[1], counts[3]] == expected
    assert len(process_note(config)) == (gpus > 0)


def test_inputs_of_ppo_have_no_number_of_processes(inputs):
    """rollout_batch_size counts responses over all processes."""
    assert inputs(ppo_stage, num_processes=2) == inputs(ppo_stage, num_processes=4)
