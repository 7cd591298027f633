"""What each stage of the chain counts among its inputs."""

import pytest

from rlhf.pipeline.config import AlignConfig
from rlhf.pipeline.label_stage import label_stage
from rlhf.pipeline.recipe_stage import RecipeStage, recipe_stage
from rlhf.pipeline.stages import ppo_stage, reward_model_stage, sft_stage
from rlhf.runtime.run_folder import RunConfig


@pytest.fixture
def inputs(tmp_path):
    """The inputs of a stage under keys of the chain; files that are not there are their names."""
    usual = {
        "model_name_or_path": "model",
        "demonstrations": "d.jsonl",
        "ppo_prompts": "p.jsonl",
        "heldout_prompts": "h.jsonl",
        "ranking_prompts": "r.jsonl",
        "annotators": "a.yaml",
        "gold": "g.py:f",
    }

    def of(stage, **keys):
        config = AlignConfig(**usual, **keys)
        made = stage(RunConfig(output_dir=str(tmp_path / "run")), config)
        return (recipe_stage(made) if isinstance(made, RecipeStage) else made).inputs

    return of


@pytest.mark.parametrize("stage", [sft_stage, label_stage, reward_model_stage, ppo_stage])
def test_an_edited_chat_template_is_another_input(inputs, tmp_path, stage):
    file = tmp_path / "chat.jinja"
    file.write_text("one")
    before = inputs(stage, chat_template=str(file))
    assert inputs(stage, chat_template=str(file)) == before
    file.write_text("two")
    assert inputs(stage, chat_template=str(file)) != before
    assert inputs(stage, chat_template="none")["chat_template"] == "none"


@pytest.mark.parametrize("stage", [sft_stage, reward_model_stage])
def test_the_number_of_processes_counts_where_each_takes_a_batch(inputs, stage):
    assert inputs(stage, num_processes=2) != inputs(stage, num_processes=4)


def test_ppo_takes_one_batch_whatever_the_number_of_processes(inputs):
    """rollout_batch_size counts responses over all processes."""
    assert inputs(ppo_stage, num_processes=2) == inputs(ppo_stage, num_processes=4)
