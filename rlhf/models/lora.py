"""Fresh LoRA adapters on a model, in peft's configuration."""

from copy import copy
from typing import Literal

from peft import LoraConfig, PeftModel, TaskType, get_peft_model
from transformers import PreTrainedModel

from rlhf.errors import ConfigError
from rlhf.models.base_path import lasting_path
from rlhf.models.config import ModelConfig
from rlhf.models.load import reason_of


def add_lora(
    model: PreTrainedModel, config: ModelConfig, task: Literal["CAUSAL_LM", "SEQ_CLS"]
) -> PeftModel:
    """`model` with fresh LoRA adapters; only these (and a reward head) are trained, in fp32.

    Raises:
        ConfigError: lora_target_modules or lora_modules_to_save name no layer of the model, or
            peft supports none.
    """
    _check_saved_modules(model, config.lora_modules_to_save)
    try:
        tied = bool(getattr(model.config.get_text_config(), "tie_word_embeddings", False))
        wrapped = get_peft_model(model, lora_config(config, task, tied=tied))
    except ValueError as error:
        if config.lora_target_modules is None:
            raise ConfigError(
                f"use_peft: LoRA finds nothing to adapt in {type(model).__name__} "
                f"({reason_of(error)}); name layers with lora_target_modules, or leave use_peft "
                "out.",
                code="unsupported",
            ) from error
        raise ConfigError(
            f"lora_target_modules={config.lora_target_modules}: {reason_of(error)}; "
            "leave the key out for every linear layer.",
            code="bad-value",
        ) from error
    for lora in wrapped.peft_config.values():
        lora.base_model_name_or_path = lasting_path(lora.base_model_name_or_path or "")
    for parameter in wrapped.parameters():
        if parameter.requires_grad:  # a reward head would keep the base's bf16
            parameter.data = parameter.data.float()
    return wrapped


def _check_saved_modules(model: PreTrainedModel, ends: list[str] | None) -> None:
    """Check that a module's name ends in each of these, as peft looks them up."""
    names = [name for name, _ in model.named_modules(remove_duplicate=False)]
    for end in ends or ():
        if not any(name.endswith(end) for name in names):
            raise ConfigError(
                f"lora_modules_to_save={ends}: {type(model).__name__} has no module {end!r}; name "
                "some of its modules, such as embed_tokens.",
                code="bad-value",
            )


def lora_config(
    config: ModelConfig, task: Literal["CAUSAL_LM", "SEQ_CLS"], *, tied: bool = False
) -> LoraConfig:
    """peft's configuration of the adapters.

    tied: whether input and output embeddings are one matrix, which stays one if it is trained.
    """
    return LoraConfig(
        task_type=TaskType[task],
        r=config.lora_r,
        lora_alpha=config.lora_alpha,
        lora_dropout=config.lora_dropout,
        use_rslora=config.use_rslora,
        use_dora=config.use_dora,
        target_modules=config.lora_target_modules or "all-linear",
        modules_to_save=copy(config.lora_modules_to_save),  # peft removes tied ones from the list
        ensure_weight_tying=tied and bool(config.lora_modules_to_save),
    )
