"""Pretrain the bundled model on text that the project's world generates.

    python recipes/pretrain.py --config recipes/pocket/pretrain.yaml

It runs on one process, on a CPU or a GPU. It writes a model folder that plain AutoModelForCausalLM
loads, with tokenizer, metrics.jsonl and checkpoint.pt, from which an interrupted run resumes.
"""

import json
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

# Before torch, which reads the OpenMP settings of rlhf on import.
from rlhf.runtime.entrypoint import run  # isort: split

from rlhf.runtime.signals import SigtermFlag, Stopped  # isort: split

import torch
from torch import Tensor
from torch.optim import Optimizer
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

# A script has only its own folder on the path; recipes.pocket is below the parent folder.
sys.path.append(str(Path(__file__).resolve().parents[1]))

from recipes.pocket.pretrain_config import PretrainConfig, row_length, schedule
from recipes.pocket.pretrain_loss import mean_next_token_loss, preference_metrics
from recipes.pocket.pretrain_text import rows_of_documents, train_tokenizer
from rlhf.errors import ConfigError, TrainingError
from rlhf.models.cpu_kernels.attention import use_fast_cpu_attention
from rlhf.runtime.config import as_yaml, parse_config
from rlhf.runtime.disk import writes_to
from rlhf.runtime.paths import make_folder
from rlhf.runtime.run_lock import hold
from rlhf.runtime.threads import choose_threads

MeanLoss = Callable[..., Tensor]


def build_model(tokenizer: PreTrainedTokenizerFast, config: PretrainConfig) -> LlamaForCausalLM:
    """A Llama of the configured size, embeddings tied, with the tokenizer's ids."""
    torch.manual_seed(config.seed)
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=config.hidden_size,
            intermediate_size=config.intermediate_size,
            num_hidden_layers=config.num_hidden_layers,
            num_attention_heads=config.num_attention_heads,
            max_position_embeddings=512,
            tie_word_embeddings=True,
            pad_token_id=tokenizer.pad_token_id,
            eos_token_id=tokenizer.eos_token_id,
            bos_token_id=None,
        )
    )


@torch.no_grad()
def evaluate(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, config: PretrainConfig
) -> dict[str, float]:
    """Held-out loss by row length (`eval_loss`: the longest), and the preference metrics."""
    rows = []
    for length in config.row_lengths:
        ids = rows_of_documents(tokenizer, config, "held-out", length).to(model.device)
        rows.append((length, mean_next_token_loss(model, ids, bf16=config.bf16).item()))
    by_length = {f"eval_loss/{length}": loss for length, loss in rows}
    return by_length | {"eval_loss": rows[-1][1]} | preference_metrics(model, tokenizer)


def train_step(
    model: LlamaForCausalLM,
    optimizer: Optimizer,
    mean_loss: MeanLoss,
    ids: Tensor,
    config: PretrainConfig,
    step: int,
) -> dict[str, float]:
    """Take one optimizer step; return its loss, gradient norm and learning rate.

    Raises:
        TrainingError: the loss is not finite. The last checkpoint stays intact.
    """
    loss = mean_loss(model, ids, bf16=config.bf16)
    if not torch.isfinite(loss):
        raise TrainingError(
            f"the loss of step {step} is {loss.item()}; lower learning_rate "
            f"(now {config.learning_rate}) and resume with --resume_from_checkpoint latest.",
            code="non-finite",
        )
    loss.backward()  # type: ignore[no-untyped-call]
    norm = torch.nn.utils.clip_grad_norm_(model.parameters(), config.max_grad_norm)
    rate = config.learning_rate * schedule(config, step)
    for group in optimizer.param_groups:
        group["lr"] = rate
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return {"loss": loss.item(), "grad_norm": norm.item(), "learning_rate": rate}


def save_checkpoint(folder: Path, model: LlamaForCausalLM, optimizer: Optimizer, step: int) -> None:
    """Write `checkpoint.pt` to a temporary file and rename it, so that it is never incomplete."""
    state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "step": step}
    torch.save(state, folder / "checkpoint.tmp")
    (folder / "checkpoint.tmp").replace(folder / "checkpoint.pt")


def prepare_folder(config: PretrainConfig) -> tuple[Path, dict[str, Any] | None]:
    """The output folder, and the checkpoint to resume from, if one is requested and exists."""
    folder = Path(config.output_dir)
    writes_to(folder)
    make_folder(folder)
    hold(folder)
    file = folder / "checkpoint.pt"
    if config.resume_from_checkpoint not in (None, "latest"):
        file = Path(str(config.resume_from_checkpoint))
        if not file.exists():
            raise ConfigError(
                f"resume_from_checkpoint: there is no file {file}.", code="no-checkpoint"
            )
    if config.resume_from_checkpoint is None and (folder / "metrics.jsonl").exists():
        raise ConfigError(
            f"output_dir {folder} already holds a run; resume it with --resume_from_checkpoint "
            "latest or name another folder.",
            code="run-exists",
        )
    (folder / "config.yaml").write_text(as_yaml(config), encoding="utf-8")
    if config.resume_from_checkpoint and file.exists():
        return folder, torch.load(file, weights_only=True)
    return folder, None


def log(folder: Path, row: dict[str, float]) -> None:
    """Append the row to metrics.jsonl and print it."""
    with (folder / "metrics.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps(row) + "\n")
    print(" ".join(f"{key}={value:.4g}" for key, value in row.items()), flush=True)


def save_model(folder: Path, model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast) -> None:
    """Save model and tokenizer for `from_pretrained`; generation stops at EOS by default."""
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def steps(config: PretrainConfig, start: int) -> Iterator[tuple[int, bool]]:
    """Each remaining step, and whether it is the last."""
    for step in range(start, config.max_steps):
        yield step, step == config.max_steps - 1


def train(config: PretrainConfig) -> None:
    """Train from text to the final model, with logs, held-out loss and checkpoints."""
    folder, state = prepare_folder(config)
    choose_threads(config.threads, processes=1)
    stop = SigtermFlag()
    tokenizer = (
        PreTrainedTokenizerFast.from_pretrained(folder) if state else train_tokenizer(config)
    )
    device = torch.accelerator.current_accelerator() or torch.device("cpu")
    model = build_model(tokenizer, config)
    model.to(device)  # type: ignore[arg-type]
    use_fast_cpu_attention(model)
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=config.learning_rate, betas=(0.9, 0.98), weight_decay=0.0
    )
    mean_loss: MeanLoss = mean_next_token_loss
    if config.compile:
        mean_loss = torch.compile(mean_next_token_loss, dynamic=False)
    start = 0
    if state:
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        start = state["step"]
    began = time.monotonic()
    for step, last in steps(config, start):
        length = row_length(config, step)
        ids = rows_of_documents(tokenizer, config, step, length).to(device)
        metrics = train_step(model, optimizer, mean_loss, ids, config, step)
        if step % config.logging_steps == 0 or last:
            rate = (step + 1 - start) * ids.numel() / (time.monotonic() - began)
            done = {"step": step + 1, "tokens": (step + 1) * ids.numel(), "row_length": length}
            log(folder, {**done, **metrics, "tokens_per_second": rate})
        if (step + 1) % config.eval_steps == 0 or last:
            log(folder, {"step": step + 1, **evaluate(model, tokenizer, config)})
        if (step + 1) % config.save_steps == 0 or last or stop:
            save_checkpoint(folder, model, optimizer, step + 1)
            save_model(folder, model, tokenizer)
        if stop and not last:
            raise Stopped(
                f"stopped after step {step + 1}; resume with --resume_from_checkpoint latest"
            )


def main() -> None:
    """Parse the configuration and train."""
    (config,) = parse_config(PretrainConfig, description=__doc__)
    train(config)


if __name__ == "__main__":
    run(main)
