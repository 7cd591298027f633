"""In training a reward model reads what responses have in common once, and scores them alike."""

import pytest
import torch

from rlhf.models.config import ModelConfig
from rlhf.models.reward_init import load_model
from rlhf.models.scorer import Scorer, as_batch
from tests.tiny_models import FAMILIES, make_model

PROMPT = [5, 6, 7, 8, 9, 10]
ROWS = [[*PROMPT, 20, 21], [*PROMPT, 20, 22, 23], [11, 12], [*PROMPT, 24], [11, 12, 13, 14]]


def trained_scorer(folder, family, *, bf16):
    model = load_model(ModelConfig(model_name_or_path=make_model(folder, family)), seed=0)
    with torch.no_grad():  # so that attention moves the scores of these small models
        for parameter in model.parameters():
            parameter.mul_(8 if parameter.dim() > 1 else 1)
    return Scorer(model, bf16=bf16).train()


@pytest.mark.parametrize("family", [*FAMILIES, "gpt2"])
@pytest.mark.parametrize("bf16", [False, True])
def test_scores_and_gradients_equal_those_of_whole_rows(family, bf16, tmp_path):
    scorer = trained_scorer(tmp_path, family, bf16=bf16)
    assert scorer.packs
    results = []
    for packs in (False, True):
        scorer.packs = packs
        scorer.zero_grad()
        scores = scorer(*as_batch(ROWS, 0, torch.device("cpu")))
        (scores[:, 0] * torch.tensor([1.0, -2.0, 3.0, -4.0, 5.0])).sum().backward()
        gradient = [p.grad.flatten() for p in scorer.parameters() if p.grad is not None]
        results.append((scores.detach(), torch.cat(gradient)))
    (apart, gradient), (shared, other) = results
    tolerance = 2**-5 if bf16 else 1e-5
    torch.testing.assert_close(shared, apart, atol=tolerance * apart.abs().max(), rtol=tolerance)
    assert (other - gradient).norm() < tolerance * gradient.norm()


def test_common_tokens_are_read_once(tmp_path):
    """8 tokens, 2 more, 2, 1 more and 3 more are at most 32 places; padded rows are 5 * 9."""
    scorer = trained_scorer(tmp_path, "llama", bf16=False)
    read = []
    trunk = scorer.model.base_model
    trunk.register_forward_pre_hook(
        lambda module, args, options: read.append(options["input_ids"].shape), with_kwargs=True
    )
    batch = as_batch(ROWS, 0, torch.device("cpu"))
    scorer(*batch)
    assert read == [(1, 32)]
    read.clear()
    scorer.eval()
    scorer(*batch)
    assert read == [(5, 9)]
