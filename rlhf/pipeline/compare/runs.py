"""The runs of a comparison: a method at a strength with a seed, each a stage of its recipe."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rlhf.pipeline.compare.config import CompareConfig
from rlhf.pipeline.compare.methods import Method
from rlhf.pipeline.config import key_values
from rlhf.pipeline.fingerprint import settings_of
from rlhf.pipeline.recipe_stage import RecipeStage
from rlhf.runtime.run_folder import RunConfig

LABELS, REWARD_MODEL, TRAIN, EVALUATION = "labels", "reward_model", "train", "evaluation"
RANKINGS, HELD_OUT_RANKINGS = "rankings_train.jsonl", "rankings_heldout.jsonl"
PROMPTS = "prompts.jsonl"  # those of a run whose budget does not cover all


@dataclass(frozen=True, kw_only=True)
class Run:
    """One training: a method at one value of its swept key with one seed."""

    method: Method
    value: float
    seed: int
    folder: Path  # with train/ and evaluation/

    @property
    def name(self) -> str:
        """For messages, and the key of the random numbers of its evaluation."""
        return f"{self.method.name} {self.method.swept}={self.value} seed {self.seed}"


def training_runs(run_config: RunConfig, config: CompareConfig) -> list[Run]:
    """Every method that trains, at every strength, with every seed."""
    return [
        Run(
            method=method,
            value=value,
            seed=seed,
            folder=strength_folder(run_config, method, value) / f"seed-{seed}",
        )
        for method in config.parsed_methods
        if method.trains
        for value in method.values
        for seed in config.seeds
    ]


def strength_folder(run_config: RunConfig, method: Method, value: float) -> Path:
    """OUTPUT_DIR/METHOD/KEY-VALUE."""
    return Path(run_config.output_dir) / method.name / f"{method.swept}-{value}"


def reward_model_of(run_config: RunConfig, config: CompareConfig) -> str:
    """The reward model: the given one, or that of the comparison's own stage."""
    return config.reward_model or str(Path(run_config.output_dir) / REWARD_MODEL)


def rewards_of(run_config: RunConfig, config: CompareConfig) -> list[str]:
    """The sources of the reward that methods optimize."""
    return [reward_model_of(run_config, config), *config.extra_rewards]


def reward_model_stage(run_config: RunConfig, config: CompareConfig) -> RecipeStage:
    """SFT model and labels -> reward_model/, with the gate's verdict."""
    labels = Path(run_config.output_dir) / LABELS
    keys: dict[str, object] = {
        "model_name_or_path": config.model_name_or_path,
        "train_data": str(labels / RANKINGS),
        "eval_data": str(labels / HELD_OUT_RANKINGS),
        "normalization_data": config.normalization_data,
        "seed": run_config.seed,
    }
    overrides = key_values("reward_model_keys", config.reward_model_keys)
    return RecipeStage(
        name=REWARD_MODEL,
        folder=Path(run_config.output_dir) / REWARD_MODEL,
        recipe="reward_model",
        config=config.reward_model_config,
        keys=_shared_keys(run_config, config) | keys | overrides,
        num_processes=processes(config),
        makes=("manifest.json", "gate.json"),
        per_device=True,
    )


def run_stage_of(
    run: Run, run_config: RunConfig, config: CompareConfig, limits: Mapping[str, object]
) -> RecipeStage:
    """The stage that trains the run's policy in its folder train/.

    limits: keys that hold it to the budget; they override the method's own.
    """
    keys = _shared_keys(run_config, config) | _data_keys(run.method, run_config, config)
    keys |= {"seed": run.seed, **run.method.keys, run.method.swept: run.value, **limits}
    nested = run.method.recipe == "rejection_sampling"  # it starts the processes of its own stages
    if nested:
        keys["num_processes"] = processes(config)
    return RecipeStage(
        name=run.name,
        folder=run.folder / TRAIN,
        recipe=run.method.recipe,
        config=run.method.config,
        keys=keys,
        num_processes=1 if nested else processes(config),
        makes=(str(policy_of(run).relative_to(run.folder / TRAIN) / "manifest.json"),),
        per_device=run.method.recipe in ("dpo", "kto", "rejection_sampling"),
    )


def policy_of(run: Run) -> Path:
    """The folder of the run's policy."""
    folder = run.folder / TRAIN
    if run.method.recipe == "rejection_sampling":
        return folder / f"round-{rounds_of(run.method)}" / "sft"
    return folder


def rounds_of(method: Method) -> int:
    """Rounds of rejection sampling."""
    settings = settings_of(method.config, method.keys)
    return int(str(settings.get("num_rounds", 1)))


def processes(config: CompareConfig) -> int:
    """Processes of each training: as many as the comparison was launched with."""
    return config.num_processes or int(os.environ.get("WORLD_SIZE", "1"))


def chat_keys(config: CompareConfig) -> dict[str, object]:
    """The chat template keys of every stage; those that are not set are left to the stage."""
    keys: dict[str, object] = {"chat_template": config.chat_template}
    if config.chat_template_kwargs is not None:
        keys["chat_template_kwargs"] = config.chat_template_kwargs
    return keys


def _shared_keys(run_config: RunConfig, config: CompareConfig) -> dict[str, object]:
    """Keys of every training."""
    keys: dict[str, object] = {
        "cpu_threads": run_config.cpu_threads,
        "report_to": run_config.report_to or None,
        "skip_plan": run_config.skip_plan or None,
        **chat_keys(config),
    }
    return keys | ({"drop_bad_rows": True} if config.drop_bad_rows else {})


def _data_keys(method: Method, run_config: RunConfig, config: CompareConfig) -> dict[str, object]:
    """The model that a method starts from, and what it learns from."""
    model: dict[str, object] = {"model_name_or_path": config.model_name_or_path}
    if method.uses_reward:
        return model | {
            "train_data": config.prompts,
            "reward": rewards_of(run_config, config),
            "normalize_reward": config.normalize_reward,
        }
    labels = Path(run_config.output_dir) / LABELS
    return model | {
        "train_data": str(labels / RANKINGS),
        "eval_data": str(labels / HELD_OUT_RANKINGS),
    }


def by_strength(runs: Sequence[Run]) -> dict[tuple[str, float], list[Run]]:
    """The runs of each method and strength, which differ by their seed."""
    groups: dict[tuple[str, float], list[Run]] = {}
    for run in runs:
        groups.setdefault((run.method.name, run.value), []).append(run)
    return groups
