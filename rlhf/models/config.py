"""The model that a run starts from: LoRA, precision, memory."""

from dataclasses import dataclass, field
from typing import Literal

from rlhf.errors import ConfigError
from rlhf.runtime.field_types import check_field_types
from rlhf.runtime.paths import expand_home

# Keys that do nothing without use_peft, and are false or None by default.
OF_LORA = (
    *("lora_target_modules", "lora_modules_to_save", "lora_dropout"),
    *("use_rslora", "use_dora", "dtype"),
)


@dataclass(frozen=True, kw_only=True)
class BackboneConfig:
    """Keys that all three trainings share: the model, LoRA, precision, memory."""

    model_name_or_path: str = field(metadata={"help": "Model to start from: a folder or a hub id."})
    model_revision: str | None = field(
        default=None,
        metadata={"help": "Branch, tag or commit of a model on the hub. Default: its main branch."},
    )
    lora_r: int = field(default=16, metadata={"help": "Rank of the LoRA matrices."})
    lora_alpha: int = field(default=32, metadata={"help": "LoRA scale is lora_alpha / lora_r."})
    lora_target_modules: list[str] | None = field(
        default=None,
        metadata={"help": "Names of the layers that get LoRA. Default: every linear layer."},
    )
    lora_modules_to_save: list[str] | None = field(
        default=None,
        metadata={
            "help": "Modules to train fully in addition to LoRA, such as embed_tokens and lm_head "
            "if the base never learned its end token. They are saved with the adapter."
        },
    )
    use_rslora: bool = field(
        default=False,
        metadata={"help": "LoRA scale is lora_alpha / √lora_r (rank-stabilised LoRA)."},
    )
    use_dora: bool = field(
        default=False,
        metadata={
            "help": "Train the norms of weights too, apart from their directions (DoRA). Slower."
        },
    )
    dtype: Literal["float32", "bfloat16"] | None = field(
        default=None,
        metadata={
            "help": "Type of frozen weights under LoRA; trained weights are float32. Default: "
            "bfloat16 if the run computes in bf16."
        },
    )
    load_in_4bit: bool = field(
        default=False,
        metadata={
            "help": "Store the frozen linear layers under LoRA in 4 bits (QLoRA, bitsandbytes)."
        },
    )
    attn_implementation: Literal["eager", "sdpa"] | None = field(
        default=None,
        metadata={"help": "Attention of transformers. Default: sdpa where the model has it."},
    )
    bf16: bool | None = field(
        default=None,
        metadata={
            "help": "Train with bf16 autocast. Default: true on devices that are fast at it."
        },
    )
    gradient_checkpointing: bool = field(
        default=False,
        metadata={
            "help": "Recompute activations in the backward pass, which takes less memory and "
            "more time."
        },
    )

    def __post_init__(self) -> None:
        check_field_types(self)
        # The dataclass is frozen.
        object.__setattr__(self, "model_name_or_path", expand_home(self.model_name_or_path))
        for name in ("lora_r", "lora_alpha"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name}={getattr(self, name)}; use 1 or more.", code="bad-value")
        if self.dtype == "bfloat16" and self.bf16 is False:
            raise ConfigError(
                "dtype=bfloat16 with bf16=false: products with such weights are computed in bf16; "
                "leave one of them out.",
                code="key-conflict",
            )


@dataclass(frozen=True, kw_only=True)
class ModelConfig(BackboneConfig):
    """The backbone of SFT and of reward models, which train all weights or LoRA adapters."""

    use_peft: bool = field(
        default=False, metadata={"help": "Train LoRA adapters instead of every weight."}
    )
    lora_dropout: float = field(
        default=0.0,
        metadata={"help": "Share of the inputs of LoRA layers that training sets to 0."},
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.load_in_4bit and not self.use_peft:
            raise ConfigError(
                "load_in_4bit freezes the base model; add --use_peft true to train.",
                code="key-conflict",
            )
        if not 0 <= self.lora_dropout < 1:
            raise ConfigError(
                f"lora_dropout={self.lora_dropout}; use 0 to below 1.", code="bad-value"
            )
        for name in OF_LORA:
            if not self.use_peft and getattr(self, name):
                raise ConfigError(
                    f"{name} is set without use_peft; add --use_peft true.", code="key-conflict"
                )


def step_keys(config: BackboneConfig, optim: str = "adamw_torch") -> dict[str, object]:
    """Keys that change the steps of a run, for the check of a checkpoint to resume from.

    None where a key is not used, which equals its absence in checkpoints of older versions.
    """
    names = ("use_rslora", "use_dora", "dtype", "load_in_4bit", "attn_implementation")
    dropout = config.lora_dropout if isinstance(config, ModelConfig) else 0.0
    return {
        **{name: getattr(config, name) or None for name in names},
        "lora_dropout": dropout or None,
        "optim": None if optim == "adamw_torch" else optim,
    }


def use_bf16(config: BackboneConfig) -> bool:
    """Whether a run computes in bf16: the key `bf16`, else whether the device is fast at it."""
    return fast_bf16() if config.bf16 is None else config.bf16


def fast_bf16() -> bool:
    """Whether bf16 autocast is faster than fp32 on this device.

    A GPU that only emulates bf16, and a CPU without avx512_bf16 or amx_bf16, run it slower
    than fp32.
    """
    import torch  # takes a second: mistakes in the keys are reported before

    if torch.cuda.is_available():
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if torch.accelerator.is_available():
        return False
    capabilities = torch.cpu.get_capabilities()
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))
