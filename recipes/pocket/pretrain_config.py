"""The keys of pretrain.py, and what they make of each step: its text, its rows, its rate."""

from dataclasses import dataclass, field


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
    threads: int | None = field(
        default=None, metadata={"help": "CPU threads; default OMP_NUM_THREADS, else all cores."}
    )
    logging_steps: int = field(default=20, metadata={"help": "Steps between logged losses."})
    eval_steps: int = field(default=250, metadata={"help": "Steps between held-out losses."})
    save_steps: int = field(default=250, metadata={"help": "Steps between checkpoints."})
    resume_from_checkpoint: str | None = field(
        default=None, metadata={"help": "`latest` goes on from output_dir/checkpoint.pt."}
    )


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


def schedule(config: PretrainConfig, step: int) -> float:
    """The share of the learning rates at this step: up in a line, level, down in a line to 0."""
    left = (config.max_steps - step) / max(1.0, config.decay_fraction * config.max_steps)
    return min(1.0, (step + 1) / config.warmup_steps, left)
