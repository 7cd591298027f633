"""Sizes of models, compared with models."""

from dataclasses import replace

import pytest
from torch import nn
from transformers import AutoModelForCausalLM

from rlhf.models.memory import count_parameters, generation_bytes, shape_of
from rlhf.models.shape import key_value_bytes
from tests.planning.shapes import SMALL, config_of
from tests.tiny_models import FAMILIES, make_model


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("bias", [True, False])
def test_sizes_are_those_of_the_configuration(tmp_path, tied, bias):
    """Biases are part of `extra`: 3 layers of 128 + 2 * 64."""
    shape = replace(SMALL, tied=tied, bias=bias)
    config_of(shape).save_pretrained(tmp_path)
    read = shape_of(str(tmp_path))
    assert read.extra == (3 * 256 if bias else 0)
    assert read.parameters == shape.parameters == count_parameters(str(tmp_path), "CAUSAL_LM")
    assert read.value_parameters == count_parameters(str(tmp_path), "SEQ_CLS")
    assert read.matrices == shape.matrices


@pytest.mark.parametrize("family", FAMILIES)
def test_matrices_are_the_linear_layers_of_the_trunk(tmp_path, family):
    folder = make_model(tmp_path, family)
    model = AutoModelForCausalLM.from_pretrained(folder)
    linear = [m for m in model.base_model.modules() if isinstance(m, nn.Linear)]
    shape = shape_of(str(folder))
    assert shape.matrices == sum(module.weight.numel() for module in linear)
    assert shape.parameters == sum(p.numel() for p in model.parameters())


def test_key_and_value_bytes_of_a_token(tmp_path):
    """2 * 3 layers * 2 heads * 32 numbers = 384; a row of 10 tokens adds 4 * 500 for its logits."""
    assert key_value_bytes(SMALL, 2) == 768
    config_of(SMALL).save_pretrained(tmp_path)
    assert generation_bytes(str(tmp_path), rows=2, length=10, itemsize=2) == 2 * (7680 + 2000)
