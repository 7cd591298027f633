"""Counted activations, compared with the tensors that autograd saves."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from rlhf.models.config import ModelConfig
from rlhf.models.cpu_kernels.attention import use_fast_cpu_attention
from rlhf.models.cpu_kernels.lora import use_fast_cpu_lora
from rlhf.models.cpu_kernels.norm import use_fast_cpu_norms
from rlhf.models.load import enable_gradient_checkpointing
from rlhf.models.lora import add_lora
from rlhf.planning.activations import Numerics, layer_bytes, saved_bytes
from tests.planning.shapes import SMALL, model_of

ROWS, LENGTH = 4, 64


def saved_by(model: nn.Module, call: Callable[[], Tensor]) -> int:
    """Bytes that a forward pass saves, each storage once, without parameters and their copies."""
    weights = {p.data_ptr() for p in model.parameters()}
    shapes = {tuple(p.shape) for p in model.parameters() if p.ndim == 2}
    shapes |= {shape[::-1] for shape in shapes}
    storages: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        is_weight = tensor.data_ptr() in weights or tuple(tensor.shape) in shapes
        if tensor.is_floating_point() and not is_weight:
            storage = tensor.untyped_storage()
            storages[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        output = call()
    held = sum(storages.values())
    assert output.requires_grad
    return held


def trunk_pass(model, *, bf16):
    ids = torch.arange(ROWS * LENGTH).view(ROWS, LENGTH) % SMALL.vocab_size

    def call() -> Tensor:
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            inner = model.base_model.model if hasattr(model, "peft_config") else model
            return inner.base_model(input_ids=ids, use_cache=False).last_hidden_state

    return call


@pytest.mark.parametrize("bf16", [True, False])
@pytest.mark.parametrize("fast_layers", [True, False])
@pytest.mark.parametrize("adapters", [True, False])
def test_saved_bytes_are_those_that_autograd_saves(bf16, fast_layers, adapters):
    """A tenth is left for what the count leaves out: rotations, scales, LoRA's small products."""
    model = model_of(SMALL)
    use_fast_cpu_attention(model)
    if fast_layers:
        use_fast_cpu_norms(model)
    if adapters:
        model = add_lora(
            model, ModelConfig(model_name_or_path="x", use_peft=True, lora_r=2), "CAUSAL_LM"
        )
    if adapters and fast_layers:
        use_fast_cpu_lora(model)
    how = Numerics(
        on_gpu=False, bf16=bf16, row_length=LENGTH, adapters=adapters, fast_layers=fast_layers
    )
    planned = saved_bytes(SMALL, how, tokens=ROWS * LENGTH)
    assert saved_by(model, trunk_pass(model, bf16=bf16)) == pytest.approx(planned, rel=0.1)


def test_checkpointing_saves_the_inputs_of_the_layers():
    model = model_of(SMALL)
    enable_gradient_checkpointing(model)
    model.train()
    how = Numerics(on_gpu=False, bf16=False, row_length=LENGTH)
    one_layer = ROWS * LENGTH * layer_bytes(SMALL, how)
    planned = saved_bytes(SMALL, how, tokens=ROWS * LENGTH, checkpointing=True) - one_layer
    assert saved_by(model, trunk_pass(model, bf16=False)) == pytest.approx(planned, rel=0.1)


def test_layer_of_a_llama_in_bf16_on_a_gpu():
    """D 128, Q 128, K 64, I 320. Norms: inputs 2 * 512, normalised 2 * 512, five copies of 256;
    attention: 2 (2 * 128 + 2 * 64); MLP: 4 * 640."""
    how = Numerics(on_gpu=True, bf16=True, row_length=64)
    assert layer_bytes(SMALL, how) == 4 * 512 + 5 * 256 + 768 + 2560


def test_layer_without_gate_keeps_two_tensors_of_its_mlp():
    how = Numerics(on_gpu=True, bf16=True, row_length=64)
    plain = replace(SMALL, num_mlp_matrices=2)
    assert layer_bytes(SMALL, how) - layer_bytes(plain, how) == 2 * 640
