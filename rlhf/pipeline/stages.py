"""The stages that are recipes, and the files and models that connect them."""

import json
import os
from pathlib import Path

from rlhf.errors import TrainingError
from rlhf.evaluation.reward_model.gate import FAIL, GATE, PASS
from rlhf.pipeline.config import SAMPLED, AlignConfig, chat_keys, key_values
from rlhf.pipeline.recipe_stage import RecipeStage
from rlhf.runtime.distributed import print_once
from rlhf.runtime.run_folder import RunConfig


def sft_stage(run_config: RunConfig, config: AlignConfig) -> RecipeStage:
    """Pretrained model and demonstrations -> sft/."""
    keys = {"model_name_or_path": config.model_name_or_path, "train_data": config.demonstrations}
    return RecipeStage(
        name="sft",
        folder=Path(run_config.output_dir) / "sft",
        recipe="sft",
        config=config.sft_config,
        keys=_common(run_config, config) | keys | key_values("sft_keys", config.sft_keys),
        num_processes=processes(config),
        makes=("manifest.json",),
        per_device=True,
    )


def reward_model_stage(run_config: RunConfig, config: AlignConfig) -> RecipeStage:
    """SFT model and rankings -> reward_model/, with the gate's verdict."""
    root = Path(run_config.output_dir)
    keys = {
        "model_name_or_path": str(root / "sft"),
        "train_data": str(root / "labels" / "rankings_train.jsonl"),
        "eval_data": str(root / "labels" / "rankings_heldout.jsonl"),
        "normalization_data": config.demonstrations,
    }
    overrides = key_values("reward_model_keys", config.reward_model_keys)
    return RecipeStage(
        name="reward_model",
        folder=root / "reward_model",
        recipe="reward_model",
        config=config.reward_model_config,
        keys=_common(run_config, config) | keys | overrides,
        num_processes=processes(config),
        makes=("manifest.json", GATE),
        per_device=True,
    )


def pass_gate(folder: Path, config: AlignConfig) -> None:
    """Stop before PPO if the gate of the reward model fails, unless `skip_gate` is set.

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


def ppo_stage(run_config: RunConfig, config: AlignConfig) -> RecipeStage:
    """SFT model, reward model and prompts -> ppo/."""
    root = Path(run_config.output_dir)
    keys = {
        "model_name_or_path": str(root / "sft"),
        "train_data": config.ppo_prompts,
        "reward": [str(root / "reward_model")],
        "push_to_hub": run_config.push_to_hub,
    }
    return RecipeStage(
        name="ppo",
        folder=root / "ppo",
        recipe="ppo",
        config=config.ppo_config,
        keys=_common(run_config, config) | keys | key_values("ppo_keys", config.ppo_keys),
        num_processes=processes(config),
        makes=("manifest.json",),
    )


def evaluation_stage(run_config: RunConfig, config: AlignConfig) -> RecipeStage:
    """Base, SFT and PPO model on held-out prompts -> evaluation/."""
    root = Path(run_config.output_dir)
    ranked = config.ranking_prompts if config.labels in SAMPLED else config.labels
    models = {"base": config.model_name_or_path, "sft": root / "sft", "ppo": root / "ppo"}
    keys: dict[str, object] = {
        "models": [f"{name}={path}" for name, path in models.items()],
        "baseline": "sft",
        "eval_data": config.heldout_prompts,
        "reward_model": [str(root / "reward_model")],
        "gold": config.gold,
        "axes": config.axes,
        "train_data": [config.demonstrations, ranked, config.ppo_prompts],
        "seed": run_config.seed,
        "cpu_threads": run_config.cpu_threads,
        **chat_keys(config),
        **_drop_keys(config),
    }
    return RecipeStage(
        name="evaluation",
        folder=root / "evaluation",
        recipe="evaluate",
        config=config.evaluate_config,
        keys=keys | key_values("evaluate_keys", config.evaluate_keys),
        num_processes=processes(config),
        makes=("evaluation.json",),
    )


def processes(config: AlignConfig) -> int:
    """Processes of each stage: as many as the pipeline was launched with."""
    return config.num_processes or int(os.environ.get("WORLD_SIZE", "1"))


def _common(run_config: RunConfig, config: AlignConfig) -> dict[str, object]:
    """Keys of every training stage."""
    return {
        "seed": run_config.seed,
        "cpu_threads": run_config.cpu_threads,
        "report_to": run_config.report_to or None,
        "skip_plan": run_config.skip_plan or None,
        **chat_keys(config),
        **_drop_keys(config),
    }


def _drop_keys(config: AlignConfig) -> dict[str, bool]:
    """drop_bad_rows if it is set, else nothing: the stage's own file decides."""
    return {"drop_bad_rows": True} if config.drop_bad_rows else {}
