"""The steps of `rlhf plan` once its options are parsed."""

import argparse
import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from rlhf.errors import STATUS_DONE, STATUS_USER, ConfigError
from rlhf.pipeline.config import AlignConfig
from rlhf.pipeline.preflight import CLASSES, parsed_stages, stage_plans
from rlhf.pipeline.rounds_config import RoundsConfig
from rlhf.planning.case import Assumed, Target
from rlhf.planning.machines import (
    CPU,
    GPUS,
    this_cpu,
    this_machine,
    with_measured_rates,
)
from rlhf.planning.plan import Plan
from rlhf.planning.report import lines
from rlhf.recipes.plan import PLANNED
from rlhf.recipes.plan_rows import RowCounts, count_prompts, count_rows
from rlhf.runtime.config import parse_config, read_yaml
from rlhf.runtime.printing import quiet_logs
from rlhf.runtime.run_folder import RunConfig
from rlhf.training.dpo.plan import plan as dpo_plan
from rlhf.training.kto.plan import plan as kto_plan
from rlhf.training.ppo.plan import plan as ppo_plan
from rlhf.training.ppo.settings import settings_of
from rlhf.training.reward.plan import plan as reward_plan
from rlhf.training.sft.plan import plan as sft_plan

RECIPES: Mapping[str, tuple[type, ...]] = {
    **CLASSES,
    "align": (RunConfig, AlignConfig, RoundsConfig),
}
# Words in a file's name, where several recipes have all of its keys.
NAMED = {
    "sft": "sft", "reward": "reward_model", "rankings": "reward_model", "dpo": "dpo", "kto": "kto",
    "ppo": "ppo",
}  # fmt: skip


def print_plans(
    options: argparse.Namespace, words: Sequence[str], devices: tuple[int, str] | None
) -> int:
    """Print the plan of each training; exit status 2 if one does not fit.

    Args:
        options: of `rlhf plan`.
        words: keys of the configuration, as `--key value`.
        devices: (number, name); None for those of this machine.
    """
    quiet_logs()
    recipe = recipe_of(Path(options.config), options.recipe)
    target = _target(devices, sharded=options.fsdp)
    argv = ["--config", options.config, *words, *_unused(recipe, Path(options.config), words)]
    configs = parse_config(*RECIPES[recipe], description=None, argv=argv)
    plans = _plans(recipe, configs, target, options)
    for name, planned in plans.items():
        sharding = ", FSDP2" if planned.sharded else ""
        devices_used = f"{target.num_devices} x {target.machine.name}{sharding}"
        print(f"{options.config}: {name} on {devices_used}")
        print(*lines(planned), sep="\n", end="\n\n")
    return STATUS_DONE if all(planned.fits for planned in plans.values()) else STATUS_USER


def recipe_of(path: Path, recipe: str | None) -> str:
    """The recipe that the YAML file is for: as named, by its keys, else by its name.

    Raises:
        ConfigError: no recipe has all of its keys, several have and its name does not tell, or its
            recipe is not planned.
    """
    keys = set(read_yaml(path))
    fitting = [name for name, classes in RECIPES.items() if keys <= _keys(classes)]
    named = [name for word, name in NAMED.items() if word in path.name and name in fitting]
    if recipe is None and len(fitting) > 1 and len(named) != 1:
        raise ConfigError(
            f"{path} has only keys that {' and '.join(fitting)} share; add --recipe "
            f"{' or '.join(fitting)}.",
            code="missing-key",
        )
    chosen = recipe or (named or fitting or [""])[0]
    if chosen not in PLANNED:
        hint = "`rlhf evaluate --dry_run true` shows its memory" if chosen else "it has other keys"
        raise ConfigError(
            f"{path} is no configuration of {', '.join(PLANNED)}; {hint}.",
            code="bad-config-file",
        )
    return chosen


def _unused(recipe: str, path: Path, words: Sequence[str]) -> list[str]:
    """Values of keys that a recipe needs and a plan does not, where they are not given."""
    given = {word.lstrip("-").partition("=")[0] for word in words} | set(read_yaml(path))
    values = {"output_dir": "runs/plan"}
    if recipe != "align":
        values["train_data"] = "rows.jsonl"
    return [f"--{key}={value}" for key, value in values.items() if key not in given]


def _keys(classes: Sequence[type]) -> set[str]:
    names = {field.name for each in classes for field in dataclasses.fields(each)}
    other_names = (getattr(each, name, {}) for each in classes for name in ("RENAMED", "ALIASES"))
    return names.union(*other_names)


def _target(devices: tuple[int, str] | None, *, sharded: bool) -> Target:
    """These devices, or those of this machine. Processes on a CPU share its memory."""
    count, name = devices or (max(1, torch.cuda.device_count()), "")
    machine = GPUS[name] if name in GPUS else this_cpu() if name == CPU else this_machine()
    if not machine.on_gpu:
        machine = dataclasses.replace(machine, memory=machine.memory // count)
    return Target(
        machine=with_measured_rates(machine), num_devices=count, sharded=sharded and count > 1
    )


def _plans(
    recipe: str, configs: tuple[Any, ...], target: Target, options: argparse.Namespace
) -> dict[str, Plan]:
    """The plan of the recipe, or of each training of the pipeline."""
    assumed = Assumed(
        model=options.model,
        prompt_tokens=options.prompt_tokens,
        response_tokens=options.response_tokens,
    )
    if recipe == "align":
        run, config, _ = configs
        if assumed.model is None:
            assumed = dataclasses.replace(assumed, model=config.model_name_or_path)
        return stage_plans(config, parsed_stages(run, config), target, assumed)
    if recipe == "ppo":
        return {recipe: ppo_plan(settings_of(configs), target, assumed)}
    _, model, data, config = configs
    if recipe in ("sft", "kto"):
        rows = options.rows or count_rows(data.train_data)
        planned_by = sft_plan if recipe == "sft" else kto_plan
        return {recipe: planned_by(model, data, config, target, rows=rows, assumed=assumed)}
    counts = count_prompts(data.train_data) or RowCounts(prompts=None, responses=2)
    prompts, responses = options.rows or counts.prompts, options.responses or counts.responses
    if recipe == "dpo":
        planned = dpo_plan(
            model, data, config, target, prompts=prompts, responses=responses, assumed=assumed
        )
    else:
        planned = reward_plan(
            model, data, config, target, prompts=prompts, responses=responses, assumed=assumed
        )
    return {recipe: planned}
