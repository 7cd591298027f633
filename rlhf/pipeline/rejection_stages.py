"""The stages of a round of rejection sampling: responses with scores, and SFT on the best."""

import json
import os
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rlhf.manifest import write_atomically
from rlhf.pipeline.best_responses import BEST, SCORED, STATS
from rlhf.pipeline.commands import as_arguments, run_module
from rlhf.pipeline.config import key_values
from rlhf.pipeline.fingerprint import fingerprint
from rlhf.pipeline.recipe_stage import RecipeStage
from rlhf.pipeline.rejection_config import RejectionConfig
from rlhf.pipeline.rounds import round_folder, round_seed
from rlhf.pipeline.runner import Stage, Step
from rlhf.rewards.config import RewardConfig
from rlhf.runtime.run_folder import RunConfig

SAMPLED_KEYS = ("num_responses", "sample_temperature", "sample_max_new_tokens", "keep", "min_score")


def policy_of(run_config: RunConfig, config: RejectionConfig, number: int) -> str:
    """The policy after a round; after round 0 the initial one."""
    if number == 0:
        return config.model_name_or_path
    return str(round_folder(run_config.output_dir, number) / "sft")


def responses_stage(
    run_config: RunConfig, config: RejectionConfig, reward: RewardConfig, number: int
) -> Stage:
    """The policy of the round before and prompts -> round-N/responses/best.jsonl."""
    folder = round_folder(run_config.output_dir, number) / "responses"
    candidates = folder / "candidates.jsonl"
    policy = policy_of(run_config, config, number - 1)
    sampling: dict[str, object] = {
        "model": policy,
        "prompts": config.train_data,
        "num_responses": config.num_responses,
        "temperature": config.sample_temperature,
        "max_new_tokens": config.sample_max_new_tokens,
        "seed": round_seed(run_config.seed, number),
        "output": candidates,
        **_chat_keys(config),
    }
    drop = ["--drop_bad_rows"] if config.drop_bad_rows else []
    arguments = ["sample", *as_arguments(sampling), *drop]
    selection = {
        "folder": str(folder),
        "candidates": str(candidates),
        "keep": config.keep,
        "min_score": config.min_score,
        "chat_template": config.chat_template,
        "reward": asdict(reward),
    }
    settings: dict[str, Any] = {key: getattr(config, key) for key in SAMPLED_KEYS}
    settings |= {
        "seed": round_seed(run_config.seed, number),
        **_chat_keys(config),
        **asdict(reward),
    }
    sources = {"model": policy, "prompts": config.train_data, "reward": list(reward.reward)}
    return Stage(
        name=f"round {number}: responses",
        folder=folder,
        inputs=fingerprint(settings, sources),
        steps=[
            Step(name="sample", run=lambda: run_module("rlhf.cli", arguments)),
            Step(name="select", run=lambda: _select(folder, selection)),
        ],
        makes=(BEST, SCORED, STATS),
    )


def sft_stage(run_config: RunConfig, config: RejectionConfig, number: int) -> RecipeStage:
    """The best responses of a round -> round-N/sft/."""
    folder = round_folder(run_config.output_dir, number)
    start = number - 1 if config.train_from == "last" else 0
    keys: dict[str, object] = {
        "model_name_or_path": policy_of(run_config, config, start),
        "train_data": str(folder / "responses" / BEST),
        "seed": round_seed(run_config.seed, number),
        "cpu_threads": run_config.cpu_threads,
        "report_to": run_config.report_to or None,
        "skip_plan": run_config.skip_plan or None,
        **_chat_keys(config),
    }
    if number == config.num_rounds:
        keys["push_to_hub"] = run_config.push_to_hub
    return RecipeStage(
        name=f"round {number}: sft",
        folder=folder / "sft",
        recipe="sft",
        config=config.sft_config,
        keys=keys | key_values("sft_keys", config.sft_keys),
        num_processes=config.num_processes or int(os.environ.get("WORLD_SIZE", "1")),
        makes=("manifest.json",),
        per_device=True,
    )


def _select(folder: Path, selection: Mapping[str, object]) -> int:
    """Score the candidates and select the best, in a process of its own; its exit status."""
    settings = folder / "selection.json"
    write_atomically(settings, json.dumps(selection, indent=2) + "\n")
    return run_module("rlhf.pipeline.best_responses", [f"--settings={settings}"])


def _chat_keys(config: RejectionConfig) -> dict[str, object]:
    keys: dict[str, object] = {"chat_template": config.chat_template}
    if config.chat_template_kwargs is not None:
        keys["chat_template_kwargs"] = config.chat_template_kwargs
    return keys
