"""Policy, critic, reward model and reference on one frozen backbone with LoRA adapters."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel, set_peft_model_state_dict
from safetensors.torch import load_file
from torch import Tensor, nn

from rlhf.models.adapter_folder import ADAPTER_WEIGHTS
from rlhf.models.config import ModelConfig, use_bf16
from rlhf.models.critic import values_of_states
from rlhf.models.four_bit import quantise
from rlhf.models.load import load_policy
from rlhf.models.lora import add_lora, lora_config
from rlhf.models.protocols import Trunk
from rlhf.models.save import inner_model
from rlhf.models.sequences import Sequences

POLICY, CRITIC = "default", "critic"  # peft saves an adapter named `default` at a folder's root


class AdapterCritic(nn.Module):
    """V of the prefix before each response token, through the backbone's critic adapter."""

    def __init__(self, model: PeftModel, head: nn.Linear) -> None:
        super().__init__()
        self.model = model
        self.head = head

    def forward(self, sequences: Sequences) -> Tensor:
        """Values, float32 [B, R], 0 on padding."""
        hidden = states_through(
            self.model, CRITIC, sequences.ids, sequences.position_ids, sequences.cells
        )
        return values_of_states(self.head, sequences.at_responses(hidden), sequences)


def policy_with_adapters(
    path: str | Path, config: ModelConfig, *, critic: bool, checkpoint: Path | None, seed: int
) -> PeftModel:
    """The frozen model at `path` with an adapter for the policy and one for a critic.

    The policy's adapter is active. Fresh adapters do not change the model yet, and are the same on
    every process. Modules that are trained in full are the policy's; a critic reads the frozen
    ones.

    Args:
        path: a folder or hub id.
        config: the keys of LoRA.
        critic: whether to add an adapter for a critic.
        checkpoint: a folder to read the policy's adapter from; None for a fresh one.
        seed: draws fresh adapters.
    """
    base = load_policy(path)
    if config.load_in_4bit:
        quantise(base, bf16=use_bf16(config), kept=config.lora_modules_to_save)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = add_lora(base, config, "CAUSAL_LM")
        if critic:
            model.add_adapter(CRITIC, _critic_config(config))
    if checkpoint is not None:
        weights = load_file(checkpoint / ADAPTER_WEIGHTS)
        set_peft_model_state_dict(model, weights, adapter_name=POLICY)
    for module in model.modules():
        if isinstance(module, nn.Embedding):
            module.padding_idx = None  # its token, which a policy can sample, gets a gradient
    for name, parameter in model.named_parameters():
        # peft freezes an adapter that is added later
        parameter.requires_grad = ".lora_" in name or ".modules_to_save." in name
        if parameter.requires_grad:
            parameter.data = parameter.data.float()
    return model


def _critic_config(config: ModelConfig) -> LoraConfig:
    """The adapter of a critic: no modules in full, and no layers inside those of the policy."""
    critic = lora_config(replace(config, lora_modules_to_save=None), "CAUSAL_LM")
    if config.lora_modules_to_save:
        critic.exclude_modules = r".*\.(original_module|modules_to_save)(\..*)?"
    return critic


def add_frozen_adapter(model: PeftModel, name: str, folder: Path) -> None:
    """Read the LoRA weights in `folder` into a further, frozen adapter.

    The head of a reward model's adapter is left out.
    """
    config: Any = LoraConfig.from_pretrained(str(folder))
    config.modules_to_save, config.task_type = None, "CAUSAL_LM"
    config.lora_dropout = 0.0  # of its training; nothing may be dropped from what it reads
    model.add_adapter(name, config)
    tensors = load_file(folder / ADAPTER_WEIGHTS)
    weights = {key: tensor for key, tensor in tensors.items() if ".lora_" in key}
    set_peft_model_state_dict(model, weights, adapter_name=name)
    for parameter in parameters_of(model, name):
        parameter.requires_grad = False


def states_through(
    model: PeftModel,
    name: str,
    input_ids: Tensor,
    position_ids: Tensor | None = None,
    attention_mask: Tensor | None = None,
) -> Tensor:
    """Last hidden states [B, T, D] of input_ids [B, T], with the adapter `name`.

    Args:
        model: the backbone with its adapters.
        name: the adapter to use.
        input_ids: long [B, T].
        position_ids: long [1, T], of packed rows.
        attention_mask: of packed rows, see `Sequences.cells`.
    """
    trunk: Trunk = inner_model(model).base_model
    inputs = {"position_ids": position_ids, "attention_mask": attention_mask}
    with using_adapter(model, name):
        states: Tensor = trunk(input_ids, **inputs, use_cache=False).last_hidden_state
    return states


def parameters_of(model: PeftModel, adapter: str) -> list[nn.Parameter]:
    """The weights of one adapter."""
    return [p for name, p in model.named_parameters() if f".{adapter}." in name]


@contextmanager
def using_adapter(model: PeftModel, name: str) -> Iterator[None]:
    """Activate another adapter inside `with`; trained parameters stay trainable."""
    trained, before = _trained(model), model.active_adapter
    model.set_adapter(name)
    try:
        yield
    finally:
        model.set_adapter(before)
        _train(trained)


@contextmanager
def without_adapters(model: PeftModel) -> Iterator[PeftModel]:
    """The backbone without adapters, which is the reference; trained parameters stay trainable."""
    trained = _trained(model)
    try:
        with model.disable_adapter():
            yield model
    finally:
        _train(trained)


def _trained(model: PeftModel) -> list[nn.Parameter]:
    return [p for p in model.parameters() if p.requires_grad]


def _train(parameters: list[nn.Parameter]) -> None:
    # set_adapter freezes every other adapter, and so does leaving disable_adapter: a critic that is
    # frozen this way would silently stop training.
    for parameter in parameters:
        parameter.requires_grad = True
