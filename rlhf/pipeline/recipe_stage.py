"""A stage that launches one of the recipes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rlhf.pipeline.commands import as_arguments
from rlhf.pipeline.fingerprint import fingerprint, settings_of
from rlhf.pipeline.runner import Stage, Step
from rlhf.runtime.launcher import launch_module
from rlhf.runtime.run_folder import LATEST

# Keys with a file or model as their value: they are compared by content.
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
    "sft_config",  # a YAML file of the stages of rejection sampling
    "chat_template",  # a file, or auto or none, which represent themselves
)
# Keys that change where or how fast a stage runs, but not its result.
WITHOUT_EFFECT = (
    *("output_dir", "cpu_threads", "report_to", "push_to_hub", "logging_steps", "skip_plan"),
)


@dataclass(frozen=True, kw_only=True)
class RecipeStage:
    """A recipe and its keys: a YAML file, overridden by the pipeline's keys, then the user's."""

    name: str
    folder: Path
    recipe: str  # sft, reward_model, ppo, evaluate
    config: str | None
    keys: Mapping[str, object]
    num_processes: int
    makes: Sequence[str]
    per_device: bool = False  # whether its batch size is per process


def recipe_stage(recipe: RecipeStage) -> Stage:
    """The stage. Its inputs are read now, so the stages before it must be complete.

    Raises:
        ConfigError: its YAML file cannot be read.
    """
    settings = settings_of(recipe.config, recipe.keys)
    counted = {key: value for key, value in settings.items() if key not in WITHOUT_EFFECT}
    if recipe.per_device:  # the batch grows with the processes, so the steps change
        counted["num_processes"] = recipe.num_processes
    sources = {key: value for key, value in counted.items() if key in SOURCES}
    arguments = recipe_arguments(recipe)
    module = f"rlhf.recipes.{recipe.recipe}"
    step = Step(
        name=recipe.recipe,
        run=lambda: launch_module(module, arguments, num_processes=recipe.num_processes),
    )
    return Stage(
        name=recipe.name,
        folder=recipe.folder,
        inputs=fingerprint(counted, sources),
        steps=[step],
        makes=recipe.makes,
    )


def recipe_arguments(recipe: RecipeStage) -> list[str]:
    """The arguments of the recipe's command."""
    arguments = ["--config", recipe.config] if recipe.config else []
    # `latest` is allowed without a checkpoint: a first run and a resumed run are one command.
    arguments += as_arguments({**recipe.keys, "resume_from_checkpoint": LATEST})
    return arguments + as_arguments({"output_dir": recipe.folder})
