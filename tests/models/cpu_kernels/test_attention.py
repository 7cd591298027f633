import copy

import pytest
import torch
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from rlhf.models.cpu_kernels import attention
from rlhf.models.cpu_kernels.attention import NAME, _attention, use_fast_cpu_attention
from rlhf.models.load import load_policy
from tests.tiny_models import FAMILIES, make_model


def test_values_and_gradients_equal_plain_attention(tmp_path):
    plain = load_policy(make_model(tmp_path / "llama"))
    fast = copy.deepcopy(plain)
    use_fast_cpu_attention(fast)
    assert fast.config._attn_implementation == NAME
    ids = torch.randint(5, 200, (3, 9))
    for bf16, tolerance in ((False, 0.0), (True, 3e-2)):
        outputs = []
        for model in (plain, fast):
            model.zero_grad()
            with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
                logits = model(ids, use_cache=False).logits
            logits.float().square().mean().backward()
            outputs.append((logits.float(), model.model.layers[0].self_attn.q_proj.weight.grad))
        torch.testing.assert_close(outputs[0], outputs[1], atol=tolerance, rtol=tolerance)


@pytest.mark.parametrize("heads", [(4, 4), (4, 2)])
def test_bf16_attention_equals_plain_attention_to_rounding(heads):
    """Against float64, at 8 bits of mantissa: values and all three gradients."""
    torch.manual_seed(0)
    bf16, plain = [], []
    query, key, value = (
        torch.randn(2, number, 17, 16) for number in (heads[0], heads[1], heads[1])
    )
    module = torch.nn.Identity()
    module.num_key_value_groups = heads[0] // heads[1]
    target = torch.randn(2, 17, heads[0], 16)
    for results, dtype in ((bf16, torch.float32), (plain, torch.float64)):
        inputs = [
            part.detach().to(dtype, copy=True).requires_grad_() for part in (query, key, value)
        ]
        with torch.autocast("cpu", torch.bfloat16, enabled=results is bf16):
            attend = _attention if results is bf16 else sdpa_attention_forward
            output, _ = attend(module, *inputs, None, scaling=0.3)
        (output.to(dtype) * target.to(dtype)).sum().backward()
        results += [output, *(part.grad for part in inputs)]
    assert bf16[0].dtype == torch.bfloat16  # the products, not float32 attention
    for fast, exact in zip(bf16, plain, strict=True):
        assert fast.shape == exact.shape
        error = (fast.double() - exact).norm() / exact.norm()
        assert error < 2**-7  # half a unit in the last of 8 bits is 2**-9; several add up


def test_masks_and_long_rows_use_float32_attention(monkeypatch):
    """What the products would get wrong, or hold too much memory for."""
    module, part = torch.nn.Identity(), torch.randn(1, 2, 4, 8, requires_grad=True)
    module.num_key_value_groups = 1
    mask = torch.ones(1, 1, 4, 4, dtype=torch.bool)  # everything sees everything
    with torch.autocast("cpu", torch.bfloat16):
        masked, _ = _attention(module, part, part, part, mask)
        short, _ = _attention(module, part, part, part, None)
        monkeypatch.setattr(attention, "MAX_LENGTH", 3)
        long, _ = _attention(module, part, part, part, None)
    assert short.dtype == torch.bfloat16  # written out
    assert masked.dtype == long.dtype == torch.float32
    everything, _ = sdpa_attention_forward(module, part, part, part, mask)
    torch.testing.assert_close(masked, everything)


@pytest.mark.parametrize("family", FAMILIES)
def test_all_sdpa_families_use_bf16_attention_in_training(tmp_path, monkeypatch, family):
    """Whatever else an architecture hands to attention: nothing of that makes it the slow way."""
    model = load_policy(make_model(tmp_path / family, family))
    use_fast_cpu_attention(model)
    dtypes = []

    def watched(*args, **options):
        output, weights = _attention(*args, **options)
        dtypes.append(output.dtype)
        return output, weights

    monkeypatch.setitem(ALL_ATTENTION_FUNCTIONS._global_mapping, NAME, watched)
    with torch.autocast("cpu", torch.bfloat16):
        model(torch.randint(5, 100, (2, 9)), use_cache=False)
    assert dtypes == [torch.bfloat16] * model.config.num_hidden_layers


def test_saved_configuration_has_no_custom_attention(tmp_path):
    model = load_policy(make_model(tmp_path / "llama"))
    use_fast_cpu_attention(model)
    model.save_pretrained(tmp_path / "saved")
    assert NAME not in (tmp_path / "saved" / "config.json").read_text()
