"""Copies of weights in another type, which take the place of the parameters for a while."""

import pytest
import torch
from torch import nn

from rlhf.models.autocast import weights_in


class Tied(nn.Module):
    """An embedding whose weight is the output layer's, a norm in bf16 and a weight of integers."""

    def __init__(self):
        super().__init__()
        self.embed, self.head = nn.Embedding(5, 3), nn.Linear(3, 5, bias=False)
        self.head.weight = self.embed.weight
        self.norm = nn.LayerNorm(3, dtype=torch.bfloat16)
        self.packed = nn.Parameter(torch.tensor([1, 2], dtype=torch.uint8), requires_grad=False)

    def forward(self, ids):
        return self.head(self.norm(self.embed(ids)))


def test_module_computes_with_copies_and_gets_its_parameters_back():
    module = Tied()
    before = dict(module.named_parameters(remove_duplicate=False))
    with weights_in(module, torch.bfloat16):
        inside = dict(module.named_parameters(remove_duplicate=False))
        assert module(torch.tensor([1, 2])).dtype == torch.bfloat16
        assert module.head.weight is module.embed.weight
        assert torch.equal(module.head.weight, before["head.weight"].bfloat16())
        assert not module.head.weight.requires_grad
        same = {name for name, weight in inside.items() if weight is before[name]}
        assert same == {"norm.weight", "norm.bias", "packed"}
    after = dict(module.named_parameters(remove_duplicate=False))
    assert all(after[name] is weight for name, weight in before.items())
    assert after.keys() == before.keys()


def test_parameters_are_put_back_after_an_error():
    module = Tied()
    weight = module.embed.weight
    with pytest.raises(ZeroDivisionError), weights_in(module, torch.bfloat16):
        1 / 0  # noqa: B018
    assert module.head.weight is module.embed.weight is weight


def test_gradient_hooks_stay():
    """A hook on the gradient accumulator, as DDP has it, runs after the weights were replaced."""
    module, called = nn.Linear(2, 1), []
    module.weight.register_post_accumulate_grad_hook(lambda weight: called.append(weight.dtype))
    accumulator = module.bias.expand_as(module.bias).grad_fn.next_functions[0][0]
    accumulator.register_hook(lambda *grads: called.append("bias"))
    with torch.no_grad(), weights_in(module, torch.bfloat16):
        module(torch.ones(1, 2, dtype=torch.bfloat16))
    module(torch.ones(1, 2)).sum().backward()
    assert sorted(map(str, called)) == ["bias", "torch.float32"]
