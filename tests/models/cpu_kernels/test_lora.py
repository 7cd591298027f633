"""LoRA in fewer passes: values, gradients, and when peft's own layer computes."""

import copy

import pytest
import torch
from peft import LoraConfig, get_peft_model
from peft.tuners.lora import Linear as LoraLinear

from rlhf.models.cpu_kernels.lora import FastLora, use_fast_cpu_lora

X = torch.randn(2, 5, 6, generator=torch.Generator().manual_seed(0))


def layers(**options):
    """peft's layer 6 -> 4 with scaling 8 / 4 = 2, and a fast copy of it."""
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(6, 4, bias=False))
    config = LoraConfig(r=4, lora_alpha=8, target_modules=["0"], **options)
    (plain,) = [m for m in get_peft_model(model, config).modules() if type(m) is LoraLinear]
    torch.nn.init.normal_(plain.lora_B["default"].weight)
    holder = torch.nn.Sequential(copy.deepcopy(plain))
    use_fast_cpu_lora(holder)
    assert type(holder[0]) is FastLora
    return plain, holder[0]


def computed(layer, *, autocast=True):
    x = X.clone().requires_grad_()
    layer.zero_grad()
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        output = layer(x)
    (output.float() * torch.linspace(-1, 1, output.numel()).view_as(output)).sum().backward()
    gradients = [p.grad for p in layer.parameters() if p.grad is not None]
    return output.detach(), [x.grad, *gradients]


def test_values_and_gradients_are_pefts_up_to_rounding():
    (output, gradients), (fast, fast_gradients) = map(computed, layers())
    assert output.dtype == fast.dtype == torch.bfloat16
    torch.testing.assert_close(fast, output, atol=2**-6, rtol=2**-6)
    assert len(gradients) == len(fast_gradients) == 3  # of x, A and B
    for gradient, fast_gradient in zip(gradients, fast_gradients, strict=True):
        torch.testing.assert_close(fast_gradient, gradient, atol=2**-5, rtol=2**-5)


def test_output_is_closer_to_the_exact_one_than_pefts():
    plain, fast = layers()
    exact = computed(plain, autocast=False)[0]
    errors = [(computed(layer)[0].float() - exact).abs().mean() for layer in (plain, fast)]
    assert errors[1] < errors[0]


@pytest.mark.parametrize(
    ("options", "autocast"),
    [({}, False), ({"lora_dropout": 0.5}, True), ({"use_dora": True}, True)],
)
def test_other_layers_and_precisions_are_pefts_own(options, autocast):
    results = []
    for layer in layers(**options):
        torch.manual_seed(1)  # of dropout
        results.append(computed(layer, autocast=autocast)[0])
    assert results[0].equal(results[1])


def test_disabled_adapter_leaves_the_base_layer():
    _, fast = layers()
    fast.enable_adapters(False)
    with torch.autocast("cpu", torch.bfloat16):
        assert fast(X).equal(torch.nn.functional.linear(X, fast.get_base_layer().weight))
