"""Estimates of memory, compared with tensors."""

import pytest
import torch

from rlhf.models.config import ModelConfig
from rlhf.models.load import load_policy
from rlhf.models.memory import BYTES_TRAINED, model_size
from tests.tiny_models import make_model


def nbytes(tensors):
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


@pytest.mark.parametrize("bf16", [False, True])
def test_training_state_is_16_bytes_per_parameter(tmp_path, bf16):
    """Weight 4, gradient 4, AdamW 8; AdamW also has a step count of 4 bytes per tensor."""
    folder = make_model(tmp_path)
    model = load_policy(folder)
    parameters = list(model.parameters())
    optimizer = torch.optim.AdamW(parameters, fused=True)
    ids = torch.tensor([[5, 6, 7, 8]])
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        loss = model(ids, labels=ids).loss
    loss.backward()
    optimizer.step()
    state = [x for each in optimizer.state.values() for x in each.values()]
    measured = nbytes(parameters) + nbytes(p.grad for p in parameters) + nbytes(state)
    steps = 4 * len(parameters)
    assert measured - steps == BYTES_TRAINED * sum(p.numel() for p in parameters)
    assert model_size(ModelConfig(model_name_or_path=str(folder)), "CAUSAL_LM").state_bytes == (
        measured - steps
    )
