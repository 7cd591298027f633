"""The inputs of each stage of the pipeline."""

import pytest

from rlhf.pipeline.config import AlignConfig
from rlhf.pipeline.label_stage import label_stage
from rlhf.pipeline.recipe_stage import RecipeStage, recipe_stage
from rlhf.pipeline.stages import ppo_stage, processes, reward_model_stage, sft_stage
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


@pytest.mark.parametrize(("gpus", "expected"), [(0, 2), (1, 1), (8, 2)])
def test_processes_do_not_share_a_gpu(monkeypatch, gpus, expected):
    """The demo has two, for two cores; NCCL rejects two on one GPU."""
    monkeypatch.setattr("torch.cuda.device_count", lambda: gpus)
    assert processes(AlignConfig(**KEYS, num_processes=2)) == expected


def test_inputs_of_ppo_have_no_number_of_processes(inputs):
    """rollout_batch_size counts responses over all processes."""
    assert inputs(ppo_stage, num_processes=2) == inputs(ppo_stage, num_processes=4)
