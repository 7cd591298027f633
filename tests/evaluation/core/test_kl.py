"""KL by value on tiny random models."""

import pytest
import torch

from rlhf.evaluation.core.kl import sequence_kl
from rlhf.models.forward import response_logprobs
from rlhf.models.generation.generate import generate, prompt_batch
from rlhf.models.load import load_policy
from tests.tiny_models import make_model

TEMPERATURE = 0.7


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Two random models of one vocabulary; the head is scaled up, so that they differ."""
    folder = tmp_path_factory.mktemp("models")
    pair = [load_policy(make_model(folder / str(seed), seed=seed)).eval() for seed in (0, 1)]
    with torch.no_grad():
        for model in pair:
            model.get_output_embeddings().weight *= 8
    return pair


@pytest.fixture(scope="module")
def sampled(models):
    """128 responses of the first model to each of two prompts."""
    batch = prompt_batch(
        [[5, 6, 7], [8, 9]],
        ["a", "b"],
        prompt_indices=[0, 1],
        num_responses=128,
        pad_token_id=2,
        device=torch.device("cpu"),
    )
    generated = generate(
        models[0],
        batch,
        max_new_tokens=5,
        temperature=TEMPERATURE,
        eos_token_ids=[1],
        pad_token_id=2,
        seed=0,
        iteration=0,
    )
    return batch, generated


def _kl(policy, reference, sampled):
    batch, generated = sampled
    return sequence_kl(
        policy,
        reference,
        batch,
        generated.response_ids,
        generated.response_mask,
        temperature=TEMPERATURE,
    )


def test_kl_of_a_model_from_itself_is_0(models, sampled):
    assert _kl(models[0], models[0], sampled).abs().max() == 0.0


def test_kl_sums_over_the_vocabulary_at_each_prefix(models, sampled):
    """Compared with a plain forward pass of one unpadded row."""
    generated = sampled[1]
    length = int(generated.response_mask[0].sum())
    row = torch.cat([torch.tensor([5, 6, 7]), generated.response_ids[0, :length]])[None]
    with torch.no_grad():
        logprobs, ref_logprobs = (
            torch.log_softmax(m(input_ids=row).logits[0, 2:-1] / TEMPERATURE, -1) for m in models
        )
    expected = (logprobs.exp() * (logprobs - ref_logprobs)).sum()
    assert _kl(*models, sampled)[0].item() == pytest.approx(expected.item(), rel=1e-4)


def test_mean_kl_equals_mean_log_ratio_with_less_noise(models, sampled):
    """Both estimate the same KL; the difference of their means is within 4 standard errors."""
    batch, generated = sampled
    ids, mask = generated.response_ids, generated.response_mask
    logprobs, ref_logprobs = (
        response_logprobs(m, batch, ids, mask, temperature=TEMPERATURE) for m in models
    )
    log_ratios = (logprobs - ref_logprobs).double().sum(1)
    exact = _kl(*models, sampled)
    gap = log_ratios - exact
    assert gap.mean().abs() < 4 * gap.std() / len(gap) ** 0.5
    assert exact.std() < log_ratios.std()
    assert exact.min() >= 0
