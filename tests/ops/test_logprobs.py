import math

import torch

from rlhf.ops.logprobs import token_logprobs


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
