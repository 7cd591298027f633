import math

import pytest
import torch

from rlhf.ops import logprobs as logprobs_module
from rlhf.ops.logprobs import token_logprobs, token_logprobs_and_entropy


def test_literal_logprobs_with_temperature():
    """Logits ln 1, ln 3: p = 3/4 at temperature 1; at 2 the odds are √3."""
    logits, token = torch.tensor([[0.0, math.log(3)]]), torch.tensor([1])
    at_one = token_logprobs(logits, token, temperature=1.0).item()
    at_two = token_logprobs(logits, token, temperature=2.0).item()
    assert math.isclose(at_one, math.log(0.75), rel_tol=1e-6)
    assert math.isclose(at_two, math.log(math.sqrt(3) / (1 + math.sqrt(3))), rel_tol=1e-6)


def test_bfloat16_logits_are_normalised_in_float32():
    logprobs = token_logprobs(torch.zeros(1, 3).bfloat16(), torch.tensor([0]), temperature=1.0)
    assert logprobs.dtype == torch.float32
    torch.testing.assert_close(logprobs.item(), -math.log(3), atol=1e-6, rtol=0)


@pytest.mark.parametrize("temperature", [1.0, 0.7])
@pytest.mark.parametrize("chunk", [1, 1 << 20])
def test_value_and_gradient_equal_log_softmax(monkeypatch, temperature, chunk):
    """Whether rows are taken one by one or all at once; weights of both signs on the rows."""
    monkeypatch.setattr(logprobs_module, "CHUNK", chunk)
    torch.manual_seed(0)
    logits, tokens = torch.randn(5, 7, requires_grad=True), torch.tensor([0, 6, 3, 3, 1])
    weights = torch.tensor([1.0, -2.0, 0.5, 0.0, 3.0])
    plain = (logits / temperature).log_softmax(-1).gather(1, tokens[:, None])[:, 0]
    (expected,) = torch.autograd.grad((weights * plain).sum(), logits)
    logprobs = token_logprobs(logits, tokens, temperature=temperature)
    (gradient,) = torch.autograd.grad((weights * logprobs).sum(), logits)
    torch.testing.assert_close(logprobs, plain, atol=1e-6, rtol=0)
    torch.testing.assert_close(gradient, expected, atol=1e-6, rtol=0)


def test_far_apart_logits_stay_finite():
    """e^1000 overflows; its log-probability is 0 and the other's -1000."""
    logits = torch.tensor([[1000.0, 0.0]] * 2, requires_grad=True)
    logprobs = token_logprobs(logits, torch.tensor([0, 1]), temperature=1.0)
    assert logprobs.tolist() == [0.0, -1000.0]
    (gradient,) = torch.autograd.grad(logprobs.sum(), logits)
    assert gradient.tolist() == [[0.0, 0.0], [-1.0, 1.0]]


def test_no_rows_have_no_logprobs():
    assert token_logprobs(torch.zeros(0, 4), torch.zeros(0).long(), temperature=1.0).shape == (0,)


def test_literal_entropy_and_its_gradient():
    """Logits 0 and ln 3: p = 1/4, 3/4 and H = 0.5623. dH / dl_j = -p_j (log p_j + H)."""
    logits = torch.tensor([[0.0, math.log(3)]], requires_grad=True)
    logprobs, entropies = token_logprobs_and_entropy(logits, torch.tensor([0]), temperature=1.0)
    (gradient,) = torch.autograd.grad(entropies.sum(), logits)
    assert math.isclose(entropies.item(), 0.562335, abs_tol=1e-6)
    assert math.isclose(logprobs.item(), math.log(0.25), rel_tol=1e-6)
    expected = -0.25 * (math.log(0.25) + 0.562335)
    torch.testing.assert_close(gradient, torch.tensor([[expected, -expected]]), atol=1e-6, rtol=0)
