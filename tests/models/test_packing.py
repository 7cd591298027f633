"""Rows packed end to end: which models read each as if it were alone."""

import pytest
import torch

from rlhf.models.config import ModelConfig
from rlhf.models.cpu_kernels.attention import use_fast_cpu_attention
from rlhf.models.load import load_policy
from rlhf.models.lora import add_lora
from rlhf.models.packing import check_packing
from tests.errors import raises
from tests.tiny_models import FAMILIES, make_model


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("family", [*FAMILIES, "gpt2", "mistral", "mixtral", "qwen3_moe"])
def test_models_with_masks_from_position_ids_may_pack(tmp_path, family, dtype):
    model = load_policy(make_model(tmp_path / family, family), dtype=dtype).train()
    use_fast_cpu_attention(model)
    check_packing(model, family)
    assert model.training
    lora = ModelConfig(model_name_or_path="x", use_peft=True, lora_r=2)
    check_packing(add_lora(model, lora, "CAUSAL_LM"), family)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("family", ["opt", "falcon", "mamba2"])
def test_models_whose_packed_rows_see_each_other_are_rejected(tmp_path, family, dtype):
    model = load_policy(make_model(tmp_path / family, family), dtype=dtype)
    with raises("unsupported", "packing=true", f"({family})", "--packing false"):
        check_packing(model, family)
