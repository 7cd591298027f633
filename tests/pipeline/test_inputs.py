"""The inputs of each stage of the pipeline."""

import pytest

from rlhf.pipeline.config import AlignConfig
from rlhf.pipeline.label_stage import label_stage
from rlhf.pipeline.recipe_stage import RecipeStage, recipe_stage
from rlhf.pipeline.stages import ppo_stage, reward_model_stage, sft_stage
from rlhf.runtime.run_folder import RunConfig


@pytest.fixture
def inputs(tmp_path):
    """The inputs of a stage for keys of the pipeline; missing files are represented by name."""
    defaults = {
        "model_name_or_path": "model",
        "demonstrations": "d.jsonl",
        "ppo_prompts": "p.jsonl",
        "heldout_prompts": "h.jsonl",
        "ranking_prompts": "r.jsonl",
        "annotators": "a.yaml",
        "gold": "g.py:f",
    }

    def of(stage, **keys):
        config = AlignConfig(**defaults, **keys)
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
def test_inputs_have_the_number_of_processes_if_batches_are_per_process(inputs, stage):
    assert inputs(stage, num_processes=2) != inputs(stage, num_processes=4)


def test_inputs_of_ppo_have_no_number_of_processes(inputs):
    """rollout_batch_size counts responses over all processes."""
    assert inputs(ppo_stage, num_processes=2) == inputs(ppo_stage, num_processes=4)
