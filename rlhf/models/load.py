"""Load policies and reward models: folders, hub ids, LoRA adapters; dropout 0; safetensors only.

Code that comes with a model is never run (`trust_remote_code` stays off).
"""

import math
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from torch import Tensor, nn
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    PretrainedConfig,
    PreTrainedModel,
)

from rlhf.errors import CheckpointError, ConfigError
from rlhf.models.adapter_folder import (
    adapter_base,
    fit_embeddings,
    untie_what_differs,
    untrained,
    with_vocabulary,
)
from rlhf.models.base_path import as_base_of
from rlhf.models.generation_config import repair_generation_config
from rlhf.models.lineage import check_base

MAX_LINES = 3  # of a library's error that begins with an empty announcement


def load_policy(
    path: str | Path,
    *,
    dtype: torch.dtype = torch.float32,
    base: str | None = None,
) -> PreTrainedModel:
    """A causal language model with dropout 0; a LoRA folder is merged into its base.

    Args:
        path: a folder or hub id.
        dtype: type of the weights.
        base: the base of a LoRA folder, if it is not the one that its configuration names.

    Raises:
        CheckpointError: `path` does not load as a causal language model.
    """
    if adapter_base(path) is not None:
        return _load_merged_adapter(Path(path), dtype, base)
    try:
        model = AutoModelForCausalLM.from_pretrained(
            path, config=load_config(path), dtype=dtype, use_safetensors=True
        )
    except (OSError, ValueError, RuntimeError) as error:
        raise _unloadable(path, "a causal language model", error) from error
    repair_generation_config(model, str(path))
    return _without_dropout(model)


def on_device(model: PreTrainedModel, device: torch.device) -> PreTrainedModel:
    """The model in evaluation mode, moved to the device in place.

    Type checkers do not know the signatures of transformers' own `to` and `eval`.
    """
    module: nn.Module = model
    module.to(device).eval()
    return model


def load_reward_model(path: str | Path, *, dtype: torch.dtype = torch.float32) -> PreTrainedModel:
    """A trained reward model: sequence classification with one label, including its head.

    Its raw logit is that of plain transformers; `reward_scale` reads its normalisation.

    Raises:
        CheckpointError: `path` does not load, or is a language model without a reward head.
    """
    model, fresh_head = _load_classifier(path, dtype)
    if fresh_head:
        raise CheckpointError(
            f"{path} has no reward head (it is a language model, not a reward model); "
            "train one with `rlhf reward`.",
            code="not-a-model",
        )
    return model


def new_reward_model(
    path: str | Path, *, seed: int, num_heads: int = 1, dtype: torch.dtype = torch.float32
) -> PreTrainedModel:
    """A reward model to train, from a policy (fresh head) or from another reward model.

    The fresh head is drawn with std 1/√(D+1), as in Stiennon et al. 2020
    (https://arxiv.org/abs/2009.01325), from its own generator: every rank gets the same. Several
    heads are all fresh and drawn independently: the rows of `score.weight`, [heads, D].
    """
    if adapter_base(path) is not None:
        model, fresh_head = _classifier_of_policy(load_policy(path, dtype=dtype)), True
    else:
        model, fresh_head = _load_classifier(path, dtype)
    if num_heads > 1:
        head = reward_head(model)
        model.score = nn.Linear(head.in_features, num_heads, bias=False, dtype=head.weight.dtype)
    if fresh_head or num_heads > 1:
        weight: Tensor = reward_head(model).weight
        draw = torch.randn(weight.shape, generator=torch.Generator().manual_seed(seed))
        weight.data.copy_(draw / math.sqrt(weight.shape[1] + 1))
    return model


def reward_head(model: PreTrainedModel) -> nn.Linear:
    """The linear layer that maps the last hidden state to the reward.

    Raises:
        CheckpointError: the architecture has another kind of head.
    """
    head = getattr(model, "score", None)
    if not isinstance(head, nn.Linear):
        raise CheckpointError(
            f"{type(model).__name__} has no linear `score` head; use a decoder such as "
            "Llama, Qwen2, Gemma or GPT-NeoX.",
            code="unsupported",
        )
    return head


def reward_scale(model: PreTrainedModel) -> tuple[float, float]:
    """(mean, std) of the reward model's normalisation; (0, 1) where it has none."""
    config = model.config
    return getattr(config, "rlhf_reward_mean", 0.0), getattr(config, "rlhf_reward_std", 1.0)


def enable_gradient_checkpointing(model: PreTrainedModel | PeftModel) -> None:
    """Recompute activations in the backward pass. The embeddings' output then needs a gradient."""
    inner: Any = model.get_base_model() if isinstance(model, PeftModel) else model
    inner.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    if isinstance(model, PeftModel):
        inner.enable_input_require_grads()


def set_attention(model: PreTrainedModel, name: str | None) -> None:
    """Use transformers' attention of this name in `model`; None leaves it as it is.

    Raises:
        ConfigError: the model does not have it.
    """
    if name is None:
        return
    try:
        model.set_attn_implementation(name)
    except (ValueError, ImportError) as error:
        raise ConfigError(
            f"attn_implementation={name}: {reason_of(error)}; leave it out.", code="unsupported"
        ) from error


def _load_merged_adapter(folder: Path, dtype: torch.dtype, base: str | None) -> PreTrainedModel:
    base = base or adapter_base(folder) or ""
    check_base(folder, base)
    with as_base_of(folder, base):
        base_model = load_policy(base, dtype=dtype)
    check_base(folder, base)  # again: a base from the hub is on this disk only now
    try:
        fit_embeddings(base_model, folder)
        merged: PreTrainedModel = PeftModel.from_pretrained(base_model, folder).merge_and_unload()
    except (OSError, ValueError, RuntimeError) as error:
        raise _unloadable(folder, "a LoRA adapter", error) from error
    untie_what_differs(merged)
    # An adapter on top will name this folder as its base, not the model below it.
    merged.name_or_path = str(folder)
    # peft freezes the base of an adapter, and does not undo it.
    return merged.requires_grad_(True)


def _load_classifier(path: str | Path, dtype: torch.dtype) -> tuple[PreTrainedModel, bool]:
    """The classifier, and whether its head is fresh, not read from the file."""
    config = load_config(path)
    config.num_labels = 1
    try:
        model, info = AutoModelForSequenceClassification.from_pretrained(
            path, config=config, dtype=dtype, use_safetensors=True, output_loading_info=True
        )
    except (OSError, ValueError, RuntimeError) as error:
        raise _unloadable(path, "a sequence classifier", error) from error
    reward_head(model)
    return _without_dropout(model), "score.weight" in info["missing_keys"]


def _classifier_of_policy(policy: PreTrainedModel) -> PreTrainedModel:
    """A classifier on the policy's trunk, which is shared, not copied."""
    policy.config.num_labels = 1
    model = untrained(AutoModelForSequenceClassification, policy.config)
    model.name_or_path = policy.name_or_path
    setattr(model, model.base_model_prefix, policy.base_model)
    model.score.to(policy.dtype)
    return _without_dropout(model)


def load_config(path: str | Path, base: str | None = None) -> PretrainedConfig:
    """The model's configuration, with dropout 0 and no router logits; an adapter has its base's.

    base: the base of an adapter folder, if it is not the one that its configuration names.

    Raises:
        CheckpointError: `path` is not a model.
    """
    own_base = adapter_base(path)
    if own_base is not None:
        base = base or own_base
        with as_base_of(Path(path), base):
            return with_vocabulary(load_config(base), Path(path))
    try:
        config: PretrainedConfig = AutoConfig.from_pretrained(path)
    except (OSError, ValueError) as error:
        raise _unloadable(path, "a model", error) from error
    for key, value in config.to_dict().items():
        if "drop" in key and isinstance(value, float):
            setattr(config, key, 0.0)
    text = config.get_text_config()
    if getattr(text, "output_router_logits", False):
        # Each forward pass would compute the loss that balances experts, which fails with a cache.
        text.output_router_logits = False
    return config


def _without_dropout(model: PreTrainedModel) -> PreTrainedModel:
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    return model


def _unloadable(path: str | Path, expected: str, error: Exception) -> CheckpointError:
    folder = Path(path)
    if not folder.exists() and (folder.is_absolute() or str(path).count("/") != 1):
        return CheckpointError(
            f"{path}: no such folder; name a model's folder or a hub id.", code="missing-file"
        )
    return CheckpointError(
        f"{path} does not load as {expected}: {reason_of(error)}", code="not-a-model"
    )


def reason_of(error: Exception) -> str:
    """The first line of the error, and the next ones if it only announces them."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if not lines:
        return type(error).__name__
    count = 1 + lines[0].endswith(":") * MAX_LINES
    rest = "; …" if count > 1 and len(lines) > count else ""
    return " ".join(lines[:count]).rstrip(".") + rest
