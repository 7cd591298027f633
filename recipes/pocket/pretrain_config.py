"""The keys of pretrain.py, and the stage, row length and learning rate of each step."""

from dataclasses import dataclass, field


@dataclass(kw_only=True)
class PretrainConfig:
    """All keys of pretrain.py."""

    output_dir: str = field(default="runs/pretrain", metadata={"help": "Folder of the model."})
    seed: int = field(default=0, metadata={"help": "Seed of the text and of the weights."})
    vocab_size: int = field(default=1024, metadata={"help": "Entries of the tokenizer."})
    hidden_size: int = field(default=192, metadata={"help": "Width of the model."})
    intermediate_size: int = field(default=512, metadata={"help": "Width of its MLPs."})
    num_hidden_layers: int = field(default=4, metadata={"help": "Layers."})
    num_attention_heads: int = field(default=6, metadata={"help": "Attention heads."})
    row_lengths: list[int] = field(
        default_factory=lambda: [64, 128],
        metadata={"help": "Row lengths in tokens, used in turn; drills use the first."},
    )
    refrain_steps: int = field(
        default=350, metadata={"help": "Steps on repeated words, at the start."}
    )
    drill_steps: int = field(
        default=1300, metadata={"help": "Steps of reading exercises, after the refrains."}
    )
    mark_steps: int = field(
        default=2000,
        metadata={"help": "Steps at the end with half of the text marked responses."},
    )
    tokens_per_step: int = field(default=4096, metadata={"help": "Tokens per step, with padding."})
    max_steps: int = field(default=10500, metadata={"help": "Optimizer steps."})
    learning_rate: float = field(default=2e-3, metadata={"help": "Peak learning rate of AdamW."})
    warmup_steps: int = field(default=50, metadata={"help": "Steps of linear warm-up."})
    decay_fraction: float = field(
        default=0.4, metadata={"help": "Share of the steps, at the end, with decay to 0."}
    )
    max_grad_norm: float = field(default=1.0, metadata={"help": "Norm to clip gradients to."})
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
        default=None, metadata={"help": "`latest` resumes from output_dir/checkpoint.pt."}
    )


def stage_of(config: PretrainConfig, step: int) -> str:
    """The stage of this step: refrains, drills, everything, then marks."""
    if step < config.refrain_steps:
        return "refrains"
    if step < config.refrain_steps + config.drill_steps:
        return "drills"
    return "everything" if step < config.max_steps - config.mark_steps else "marks"


def row_length(config: PretrainConfig, step: int) -> int:
    """Row length of this step: the first one in refrains and drills, then all in turn."""
    lengths = config.row_lengths
    drilled = stage_of(config, step) in ("refrains", "drills")
    return lengths[0 if drilled else step % len(lengths)]


def schedule(config: PretrainConfig, step: int) -> float:
    """Factor of the learning rate at this step: linear warm-up, constant, linear decay to 0."""
    left = (config.max_steps - step) / max(1.0, config.decay_fraction * config.max_steps)
    return min(1.0, (step + 1) / config.warmup_steps, left)
