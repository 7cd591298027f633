"""Pretrain the embedded model on text that the project's world generates.

    python recipes/pretrain.py --config recipes/pocket/pretrain.yaml

One process, a CPU or a GPU. Writes a model folder that plain `AutoModelForCausalLM` loads, with its
tokenizer, `metrics.jsonl` and `checkpoint.pt`, from which an interrupted run goes on.
"""

import json
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import torch
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from torch import Tensor
from torch.nn import functional
from torch.optim import Optimizer
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

# A script sees its own folder alone; the world is a package of the repository.
sys.path.append(str(Path(__file__).resolve().parents[1]))

from recipes.pocket.world.documents import MAKERS, documents
from rlhf.config import as_yaml, parse_config
from rlhf.errors import ConfigError, TrainingError
from rlhf.launch import SigtermFlag, Stopped, run
from rlhf.models.attention import use_fast_cpu_attention

NEWLINE = "Ċ"  # as byte-level vocabularies write it
PAD, END, ROLES = "<|pad|>", "<|end|>", ("<|user|>", "<|assistant|>", "<|system|>")
CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{% if message['role'] == 'assistant' %}"
    "{{ '<|assistant|>' }}{% generation %}{{ message['content'] + '<|end|>' }}{% endgeneration %}"
    "{% else %}{{ '<|' + message['role'] + '|>' + message['content'] + '<|end|>' }}{% endif %}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)


MeanLoss = Callable[..., Tensor]


@dataclass(kw_only=True)
class PretrainConfig:
    """Every key of pretrain.py."""

    output_dir: str = field(default="runs/pretrain", metadata={"help": "Where the model goes."})
    seed: int = field(default=0, metadata={"help": "Seed of the text and of the weights."})
    vocab_size: int = field(default=1024, metadata={"help": "Entries of the tokenizer."})
    hidden_size: int = field(default=192, metadata={"help": "Width of the model."})
    intermediate_size: int = field(default=512, metadata={"help": "Width of its MLPs."})
    num_hidden_layers: int = field(default=4, metadata={"help": "Layers."})
    num_attention_heads: int = field(default=6, metadata={"help": "Attention heads."})
    row_lengths: list[int] = field(
        default_factory=lambda: [64, 128],
        metadata={"help": "Lengths of the rows of documents, by turns; in drills the first."},
    )
    refrain_steps: int = field(
        default=350, metadata={"help": "Steps of refrains, at the beginning."}
    )
    drill_steps: int = field(
        default=1300, metadata={"help": "Steps of reading exercises, after the refrains."}
    )
    mark_steps: int = field(
        default=2000, metadata={"help": "Steps with half of the text marked answers, at the end."}
    )
    tokens_per_step: int = field(default=4096, metadata={"help": "Tokens of a step, padding too."})
    max_steps: int = field(default=10500, metadata={"help": "Optimizer steps."})
    learning_rate: float = field(default=2e-3, metadata={"help": "AdamW's peak."})
    warmup_steps: int = field(default=50, metadata={"help": "Steps of linear warm-up."})
    decay_fraction: float = field(
        default=0.4, metadata={"help": "Share of the steps, the last ones, that decay to 0."}
    )
    max_grad_norm: float = field(default=1.0, metadata={"help": "Gradients are clipped to it."})
    bf16: bool = field(default=True, metadata={"help": "bf16 autocast; the weights stay fp32."})
    compile: bool = field(
        default=False, metadata={"help": "torch.compile the loss; needs a C++ compiler on a CPU."}
    )
    threads: int = field(default=2, metadata={"help": "CPU threads."})
    logging_steps: int = field(default=20, metadata={"help": "Steps between logged losses."})
    eval_steps: int = field(default=250, metadata={"help": "Steps between held-out losses."})
    save_steps: int = field(default=250, metadata={"help": "Steps between checkpoints."})
    resume_from_checkpoint: str | None = field(
        default=None, metadata={"help": "`latest` goes on from output_dir/checkpoint.pt."}
    )


def train_tokenizer(config: PretrainConfig) -> PreTrainedTokenizerFast:
    """A byte-level BPE of the world's text; every byte is in it, so nothing is unknown.

    A space goes before every line, and off again in decoding: a word is the same token at the
    beginning of a line, of an answer and inside of a sentence, and can be looked up as such.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Prepend(" "), normalizers.Replace("\n", "\n ")]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.Sequence(
        [
            decoders.ByteLevel(),
            decoders.Replace("\n ", "\n"),
            decoders.Replace(Regex(r"(?<=\|>) "), ""),
            decoders.Strip(" ", 1, 0),
        ]
    )
    trainer = trainers.BpeTrainer(
        vocab_size=config.vocab_size,
        special_tokens=[PAD, END, *ROLES],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    stream = documents(f"{config.seed} tokenizer")
    tokenizer.train_from_iterator((next(stream) for _ in range(20_000)), trainer)
    fast = PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=tokenizer,
        pad_token=PAD,
        eos_token=END,
        additional_special_tokens=list(ROLES),
        model_max_length=512,
        clean_up_tokenization_spaces=False,
    )
    fast.chat_template = CHAT_TEMPLATE
    return fast


def stage_of(config: PretrainConfig, step: int) -> str:
    """What this step reads: refrains, then drills, then everything, at last with more marks."""
    if step < config.refrain_steps:
        return "refrains"
    if step < config.refrain_steps + config.drill_steps:
        return "drills"
    return "everything" if step < config.max_steps - config.mark_steps else "marks"


def row_length(config: PretrainConfig, step: int) -> int:
    """The length of this step's rows: in drills the first of them, then all by turns."""
    lengths = config.row_lengths
    drilled = stage_of(config, step) in ("refrains", "drills")
    return lengths[0 if drilled else step % len(lengths)]


def rows_of_documents(
    tokenizer: PreTrainedTokenizerFast, config: PretrainConfig, step: int | str, length: int
) -> Tensor:
    """int64 [B, length]: the text of one step, whole documents, an EOS after each, padded right.

    Documents longer than a row wait for a step with longer ones, those that fit share a row. B
    times `length` is `tokens_per_step`. A step's text depends on the seed and the step alone: a
    resumed run sees what the other saw.
    """
    stage = stage_of(config, step) if isinstance(step, int) else "everything"
    stream = documents(f"{config.seed} {step}", stage=stage)
    size = config.tokens_per_step // length
    rows: list[list[int]] = [[]]
    while len(rows) <= size:
        for ids in tokenizer([next(stream) for _ in range(64)])["input_ids"]:
            if len(ids) + 1 > length:
                continue
            if len(rows[-1]) + len(ids) + 1 > length:
                rows.append([])
            rows[-1] += [*ids, tokenizer.eos_token_id]
    pad = tokenizer.pad_token_id
    return torch.tensor([row + [pad] * (length - len(row)) for row in rows[:size]])


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


def next_token_losses(model: LlamaForCausalLM, ids: Tensor, *, bf16: bool) -> Tensor:
    """fp32 [B, T-1]: the cross entropy of every token but the first, in nats; 0 at padding.

    Rows are padded on the right, so that causality alone keeps padding out of what is read.
    """
    with torch.autocast(ids.device.type, torch.bfloat16, enabled=bf16):
        logits = model(input_ids=ids).logits[:, :-1]
    assert model.config.pad_token_id is not None  # build_model sets it
    flat = functional.cross_entropy(
        logits.float().flatten(0, 1),
        ids[:, 1:].flatten(),
        reduction="none",
        ignore_index=model.config.pad_token_id,
    )
    return flat.view(ids.shape[0], -1)


def mean_next_token_loss(model: LlamaForCausalLM, ids: Tensor, *, bf16: bool) -> Tensor:
    """The mean of `next_token_losses` over all tokens but padding; compiled as one function."""
    kept = torch.ne(ids[:, 1:], model.config.pad_token_id or 0).sum()
    return next_token_losses(model, ids, bf16=bf16).sum() / kept


def schedule(config: PretrainConfig, step: int) -> float:
    """The share of the learning rates at this step: up in a line, level, down in a line to 0."""
    left = (config.max_steps - step) / max(1.0, config.decay_fraction * config.max_steps)
    return min(1.0, (step + 1) / config.warmup_steps, left)


@torch.no_grad()
def answer_logprob(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, prompt: str, answers: list[str]
) -> list[float]:
    """The log-probability of each answer, its EOS included, on the line after the prompt."""
    # The newline by its id: encoded at the end of a text it would take the next line's space along.
    start = [*tokenizer(prompt)["input_ids"], tokenizer.convert_tokens_to_ids(NEWLINE)]
    sums = []
    for answer in answers:
        ids = torch.tensor([start + tokenizer(answer)["input_ids"]])
        losses = next_token_losses(model, ids.to(model.device), bf16=False)
        sums.append(-losses[0, len(start) - 1 :].sum().item())
    return sums


def preferred(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, *, items: int = 25
) -> dict[str, float]:
    """How often the model finds the right answer likelier than the wrong one, by category."""
    rng, shares = Random("held-out items"), {}
    for make in MAKERS:
        wins = 0
        for item in (make(rng) for _ in range(items)):
            right, wrong = answer_logprob(model, tokenizer, item.prompt, [item.right, item.wrong])
            wins += right > wrong
        shares[f"preferred/{make.__name__.removesuffix('_item')}"] = wins / items
    return shares


@torch.no_grad()
def evaluate(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, config: PretrainConfig
) -> dict[str, float]:
    """Loss on text that is never trained on, by row length (`eval_loss`: the longest).

    And `preferred`, by category.
    """
    rows = []
    for length in config.row_lengths:
        ids = rows_of_documents(tokenizer, config, "held-out", length).to(model.device)
        rows.append((length, mean_next_token_loss(model, ids, bf16=config.bf16).item()))
    by_length = {f"eval_loss/{length}": loss for length, loss in rows}
    return by_length | {"eval_loss": rows[-1][1]} | preferred(model, tokenizer)


def train_step(
    model: LlamaForCausalLM,
    optimizer: Optimizer,
    mean_loss: MeanLoss,
    ids: Tensor,
    config: PretrainConfig,
    step: int,
) -> dict[str, float]:
    """One optimizer step; loss, gradient norm and learning rate of it.

    Raises:
        TrainingError: the loss is not finite. The last checkpoint is left as it is.
    """
    loss = mean_loss(model, ids, bf16=config.bf16)
    if not torch.isfinite(loss):
        raise TrainingError(
            f"the loss of step {step} is {loss.item()}; lower learning_rate "
            f"(now {config.learning_rate}) and go on with --resume_from_checkpoint latest."
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
    """`checkpoint.pt`, written beside and moved over the old one: never half a file."""
    state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "step": step}
    torch.save(state, folder / "checkpoint.tmp")
    (folder / "checkpoint.tmp").replace(folder / "checkpoint.pt")


def prepare_folder(config: PretrainConfig) -> tuple[Path, dict[str, Any] | None]:
    """The output folder and the checkpoint to go on from, if one is asked for and there."""
    folder = Path(config.output_dir)
    file = folder / "checkpoint.pt"
    if config.resume_from_checkpoint not in (None, "latest"):
        file = Path(str(config.resume_from_checkpoint))
        if not file.exists():
            raise ConfigError(f"resume_from_checkpoint: there is no file {file}.")
    if config.resume_from_checkpoint is None and (folder / "metrics.jsonl").exists():
        raise ConfigError(
            f"{folder} holds a run; go on with --resume_from_checkpoint latest or name another "
            "output_dir."
        )
    folder.mkdir(parents=True, exist_ok=True)
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
    """Model and tokenizer where `from_pretrained` finds them; answers end at EOS by default."""
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def steps(config: PretrainConfig, start: int) -> Iterator[tuple[int, bool]]:
    """Each step still to do, and whether it is the last."""
    for step in range(start, config.max_steps):
        yield step, step == config.max_steps - 1


def train(config: PretrainConfig) -> None:
    """Text, step, log, held-out loss, checkpoint; the model at the end."""
    folder, state = prepare_folder(config)
    torch.set_num_threads(config.threads)
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
        row = train_step(model, optimizer, mean_loss, ids, config, step)
        if step % config.logging_steps == 0 or last:
            rate = (step + 1 - start) * ids.numel() / (time.monotonic() - began)
            tokens = (step + 1) * ids.numel()
            log(
                folder,
                {
                    "step": step + 1,
                    "tokens": tokens,
                    "row_length": length,
                    **row,
                    "tokens_per_second": rate,
                },
            )
        if (step + 1) % config.eval_steps == 0 or last:
            log(folder, {"step": step + 1, **evaluate(model, tokenizer, config)})
        if (step + 1) % config.save_steps == 0 or last or stop:
            save_checkpoint(folder, model, optimizer, step + 1)
            save_model(folder, model, tokenizer)
        if stop and not last:
            raise Stopped(f"stopped after step {step + 1}; --resume_from_checkpoint latest goes on")


def main() -> None:
    """Read the configuration and train."""
    (config,) = parse_config(PretrainConfig, description=__doc__)
    train(config)


if __name__ == "__main__":
    run(main)
