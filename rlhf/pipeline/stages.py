"""The stages that are recipes, and the files and models that connect them.

Functions of stages that occur in every round take its number; `config` has the keys of that round.
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path

from rlhf.errors import TrainingError
from rlhf.evaluation.reward_model.gate import FAIL, GATE, PASS
from rlhf.pipeline.config import SAMPLED, AlignConfig, chat_keys, key_values
from rlhf.pipeline.fingerprint import settings_of
from rlhf.pipeline.recipe_stage import RecipeStage
from rlhf.pipeline.rounds import FIRST, align_folder, round_seed, stage_name
from rlhf.pipeline.rounds_config import ONE_ROUND, RoundsConfig
from rlhf.runtime.distributed import print_once
from rlhf.runtime.printing import counted
from rlhf.runtime.run_folder import RunConfig
from rlhf.training.common.config import TrainingConfig

WEIGHT = "weight"  # column of the rankings of several rounds


def sft_stage(run_config: RunConfig, config: AlignConfig) -> RecipeStage:
    """Pretrained model and demonstrations -> sft/."""
    keys = {"model_name_or_path": config.model_name_or_path, "train_data": config.demonstrations}
    return RecipeStage(
        name="sft",
        folder=Path(run_config.output_dir) / "sft",
        recipe="sft",
        config=config.sft_config,
        keys=_same_batch(
            config,
            config.sft_config,
            _common(run_config, config, FIRST) | keys | key_values("sft_keys", config.sft_keys),
        ),
        num_processes=processes(config),
        makes=("manifest.json",),
        per_device=True,
    )


def reward_model_stage(
    run_config: RunConfig,
    config: AlignConfig,
    rounds: RoundsConfig = ONE_ROUND,
    number: int = FIRST,
) -> RecipeStage:
    """SFT model and rankings of all rounds so far -> reward_model/, with the gate's verdict."""
    root = Path(run_config.output_dir)
    folder = align_folder(root, number)
    keys: dict[str, object] = {
        "model_name_or_path": str(root / "sft"),
        "train_data": str(folder / "labels" / "rankings_train.jsonl"),
        "eval_data": str(folder / "labels" / "rankings_heldout.jsonl"),
        "normalization_data": config.demonstrations,
    }
    if number > FIRST and rounds.round_decay < 1:
        keys["weight_column"] = WEIGHT
    overrides = key_values("reward_model_keys", config.reward_model_keys)
    return RecipeStage(
        name=stage_name("reward_model", number),
        folder=folder / "reward_model",
        recipe="reward_model",
        config=config.reward_model_config,
        keys=_same_batch(
            config,
            config.reward_model_config,
            _common(run_config, config, number) | keys | overrides,
        ),
        num_processes=processes(config),
        makes=("manifest.json", GATE),
        per_device=True,
    )


def pass_gate(folder: Path, config: AlignConfig) -> None:
    """Stop before PPO if the gate of the reward model fails, unless `skip_gate` is set.

    Args:
        folder: that of the round's stages.
        config: the round's keys.

    Raises:
        TrainingError: the gate's verdict is fail.
    """
    gate = json.loads((folder / "reward_model" / GATE).read_text(encoding="utf-8"))
    reasons = "; ".join(gate["reasons"])
    if gate["verdict"] == FAIL and not config.skip_gate:
        raise TrainingError(
            f"the reward model did not pass the gate: {reasons}. Collect more or cleaner labels, "
            "use a larger model, or continue with --skip_gate.",
            code="gate-failed",
        )
    if gate["verdict"] != PASS:
        print_once(f"reward model: {gate['verdict']}: {reasons}")


def ppo_stage(
    run_config: RunConfig,
    config: AlignConfig,
    rounds: RoundsConfig = ONE_ROUND,
    number: int = FIRST,
) -> RecipeStage:
    """A policy, the round's reward model and prompts -> ppo/."""
    root = Path(run_config.output_dir)
    folder = align_folder(root, number)
    from_last = rounds.start_from == "last" and number > FIRST
    policy = policy_folder(root, number - 1) if from_last else root / "sft"
    keys = {
        "model_name_or_path": str(policy),
        "train_data": config.ppo_prompts,
        "reward": [str(folder / "reward_model")],
        "push_to_hub": run_config.push_to_hub,
    }
    return RecipeStage(
        name=stage_name("ppo", number),
        folder=folder / "ppo",
        recipe="ppo",
        config=config.ppo_config,
        keys=_common(run_config, config, number) | keys | key_values("ppo_keys", config.ppo_keys),
        num_processes=processes(config),
        makes=("manifest.json",),
    )


def evaluation_stage(
    run_config: RunConfig, config: AlignConfig, number: int = FIRST
) -> RecipeStage:
    """Base, SFT and the policy of each round so far on held-out prompts -> evaluation/.

    The judges are the gold score and the reward model of this round.
    """
    root = Path(run_config.output_dir)
    folder = align_folder(root, number)
    models = {"base": config.model_name_or_path, "sft": root / "sft", **policies(root, number)}
    keys: dict[str, object] = {
        "models": [f"{name}={path}" for name, path in models.items()],
        "baseline": "sft",
        "eval_data": config.heldout_prompts,
        "reward_model": [str(folder / "reward_model")],
        "gold": config.gold,
        "axes": config.axes,
        "train_data": [config.demonstrations, _ranked(config, folder, number), config.ppo_prompts],
        "seed": run_config.seed,
        "cpu_threads": run_config.cpu_threads,
        **chat_keys(config),
        **_drop_keys(config),
    }
    return RecipeStage(
        name=stage_name("evaluation", number),
        folder=folder / "evaluation",
        recipe="evaluate",
        config=config.evaluate_config,
        keys=keys | key_values("evaluate_keys", config.evaluate_keys),
        num_processes=processes(config),
        makes=("evaluation.json",),
    )


def policy_folder(root: Path, number: int) -> Path:
    """The policy of a round."""
    return align_folder(root, number) / "ppo"


def policies(root: Path, number: int) -> dict[str, Path]:
    """The policies that the evaluation of a round compares with SFT, by name: those up to it."""
    if number == FIRST:
        return {"ppo": policy_folder(root, FIRST)}
    return {f"round-{each}": policy_folder(root, each) for each in range(FIRST, number + 1)}


def processes(config: AlignConfig) -> int:
    """Processes of each stage: `num_processes`, or as many as the pipeline was launched with.

    On a machine with fewer GPUs it is the largest number that divides `num_processes` and that has
    a GPU for each, so that a recipe for the cores of a CPU also runs on one GPU.
    """
    wanted = config.num_processes
    if not wanted:
        return int(os.environ.get("WORLD_SIZE", "1"))
    if wanted == 1:
        return 1
    import torch  # takes a second

    most = min(wanted, torch.cuda.device_count() or wanted)
    return max(number for number in range(1, most + 1) if wanted % number == 0)


def process_note(config: AlignConfig) -> list[str]:
    """A line if fewer processes run than `num_processes`, for want of GPUs."""
    number, times = processes(config), _batches_per_process(config)
    if times == 1:
        return []
    return [
        f"num_processes={config.num_processes} is more than the GPUs: stages run on "
        f"{counted(number, 'process', 'processes')}; SFT and the reward model sum up {times} times "
        "as many batches (gradient_accumulation_steps), so that their steps stay the same"
    ]


def _batches_per_process(config: AlignConfig) -> int:
    """How many of the `num_processes` batches a process has to read in a step."""
    number = processes(config)
    return (config.num_processes or number) // number


def _same_batch(
    config: AlignConfig, file: str | None, keys: Mapping[str, object]
) -> Mapping[str, object]:
    """`keys` with the batch of `num_processes` processes, on fewer of them.

    file: the stage's YAML file, which `keys` override.
    """
    if (times := _batches_per_process(config)) == 1:
        return keys
    name = "gradient_accumulation_steps"
    steps = settings_of(file, keys).get(name, TrainingConfig.gradient_accumulation_steps)
    # The recipe rejects other types.
    return {**keys, name: steps * times} if isinstance(steps, int) else keys


def _ranked(config: AlignConfig, folder: Path, number: int) -> str:
    """A file with the prompts that were ranked up to this round."""
    if number > FIRST:
        return str(folder / "labels" / "rankings_train.jsonl")
    return str(config.ranking_prompts if config.labels in SAMPLED else config.labels)


def _common(run_config: RunConfig, config: AlignConfig, number: int) -> dict[str, object]:
    """Keys of every training stage of a round."""
    return {
        "seed": round_seed(run_config.seed, number),
        "cpu_threads": run_config.cpu_threads,
        "report_to": run_config.report_to or None,
        "skip_plan": run_config.skip_plan or None,
        **chat_keys(config),
        **_drop_keys(config),
    }


def _drop_keys(config: AlignConfig) -> dict[str, bool]:
    """drop_bad_rows if it is set, else nothing: the stage's own file decides."""
    return {"drop_bad_rows": True} if config.drop_bad_rows else {}
