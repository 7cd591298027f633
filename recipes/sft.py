"""Supervised fine-tuning on demonstrations.

    accelerate launch --config_file accelerate_config.yaml recipes/sft.py \\
        --config recipes/pocket/sft.yaml

Rows are {"prompt", "completion"} or {"messages"}; the loss is on the answer and its end of turn.
The output folder loads with plain AutoModelForCausalLM (with use_peft it is a PEFT adapter).
"""

import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from accelerate import PartialState
from peft import PeftModel
from rich.console import Console
from rich.table import Table
from transformers import PreTrainedModel

from rlhf.config import parse_config
from rlhf.data.config import DataConfig
from rlhf.data.rows import load_demonstrations
from rlhf.data.split import split_by_prompt
from rlhf.data.tokenizer import ChatTokenizer
from rlhf.launch import quiet_logs, run, start_processes
from rlhf.manifest import DataUse, write_manifest
from rlhf.models.attention import use_fast_cpu_attention
from rlhf.models.config import ModelConfig
from rlhf.models.estimate import frozen_dtype, model_size
from rlhf.models.generate import Answer, sample_answers
from rlhf.models.load import add_lora, load_policy
from rlhf.models.positions import check_positions
from rlhf.models.save import save_policy
from rlhf.run_folder import RunConfig, claim_run_folder, open_run_folder
from rlhf.training.model_card import write_model_card
from rlhf.training.provenance import load_checked_tokenizer, stage_manifest
from rlhf.training.publish import push_to_hub
from rlhf.training.resume import resume_point
from rlhf.training.samples import write_samples
from rlhf.training.sft import SFTConfig, SFTResult, train_sft
from rlhf.types import Demonstration, Prompt

Rows = list[Demonstration]
Model = PreTrainedModel | PeftModel
SAMPLE_TEMPERATURE = 0.7


def main() -> None:
    """Check, load, answer, train, answer again, save."""
    run_config, model_config, data, config = parse_config(
        RunConfig, ModelConfig, DataConfig, SFTConfig, description=__doc__
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
    say(
        *chat.notes,
        *positions,
        f"{len(train)} demonstrations to train on, {len(held_out)} held out",
    )
    if run_config.dry_run:
        say(model_size(model_config, "CAUSAL_LM"))
        return

    configs = (run_config, model_config, data, config)
    if state.is_main_process:
        open_run_folder(*configs)
    state.wait_for_everyone()
    resume = resume_point(run_config)
    model = load_model(model_config)
    shown = pick_prompts(held_out or train, config.num_samples, run_config.seed)
    before = answer(model, chat, shown, config, run_config.seed)
    result = train_sft(
        model,
        chat,
        train,
        held_out,
        run=run_config,
        model_config=model_config,
        config=config,
        max_length=data.max_length,
        resume=resume,
    )
    after = answer(result.model, chat, shown, config, run_config.seed)
    if state.is_main_process:
        write_samples(folder, "random", shown, {"before": before, "after": after})
        save_policy(folder, result.model, chat)
        manifest = stage_manifest(
            folder,
            stage="sft",
            base_model=model_config.model_name_or_path,
            chat=chat,
            seed=run_config.seed,
            world_size=world_size,
            data=uses,
            configs=configs,
            built_on=[model_config.model_name_or_path],
        )
        write_model_card(
            folder,
            manifest,
            title=f"{folder.name}: supervised fine-tuning",
            figures=figures(result, len(held_out)),
            usage=f'AutoModelForCausalLM.from_pretrained("{folder.name}")',
        )
        write_manifest(folder, manifest)
        show(folder, result, len(held_out))
        if run_config.push_to_hub:
            say(f"uploaded to {push_to_hub(folder, run_config.push_to_hub)}")
    state.wait_for_everyone()


def load_data(
    data: DataConfig, chat: ChatTokenizer, folder: Path, seed: int
) -> tuple[Rows, Rows, list[DataUse]]:
    """Demonstrations to train on and held out (by prompt), and what the manifest says of them."""
    found = load_demonstrations(
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
    held = load_demonstrations(
        data.eval_data,
        role="eval",
        drop_bad_rows=data.drop_bad_rows,
        reject_file=folder / "rejected.jsonl",
        chat=chat,
        max_length=data.max_length,
    )
    return list(found.rows), list(held.rows), [found.use, held.use]


def load_model(config: ModelConfig) -> Model:
    """The policy to train, with fresh LoRA adapters where they were asked for."""
    model = load_policy(
        config.model_name_or_path, dtype=frozen_dtype(config), load_in_4bit=config.load_in_4bit
    )
    use_fast_cpu_attention(model)
    return add_lora(model, config, "CAUSAL_LM") if config.use_peft else model


def pick_prompts(rows: Sequence[Demonstration], count: int, seed: int) -> list[Prompt]:
    """The prompts of `count` rows at random, the same on every process."""
    picked = random.Random(seed).sample(list(rows), min(count, len(rows)))
    return [row.prompt for row in picked]


def answer(
    model: Model, chat: ChatTokenizer, prompts: Sequence[Prompt], config: SFTConfig, seed: int
) -> list[Answer]:
    """One answer to each prompt, on the main process; none on the others."""
    if not PartialState().is_main_process or not prompts:
        return []
    model.to(PartialState().device)
    answers = sample_answers(
        model,
        chat,
        prompts,
        num_responses=1,
        max_new_tokens=config.sample_max_new_tokens,
        temperature=SAMPLE_TEMPERATURE,
        seed=seed,
        batch_size=len(prompts),
    )
    return [group[0] for group in answers]


def figures(result: SFTResult, held_out: int) -> dict[str, str]:
    """The run's figures in words."""
    if result.eval_loss_before is None or result.eval_loss_after is None:
        return {"optimizer steps": str(result.steps), "held-out loss": "nothing was held out"}
    return {
        "optimizer steps": str(result.steps),
        "held-out loss before": f"{result.eval_loss_before:.3f} nats per token",
        "held-out loss after": f"{result.eval_loss_after:.3f} nats per token",
        "held-out rows": str(held_out),
    }


def show(folder: Path, result: SFTResult, held_out: int) -> None:
    """The table at the end."""
    table = Table("figure", "value", title="supervised fine-tuning")
    for name, value in figures(result, held_out).items():
        table.add_row(name, value)
    table.add_row("model", str(folder))
    table.add_row("answers before and after", str(folder / "samples" / "random.jsonl"))
    table.add_row("talk to it", f"rlhf chat {folder}")
    Console().print(table)


def say(*lines: object) -> None:
    """Print on the main process."""
    if PartialState().is_main_process:
        for line in lines:
            print(line, flush=True)


if __name__ == "__main__":
    run(main)
