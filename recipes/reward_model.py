"""A reward model from people's rankings: all pairs of a prompt's answers, in one forward each.

    accelerate launch --config_file accelerate_config.yaml recipes/reward_model.py \\
        --config recipes/pocket/reward_model.yaml

Rows are {"prompt", "responses", "ranks"} or {"prompt", "chosen", "rejected"}. The output loads with
plain AutoModelForSequenceClassification(num_labels=1); (logit - mean) / std is 0 on demonstrations.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from accelerate import PartialState
from peft import PeftModel
from rich.console import Console
from rich.table import Table
from transformers import PreTrainedModel

from rlhf.config import parse_config
from rlhf.data.config import DataConfig
from rlhf.data.rows import load_demonstrations, load_rankings
from rlhf.data.split import split_by_prompt
from rlhf.data.tokenizer import ChatTokenizer
from rlhf.errors import ConfigError
from rlhf.launch import quiet_logs, run, start_processes
from rlhf.manifest import DataUse, write_manifest
from rlhf.models.attention import use_fast_cpu_attention
from rlhf.models.config import ModelConfig
from rlhf.models.estimate import frozen_dtype, model_size
from rlhf.models.load import add_lora, enable_gradient_checkpointing, new_reward_model
from rlhf.models.positions import check_positions
from rlhf.models.save import merge_reward_model, save_reward_model
from rlhf.models.scorer import Scorer
from rlhf.run_folder import RunConfig, claim_run_folder, open_run_folder
from rlhf.training.model_card import write_model_card
from rlhf.training.provenance import load_checked_tokenizer, stage_manifest
from rlhf.training.publish import push_to_hub
from rlhf.training.resume import resume_point
from rlhf.training.reward_health import Health, Normalization, measure, normalization, tokenize
from rlhf.training.reward_model import RewardModelConfig, train_reward_model
from rlhf.training.reward_samples import write_ranked_samples
from rlhf.types import Demonstration, Ranking

NOT_NORMALIZED = Normalization(mean=0.0, std=1.0, rows=0, above_shuffled=float("nan"))


def main() -> None:
    """Check, load, train, measure, normalise, save."""
    run_config, model_config, data, config = parse_config(
        RunConfig, ModelConfig, DataConfig, RewardModelConfig, description=__doc__
    )
    if model_config.load_in_4bit:
        raise ConfigError(
            "load_in_4bit: a reward model is saved merged, and 4-bit weights do not merge exactly; "
            "use --use_peft true --bf16 true instead."
        )
    world_size = start_processes(run_config.cpu_threads)
    quiet_logs()
    state = PartialState()
    folder = Path(run_config.output_dir)
    if state.is_main_process:
        claim_run_folder(run_config)
    state.wait_for_everyone()

    chat, _ = load_checked_tokenizer(model_config.model_name_or_path, data.chat_template)
    positions = check_positions(model_config.model_name_or_path, data.max_length)
    train, held_out, uses = load_data(data, chat, folder, run_config.seed)
    demonstrations, demonstration_uses = load_normalization(config, data, chat, folder)
    say(*chat.notes, *positions)
    say(f"{len(train)} rankings to train on, {len(held_out)} held out by prompt")
    if not demonstrations:
        say("warning: no normalization_data; the reward keeps mean 0 and std 1 as they come")
    if run_config.dry_run:
        say(model_size(model_config, "SEQ_CLS"))
        return

    configs = (run_config, model_config, data, config)
    if state.is_main_process:
        open_run_folder(*configs)
    state.wait_for_everyone()
    resume = resume_point(run_config)
    model = load_model(model_config, chat, run_config.seed)
    tokenized = tokenize(chat, held_out)
    steps = train_reward_model(
        model,
        tokenize(chat, train),
        tokenized,
        run=run_config,
        model_config=model_config,
        config=config,
        pad_token_id=chat.pad_token_id,
        data_sha256=uses[0].sha256,
        resume=resume,
    )
    if isinstance(model, PeftModel):
        final = merge_reward_model(model, folder / "adapter" if state.is_main_process else None)
    else:
        final = model
    scorer = Scorer(final, bf16=False)
    health = measure(scorer, tokenized, chat.pad_token_id) if tokenized else None
    scale = NOT_NORMALIZED
    if demonstrations:
        scale = normalization(scorer, chat, demonstrations, seed=run_config.seed)
    if state.is_main_process:
        save_reward_model(folder, final, chat, scale.mean, scale.std)
        write_ranked_samples(
            folder, scorer, chat, held_out, scale, count=config.num_samples, seed=run_config.seed
        )
        manifest = stage_manifest(
            folder,
            stage="reward_model",
            base_model=model_config.model_name_or_path,
            chat=chat,
            seed=run_config.seed,
            world_size=world_size,
            data=[*uses, *demonstration_uses],
            configs=configs,
            built_on=[model_config.model_name_or_path],
            reward_mean=scale.mean,
            reward_std=scale.std,
        )
        lines = figures(steps, health, scale)
        write_model_card(
            folder,
            manifest,
            title=f"{folder.name}: reward model",
            figures=lines,
            usage=f'AutoModelForSequenceClassification.from_pretrained("{folder.name}")',
        )
        write_manifest(folder, manifest)
        show(folder, lines)
        if run_config.push_to_hub:
            say(f"uploaded to {push_to_hub(folder, run_config.push_to_hub)}")
    state.wait_for_everyone()


def load_data(
    data: DataConfig, chat: ChatTokenizer, folder: Path, seed: int
) -> tuple[list[Ranking], list[Ranking], list[DataUse]]:
    """Rankings to train on and held out (by prompt), and what the manifest says of them."""
    found = load_rankings(
        data.train_data,
        drop_bad_rows=data.drop_bad_rows,
        reject_file=folder / "rejected.jsonl",
        chat=chat,
        max_length=data.max_length,
    )
    if data.eval_data is None:
        train, held_out = split_by_prompt(found.rows, data.eval_fraction, seed)
        held_use = replace(found.use, role="eval", rows=len(held_out), dropped=0)
        uses = [replace(found.use, rows=len(train)), *([held_use] if held_out else [])]
        return train, held_out, uses
    held = load_rankings(
        data.eval_data,
        role="eval",
        drop_bad_rows=data.drop_bad_rows,
        reject_file=folder / "rejected.jsonl",
        chat=chat,
        max_length=data.max_length,
    )
    return list(found.rows), list(held.rows), [found.use, held.use]


def load_normalization(
    config: RewardModelConfig, data: DataConfig, chat: ChatTokenizer, folder: Path
) -> tuple[Sequence[Demonstration], list[DataUse]]:
    """The demonstrations on which the reward's mean becomes 0; none where none are named."""
    if config.normalization_data is None:
        return [], []
    found = load_demonstrations(
        config.normalization_data,
        role="normalization",
        drop_bad_rows=data.drop_bad_rows,
        reject_file=folder / "rejected.jsonl",
        chat=chat,
        max_length=data.max_length,
    )
    return found.rows, [found.use]


def load_model(config: ModelConfig, chat: ChatTokenizer, seed: int) -> PreTrainedModel | PeftModel:
    """The reward model to train, with LoRA and gradient checkpointing where asked for."""
    base = new_reward_model(config.model_name_or_path, seed=seed, dtype=frozen_dtype(config))
    use_fast_cpu_attention(base)
    torch.manual_seed(seed)  # LoRA's first matrices are drawn at random
    model = add_lora(base, config, "SEQ_CLS") if config.use_peft else base
    if config.gradient_checkpointing:
        enable_gradient_checkpointing(model)
    return model


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


def show(folder: Path, lines: dict[str, str]) -> None:
    """The table at the end."""
    table = Table("figure", "value", title="reward model")
    for name, value in lines.items():
        table.add_row(name, value)
    table.add_row("model", str(folder))
    table.add_row("held-out rankings with rewards", str(folder / "samples"))
    table.add_row("use it", f"recipes/ppo.py --reward {folder}")
    Console().print(table)


def say(*lines: object) -> None:
    """Print on the main process."""
    if PartialState().is_main_process:
        for line in lines:
            print(line, flush=True)


if __name__ == "__main__":
    run(main)
