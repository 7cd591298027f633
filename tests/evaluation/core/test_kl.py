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
    found = [load_policy(make_model(folder / str(seed), seed=seed)).eval() for seed in (0, 1)]
    with torch.no_grad():
        for model in found:
            model.get_output_embeddings().weight *= 8
    return found


@pytest.fixture(scope="module")
def sampled(models):
    """256 answers of the first model to one prompt, and half as long ones to another."""
    batch = prompt_batch(
        [[5, 6, 7], [8, 9]],
        ["a", "b"],
        prompt_indices=[0, 1],
        num_responses=128,
        pad_token_id=2,
        device=torch.device("cpu"),
    )
    made = generate(
        models[0],
        batch,
        max_new_tokens=5,
        temperature=TEMPERATURE,
        eos_token_ids=[1],
        pad_token_id=2,
        seed=0,
        iteration=0,
    )
    return batch, made


def _kl(policy, reference, sampled):
    batch, made = sampled
    return sequence_kl(
        policy,
        reference,
        batch,
        made.response_ids,
        made.response_mask,
        temperature=TEMPERATURE,
    )


def test_a_model_is_no_distance_from_itself(models, sampled):
    assert _kl(models[0], models[0], sampled).abs().max() == 0.0


def test_it_is_the_sum_over_the_vocabulary_at_each_prefix(models, sampled):
    """Against a plain forward of one unpadded row, position by position."""
    made = sampled[1]
    length = int(made.response_mask[0].sum())
    row = torch.cat([torch.tensor([5, 6, 7]), made.response_ids[0, :length]])[None]
    with torch.no_grad():
        ours, theirs = (
            torch.log_softmax(m(input_ids=row).logits[0, 2:-1] / TEMPERATURE, -1) for m in models
        )
    expected = (ours.exp() * (ours - theirs)).sum()
    assert _kl(*models, sampled)[0].item() == pytest.approx(expected.item(), rel=1e-4)


def test_its_mean_is_that_of_the_log_ratios_with_less_noise(models, sampled):
    """Both estimate the same KL; the difference of their means is within 4 standard errors."""
    batch, made = sampled
    ours, theirs = (
        response_logprobs(m, batch, made.response_ids, made.response_mask, temperature=TEMPERATURE)
        for m in models
    )
    log_ratios = (ours - theirs).double().sum(1)
    exact = _kl(*models, sampled)
    gap = log_ratios - exact
    assert gap.mean().abs() < 4 * gap.std() / len(gap) ** 0.5
    assert exact.std() < log_ratios.std()
    assert exact.min() >= 0
