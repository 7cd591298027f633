"""The planned state of training, compared with tensors."""

import pytest
import torch

from rlhf.models.load import load_policy
from rlhf.models.memory import shape_of
from rlhf.planning.activations import FP32
from rlhf.planning.case import TrainingCase
from rlhf.planning.machines import GPUS
from rlhf.planning.training_memory import training_memory
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
    assert measured - steps == 16 * sum(p.numel() for p in parameters)
    case = TrainingCase(
        task="sft", model=shape_of(str(folder)), num_gpus=1, machine=GPUS["L4-24"], rows=1,
        mean_length=4, max_length=4, accumulation=2, bf16=bf16,
    )  # fmt: skip
    planned = training_memory(case, sharded=False)
    gradients = FP32 * sum(p.numel() for p in parameters)
    assert planned.held + gradients == measured - steps
