"""The norm in fewer passes: values, gradients, and which modules it is put in the place of."""

import copy

import pytest
import torch
from transformers.models.llama.modeling_llama import LlamaRMSNorm

from rlhf.models.cpu_kernels.norm import FastRMSNorm, use_fast_cpu_norms
from rlhf.models.load import load_policy
from tests.tiny_models import make_model


def norms(size: int, epsilon: float = 1e-6) -> tuple[LlamaRMSNorm, torch.nn.Module]:
    """transformers' norm with a weight of its own for each column, and the fast one."""
    plain = LlamaRMSNorm(size, epsilon)
    torch.nn.init.normal_(plain.weight, 1.0, 0.3, generator=torch.Generator().manual_seed(1))
    layer = torch.nn.Module()
    layer.input_layernorm = copy.deepcopy(plain)
    use_fast_cpu_norms(layer)
    assert type(layer.input_layernorm) is FastRMSNorm
    return plain, layer.input_layernorm


def test_three_and_four():
    """r = 1 / sqrt((9 + 16) / 2) = 0.282843, h = (0.848528, 1.131371), y = w h.

    For g = (1, 0): dw = g h = (0.848528, 0); w g h = (0.848528, 0) has a mean of 0.424264, and
    dx = r (w g - 0.424264 h) = 0.282843 ((1, 0) - (0.36, 0.48)) = (0.181019, -0.135765).
    """
    _, fast = norms(2, epsilon=0.0)
    fast.weight.data = torch.tensor([1.0, 2.0])
    x = torch.tensor([[3.0, 4.0]], requires_grad=True)
    y = fast(x)
    y.backward(torch.tensor([[1.0, 0.0]]))
    torch.testing.assert_close(y, torch.tensor([[0.848528, 2.262742]]))
    torch.testing.assert_close(fast.weight.grad, torch.tensor([0.848528, 0.0]))
    torch.testing.assert_close(x.grad, torch.tensor([[0.181019, -0.135765]]))


@pytest.mark.parametrize("shape", [(1, 5, 48), (3, 7, 48), (1, 1, 1, 48)])
def test_values_and_gradients_equal_transformers_norm(shape):
    """Against float64; ε is as large as x², so that leaving it out would show."""
    plain, fast = norms(48, epsilon=0.5)
    x = torch.randn(shape, generator=torch.Generator().manual_seed(2))
    grad = torch.randn(shape, generator=torch.Generator().manual_seed(3))
    results = []
    for norm, dtype in ((plain.double(), torch.float64), (fast, torch.float32)):
        inputs = x.to(dtype).requires_grad_()
        if norm is plain:  # transformers' forward would go through float32
            scale = torch.rsqrt(inputs.pow(2).mean(-1, keepdim=True) + 0.5)
            output = norm.weight * (inputs * scale)
        else:
            output = norm(inputs)
        output.backward(grad.to(dtype))
        results.append([part.float() for part in (output, inputs.grad, norm.weight.grad)])
    for usual, other in zip(*results, strict=True):
        torch.testing.assert_close(other, usual, atol=2e-6, rtol=2e-5)


def test_output_under_autocast_is_rounded_to_bf16():
    plain, fast = norms(48)
    x = torch.randn(4, 48, generator=torch.Generator().manual_seed(2))
    with torch.autocast("cpu", torch.bfloat16):
        output = fast(x.requires_grad_())
    assert output.dtype == torch.bfloat16
    # rsqrt and the sum in another order: now and then the neighbour among numbers of 8 bits
    torch.testing.assert_close(output.float(), plain(x), atol=0, rtol=2**-8)
    output.float().sum().backward()
    assert x.grad.dtype == torch.float32


def test_bf16_models_and_frozen_weights():
    plain, fast = norms(48)
    plain, fast = plain.bfloat16(), fast.bfloat16().requires_grad_(False)
    x = torch.randn(4, 48, generator=torch.Generator().manual_seed(2)).bfloat16().requires_grad_()
    torch.testing.assert_close(fast(x), plain(x), atol=0, rtol=2**-6)  # it rounds twice, ours once
    fast(x).sum().backward()
    assert x.grad.dtype == torch.bfloat16
    assert fast.weight.grad is None


def test_gradient_checkpointing_learns_the_same(tmp_path):
    """All gradients of a model, with its layers' activations kept and recomputed."""
    plain = load_policy(make_model(tmp_path / "llama"))
    fast = copy.deepcopy(plain)
    use_fast_cpu_norms(fast)
    recomputed = copy.deepcopy(fast).train()
    recomputed.gradient_checkpointing_enable({"use_reentrant": False})
    ids = torch.arange(3, 43).view(2, 20)
    for model in (plain, fast, recomputed):
        model(ids, use_cache=False).logits.square().mean().backward()
    for (name, usual), own, again in zip(
        plain.named_parameters(), fast.parameters(), recomputed.parameters(), strict=True
    ):
        torch.testing.assert_close(own.grad, usual.grad, atol=1e-6, rtol=1e-4, msg=name)
        assert torch.equal(own.grad, again.grad)


@pytest.mark.parametrize(
    ("family", "changed"),
    [("llama", True), ("qwen2", True), ("mistral", True), ("gemma", False), ("gpt_neox", False)],
)
def test_only_plain_norms_before_linear_layers_are_replaced(family, changed, tmp_path):
    """Gemma's weight counts from 1, GPT-NeoX has LayerNorm; the last norm feeds a float32 head."""
    model = load_policy(make_model(tmp_path / family, family))
    names = list(model.state_dict())
    use_fast_cpu_norms(model)
    fast = [name for name, part in model.named_modules() if isinstance(part, FastRMSNorm)]
    kinds = ("input_layernorm", "post_attention_layernorm")
    layers = [f"model.layers.{layer}.{kind}" for layer in range(2) for kind in kinds]
    assert fast == (layers if changed else [])
    assert list(model.state_dict()) == names
