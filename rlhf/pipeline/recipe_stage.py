"""A stage that is one of the recipes, launched as anybody would launch it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rlhf.pipeline.commands import as_words
from rlhf.pipeline.fingerprint import fingerprint, settings_of
from rlhf.pipeline.runner import Stage, Step
from rlhf.runtime.launcher import launch_module

# Keys whose value names a file or a model: they count by content.
SOURCES = (
    "model_name_or_path",
    "train_data",
    "eval_data",
    "normalization_data",
    "reward",
    "value_model_path",
    "ptx_data",
    "models",
    "reward_model",
    "gold",
    "axes",
    "llm_judge",
    "tax_data",
    "human_gold",
    "chat_template",  # a file, or one of the words auto and none, which stand for themselves
)
# Keys that change where or how fast a stage runs, not what comes out.
WITHOUT_EFFECT = ("output_dir", "cpu_threads", "report_to", "push_to_hub", "logging_steps")


@dataclass(frozen=True, kw_only=True)
class RecipeStage:
    """What to launch and with which keys: a YAML file, the chain's keys, then the user's."""

    name: str
    folder: Path
    recipe: str  # sft, reward_model, ppo, evaluate
    config: str | None
    keys: Mapping[str, Any]
    num_processes: int
    makes: Sequence[str]
    per_device: bool = False  # whether its batch size is that of one process


def recipe_stage(what: RecipeStage) -> Stage:
    """The stage; its inputs are read now, so the stages before it must have run.

    Raises:
        ConfigError: its YAML file cannot be read.
    """
    settings = settings_of(what.config, what.keys)
    counted = {key: value for key, value in settings.items() if key not in WITHOUT_EFFECT}
    if what.per_device:  # the batch, and so the steps, grow with the processes
        counted["num_processes"] = what.num_processes
    sources = {key: value for key, value in counted.items() if key in SOURCES}
    words = recipe_words(what)
    module = f"rlhf.recipes.{what.recipe}"
    step = Step(
        name=what.recipe,
        run=lambda: launch_module(module, words, num_processes=what.num_processes),
    )
    return Stage(
        name=what.name,
        folder=what.folder,
        inputs=fingerprint(counted, sources),
        steps=[step],
        makes=what.makes,
    )


def recipe_words(what: RecipeStage) -> list[str]:
    """The recipe's command line."""
    words = ["--config", what.config] if what.config else []
    # `latest` also where nothing is there yet: a first run and a resumed one are one command.
    words += as_words({**what.keys, "resume_from_checkpoint": "latest"})
    return words + as_words({"output_dir": what.folder})
