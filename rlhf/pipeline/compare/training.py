"""Train everything that a comparison needs: labels, reward model, all runs."""

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rlhf.errors import ConfigError
from rlhf.pipeline.compare.budget import limits_of, prompts_of, speed_stage, step_seconds
from rlhf.pipeline.compare.config import CompareConfig
from rlhf.pipeline.compare.cost import timed
from rlhf.pipeline.compare.labels import label_stage, pass_gate
from rlhf.pipeline.compare.runs import (
    REWARD_MODEL,
    Run,
    reward_model_stage,
    run_stage_of,
    training_runs,
)
from rlhf.pipeline.preflight import CLASSES
from rlhf.pipeline.recipe_stage import RecipeStage, recipe_arguments, recipe_stage
from rlhf.pipeline.runner import run_stage
from rlhf.runtime.config import parse_config
from rlhf.runtime.run_folder import RunConfig

Log = Callable[[str], None]
Parsed = tuple[Any, ...]


@dataclass(frozen=True, kw_only=True)
class Trained:
    """A finished run with the configuration it ran with."""

    run: Run
    parsed: Parsed


def train_all(run_config: RunConfig, config: CompareConfig, log: Log) -> list[Trained]:
    """Run every stage; complete ones with the same inputs are skipped.

    Raises:
        ConfigError: a recipe rejected its keys or rows.
        TrainingError: a run or the gate failed.
        Stopped: SIGTERM; the same command resumes.
    """
    root = Path(run_config.output_dir)
    run_stage(label_stage(run_config, config), log)
    if config.reward_model is None:
        run_stage(recipe_stage(reward_model_stage(run_config, config)), log)
        pass_gate(root / REWARD_MODEL, skip=config.skip_gate)
    runs = training_runs(run_config, config)
    seconds = measured_seconds(runs, run_config, config, log)
    trained = []
    for number, run in enumerate(runs, 1):
        log(f"run {number} of {len(runs)}")
        trained.append(_train(run, run_config, config, seconds, log))
    return trained


def measured_seconds(
    runs: list[Run], run_config: RunConfig, config: CompareConfig, log: Log
) -> dict[str, float]:
    """Seconds of a step of each method, from a short run of its first strength and seed.

    Empty without budget_seconds.
    """
    if config.budget_seconds is None:
        return {}
    seconds: dict[str, float] = {}
    for run in runs:
        if run.method.name not in seconds:
            parsed = parsed_run(run, run_config, config)
            stage = speed_stage(run, run_config, config, parsed)
            run_stage(recipe_stage(stage), log)
            seconds[run.method.name] = step_seconds(stage.folder, run.method, parsed)
            log(f"{run.method.name}: {seconds[run.method.name]:.3g} s per step")
    return seconds


def parsed_run(
    run: Run,
    run_config: RunConfig,
    config: CompareConfig,
    limits: Mapping[str, object] | None = None,
) -> Parsed:
    """The configuration of a run's recipe.

    Raises:
        ConfigError: an unknown key, a value outside its range, or a file that cannot be read.
    """
    return parsed_stage(run_stage_of(run, run_config, config, limits or {}))


def parsed_stage(stage: RecipeStage) -> Parsed:
    """The configuration of a stage; errors name the stage.

    Raises:
        ConfigError: see `parsed_run`.
    """
    try:
        return parse_config(*CLASSES[stage.recipe], description=None, argv=recipe_arguments(stage))
    except ConfigError as error:
        raise ConfigError(f"{stage.name}: {error}", code=error.code) from error


def delete_checkpoints(folder: Path) -> None:
    """Delete the checkpoints of a complete run: many runs would fill the disk with them."""
    for path in list(folder.rglob("checkpoint-*")):
        shutil.rmtree(path, ignore_errors=True)


def _train(
    run: Run,
    run_config: RunConfig,
    config: CompareConfig,
    seconds: Mapping[str, float],
    log: Log,
) -> Trained:
    limits = limits_of(run, config, parsed_run(run, run_config, config), seconds)
    limits |= prompts_of(run, config)
    stage = recipe_stage(run_stage_of(run, run_config, config, limits))
    run_stage(timed(stage, run), log)
    if not config.keep_checkpoints:
        delete_checkpoints(stage.folder)
    return Trained(run=run, parsed=parsed_run(run, run_config, config, limits))
