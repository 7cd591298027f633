"""A reward model from people's rankings: all pairs of a prompt's answers, in one forward each.

    accelerate launch --config_file accelerate_config.yaml recipes/reward_model.py \\
        --config recipes/pocket/reward_model.yaml

Rows are {"prompt", "responses", "ranks"} or {"prompt", "chosen", "rejected"}. The output loads with
plain AutoModelForSequenceClassification(num_labels=1); (logit - mean) / std is 0 on demonstrations.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from peft import PeftModel
from transformers import PreTrainedModel

from rlhf.config import parse_config
from rlhf.data.bad_rows import REJECTS, BadRows
from rlhf.data.config import DataConfig
from rlhf.data.held_out import TrainAndHeldOut, load_train_and_held_out
from rlhf.data.rows import load_demonstrations, load_rankings
from rlhf.data.tokenizer import ChatTokenizer
from rlhf.errors import ConfigError
from rlhf.launch import is_main_process, on_main_process, run, say
from rlhf.manifest import DataUse
from rlhf.models.attention import use_fast_cpu_attention
from rlhf.models.config import ModelConfig
from rlhf.models.estimate import frozen_dtype, model_size
from rlhf.models.load import add_lora, enable_gradient_checkpointing, new_reward_model
from rlhf.models.positions import beyond_training
from rlhf.models.save import merge_reward_model, save_reward_model
from rlhf.models.scorer import Scorer
from rlhf.models.seam import load_checked_tokenizer
from rlhf.report.write import write_report
from rlhf.run_folder import RunConfig, begin_run, open_run_folder
from rlhf.training.provenance import stage_manifest
from rlhf.training.publish import publish
from rlhf.training.resume import resume_point
from rlhf.training.reward_config import RewardModelConfig
from rlhf.training.reward_health import Health, Normalization, measure, normalization, tokenize
from rlhf.training.reward_model import train_reward_model
from rlhf.training.reward_samples import write_ranked_samples
from rlhf.types import Demonstration, Ranking

NOT_NORMALIZED = Normalization(mean=0.0, std=1.0, rows=0, above_shuffled=float("nan"))


@dataclass(frozen=True, kw_only=True)
class Setup:
    """What is settled before a weight is loaded."""

    run: RunConfig
    model: ModelConfig
    data: DataConfig
    config: RewardModelConfig
    world_size: int
    chat: ChatTokenizer
    rows: TrainAndHeldOut[Ranking]
    demonstrations: Sequence[Demonstration]  # on which the reward's mean becomes 0; may be none
    uses: Sequence[DataUse]  # of rankings and demonstrations

    @property
    def configs(self) -> tuple[RunConfig, ModelConfig, DataConfig, RewardModelConfig]:
        """Everything that was set."""
        return self.run, self.model, self.data, self.config


@dataclass(frozen=True, kw_only=True)
class Trained:
    """The model, how good it is on held-out rankings, where its zero lies."""

    scorer: Scorer
    model: PreTrainedModel  # the scorer's, with LoRA merged
    steps: int
    health: Health | None  # None: nothing was held out
    scale: Normalization


def main() -> None:
    """Check, train and measure, save."""
    setup = check()
    rows = setup.rows
    say(*setup.chat.notes)
    say(*beyond_training(setup.model.model_name_or_path, setup.data.max_length))
    say(f"{len(rows.train)} rankings to train on, {len(rows.held_out)} held out by prompt")
    if not setup.demonstrations:
        say("warning: no normalization_data; the reward keeps mean 0 and std 1 as they come")
    if setup.run.dry_run:
        say(model_size(setup.model, "SEQ_CLS"))
        return
    on_main_process(lambda: open_run_folder(*setup.configs))
    trained = train(setup)
    on_main_process(lambda: save(setup, trained))


def check() -> Setup:
    """Keys, folder, tokenizer, then every row: what is wrong is said before a weight is loaded."""
    run_config, model, data, config = parse_config(
        RunConfig, ModelConfig, DataConfig, RewardModelConfig, description=__doc__
    )
    refuse_4bit(model)
    world_size = begin_run(run_config)
    chat, _ = load_checked_tokenizer(model.model_name_or_path, data.chat_template, judges=True)
    rejects = Path(run_config.output_dir) / REJECTS
    with BadRows(drop=data.drop_bad_rows, reject_file=rejects) as bad_rows:
        rows = load_train_and_held_out(load_rankings, data, chat, bad_rows, seed=run_config.seed)
        demonstrations, uses = load_normalization(config, data, chat, bad_rows)
    return Setup(
        run=run_config,
        model=model,
        data=data,
        config=config,
        world_size=world_size,
        chat=chat,
        rows=rows,
        demonstrations=demonstrations,
        uses=[*rows.uses, *uses],
    )


def refuse_4bit(model: ModelConfig) -> None:
    """4 bits and what is saved at the end do not go together."""
    if model.load_in_4bit:
        raise ConfigError(
            "load_in_4bit: a reward model is saved merged, and 4-bit weights do not merge exactly; "
            "use --use_peft true --bf16 true instead."
        )


def load_normalization(
    config: RewardModelConfig, data: DataConfig, chat: ChatTokenizer, bad_rows: BadRows
) -> tuple[Sequence[Demonstration], list[DataUse]]:
    """The demonstrations on which the reward's mean becomes 0; none where none are named."""
    if config.normalization_data is None:
        return [], []
    found = load_demonstrations(
        config.normalization_data,
        role="normalization",
        chat=chat,
        max_length=data.max_length,
        bad_rows=bad_rows,
    )
    return found.rows, [found.use]


def train(setup: Setup) -> Trained:
    """Train, measure on held-out rankings, normalise on demonstrations."""
    chat, seed = setup.chat, setup.run.seed
    held_out = tokenize(chat, setup.rows.held_out)
    resume = resume_point(setup.run)
    model = load_model(setup.model, chat, seed)
    steps = train_reward_model(
        model,
        tokenize(chat, setup.rows.train),
        held_out,
        run=setup.run,
        model_config=setup.model,
        config=setup.config,
        pad_token_id=chat.pad_token_id,
        data_sha256=setup.uses[0].sha256,
        resume=resume,
    )
    final = merged(model, Path(setup.run.output_dir))
    scorer = Scorer(final, bf16=False)
    health = measure(scorer, held_out, chat.pad_token_id) if held_out else None
    scale = NOT_NORMALIZED
    if setup.demonstrations:
        scale = normalization(scorer, chat, setup.demonstrations, seed=seed)
    return Trained(scorer=scorer, model=final, steps=steps, health=health, scale=scale)


def load_model(config: ModelConfig, chat: ChatTokenizer, seed: int) -> PreTrainedModel | PeftModel:
    """The reward model to train, with LoRA and gradient checkpointing where asked for."""
    base = new_reward_model(config.model_name_or_path, seed=seed, dtype=frozen_dtype(config))
    use_fast_cpu_attention(base)
    torch.manual_seed(seed)  # LoRA's first matrices are drawn at random
    model = add_lora(base, config, "SEQ_CLS") if config.use_peft else base
    if config.gradient_checkpointing:
        enable_gradient_checkpointing(model)
    return model


def merged(model: PreTrainedModel | PeftModel, folder: Path) -> PreTrainedModel:
    """The model itself, or with its LoRA adapter merged; the adapter goes to `folder/adapter`."""
    if isinstance(model, PeftModel):
        return merge_reward_model(model, folder / "adapter" if is_main_process() else None)
    return model


def save(setup: Setup, trained: Trained) -> None:
    """Model, samples, card and manifest."""
    folder, base = Path(setup.run.output_dir), setup.model.model_name_or_path
    scale, seed = trained.scale, setup.run.seed
    save_reward_model(folder, trained.model, setup.chat, scale.mean, scale.std)
    write_ranked_samples(
        folder,
        trained.scorer,
        setup.chat,
        setup.rows.held_out,
        scale,
        count=setup.config.num_samples,
        seed=seed,
    )
    manifest = stage_manifest(
        folder,
        stage="reward_model",
        base_model=base,
        chat=setup.chat,
        seed=seed,
        world_size=setup.world_size,
        data=setup.uses,
        configs=setup.configs,
        built_on=[base],
        reward_mean=scale.mean,
        reward_std=scale.std,
    )
    publish(
        folder,
        manifest,
        title="reward model",
        figures=figures(trained.steps, trained.health, scale),
        loads_with="AutoModelForSequenceClassification",
        places={
            "held-out rankings with rewards": folder / "samples",
            "use it": f"recipes/ppo.py --reward {folder}",
        },
        hub_id=setup.run.push_to_hub,
    )
    say(f"report: {write_report(folder)}")


def figures(steps: int, health: Health | None, scale: Normalization) -> dict[str, str]:
    """The run's figures in words."""
    lines = {"optimizer steps": str(steps)}
    if health is not None:
        interval = f"{health.low:.3f} to {health.high:.3f}"
        lines["held-out accuracy"] = f"{health.accuracy:.3f} ({interval}, {health.pairs} pairs)"
        interval = f"{health.longer_low:.3f} to {health.longer_high:.3f}"
        lines["the longer answer wins"] = f"{health.longer_wins:.3f} ({interval}, the same pairs)"
        lines["held-out loss"] = f"{health.loss:.4f} (a coin: 0.6931)"
    if scale.rows:
        lines["raw reward of demonstrations"] = f"{scale.mean:.3f} ± {scale.std:.3f}, now 0 ± 1"
        lines["demonstrations above their shuffled words"] = f"{scale.above_shuffled:.3f}"
    return lines


if __name__ == "__main__":
    run(main)
