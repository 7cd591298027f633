"""oneDNN's products are the usual ones, with their gradients; float32 alone goes there."""

import copy

import pytest
import torch
from torch import nn

from rlhf.models.cpu_kernels import linear
from rlhf.models.cpu_kernels.linear import (
    FastLinear,
    hold_in_bf16,
    mkl_is_fast,
    use_fast_cpu_linear,
)
from rlhf.models.load import load_policy
from tests.tiny_models import make_model

pytestmark = pytest.mark.skipif(
    not torch.backends.mkldnn.is_available(), reason="this PyTorch was built without oneDNN"
)


@pytest.fixture(autouse=True)
def made_by_amd(tmp_path, monkeypatch):
    """A processor whose MKL kernels are slow, whatever this one is."""
    cpuinfo(tmp_path, monkeypatch, "AuthenticAMD")
    yield
    mkl_is_fast.cache_clear()


def cpuinfo(tmp_path, monkeypatch, vendor: str) -> None:
    (tmp_path / "cpuinfo").write_text(f"processor\t: 0\nvendor_id\t: {vendor}\n", encoding="utf-8")
    monkeypatch.setattr(linear, "CPUINFO", tmp_path / "cpuinfo")
    mkl_is_fast.cache_clear()


def layers(bias: bool) -> tuple[nn.Sequential, nn.Sequential]:
    """A layer of 256 x 192 weights, as it was and through oneDNN."""
    torch.manual_seed(0)
    plain = nn.Sequential(nn.Linear(192, 256, bias=bias))
    fast = copy.deepcopy(plain)
    use_fast_cpu_linear(fast)
    assert isinstance(fast[0], FastLinear)
    return plain, fast


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("shape", [(5, 192), (3, 7, 192), (1, 1, 192)])
def test_values_and_gradients_equal_nn_linear(bias, shape):
    plain, fast = layers(bias)
    results = []
    for layer in (plain, fast):
        inputs = torch.randn(shape, generator=torch.Generator().manual_seed(1), requires_grad=True)
        output = layer(inputs)
        output.square().sum().backward()
        results.append([output.detach(), inputs.grad, *(p.grad for p in layer.parameters())])
        with torch.no_grad():
            torch.testing.assert_close(layer(inputs), output)
    for usual, other in zip(*results, strict=True):
        torch.testing.assert_close(other, usual, atol=1e-3, rtol=1e-5)


def test_frozen_layer_passes_gradient_without_keeping_one():
    _, fast = layers(True)
    fast.requires_grad_(False)
    inputs = torch.randn(4, 192, requires_grad=True)
    fast(inputs).sum().backward()
    torch.testing.assert_close(inputs.grad, fast[0].weight.sum(0).expand(4, -1))
    assert fast[0].weight.grad is None


def test_autocast_and_float64_use_nn_linear():
    plain, fast = layers(False)
    inputs = torch.randn(4, 192)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(fast(inputs), plain(inputs))
        assert fast(inputs).dtype == torch.bfloat16
    assert fast.double()(inputs.double()).dtype == torch.float64


@pytest.mark.skipif(not torch.backends.mkl.is_available(), reason="this PyTorch has no MKL")
def test_intel_processors_keep_mkl(tmp_path, monkeypatch):
    cpuinfo(tmp_path, monkeypatch, "GenuineIntel")
    model = nn.Sequential(nn.Linear(192, 256))
    use_fast_cpu_linear(model)
    assert type(model[0]) is nn.Linear


def test_onednn_is_used_if_the_vendor_is_unknown(tmp_path, monkeypatch):
    monkeypatch.setattr(linear, "CPUINFO", tmp_path / "no_such_file")
    assert isinstance(layers(False)[1][0], FastLinear)


def test_small_layers_and_parameter_names_are_unchanged():
    model = nn.Sequential(nn.Linear(8, 8), nn.Linear(192, 256))
    names = list(model.state_dict())
    use_fast_cpu_linear(model)
    assert type(model[0]) is nn.Linear
    assert list(model.state_dict()) == names


def test_bf16_weights_equal_autocast(tmp_path):
    """Bit for bit: autocast rounds the same weights at each call. Embeddings stay float32."""
    model = load_policy(make_model(tmp_path / "llama"))
    held = copy.deepcopy(model).requires_grad_(False)
    held.lm_head.weight.requires_grad = True
    hold_in_bf16(held)
    assert held.lm_head.weight.dtype == torch.float32  # trained, and so left alone
    held.lm_head.weight.requires_grad = False
    hold_in_bf16(held)
    ids = torch.arange(3, 23)[None]
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(held(ids).logits, model(ids).logits)
    assert held.lm_head.weight.dtype == torch.bfloat16
    assert held.get_input_embeddings().weight.dtype == torch.float32


def test_weight_shared_with_an_embedding_stays_float32():
    embedding, head = torch.nn.Embedding(5, 4), torch.nn.Linear(4, 5, bias=False)
    head.weight = embedding.weight
    hold_in_bf16(torch.nn.ModuleList([embedding, head]).requires_grad_(False))
    assert head.weight is embedding.weight
    assert head.weight.dtype == torch.float32
