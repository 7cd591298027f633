"""Log-probs from parts of the hidden states equal those of the model's own logits."""

import copy

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import CohereConfig, CohereForCausalLM, Gemma2Config, Gemma2ForCausalLM

from rlhf.models import forward
from rlhf.models.cpu_kernels.linear import FastLinear
from rlhf.models.forward import (
    logits_in_parts,
    policy_logprobs,
    response_outputs,
    states_and_logits,
)
from rlhf.models.load import load_policy
from rlhf.models.output_head import plain_head
from rlhf.ops import chunked_head as head_module
from tests.models.test_forward import sequences
from tests.tiny_models import FAMILIES, make_model

SHAPE = {
    "vocab_size": 340,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
}


@pytest.fixture
def small_parts(monkeypatch):
    """Logits of two positions at a time."""
    monkeypatch.setattr(head_module, "LOGITS", 0)
    monkeypatch.setattr(head_module, "MIN_ROWS", 2)


def gemma2(softcap):
    torch.manual_seed(0)
    return Gemma2ForCausalLM(Gemma2Config(**SHAPE, final_logit_softcapping=softcap))


def in_parts(model):
    return policy_logprobs(model, sequences(), temperature=0.7)


def whole(model):
    """The log-probs from all logits at once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(forward, "plain_head", lambda model: None)
        return in_parts(model)


def assert_same_logprobs_and_gradients(model, tolerance=1e-5):
    results = []
    for function in (whole, in_parts):
        model.zero_grad()
        logprobs = function(model)
        (logprobs * torch.arange(1.0, 10).view(3, 3)).sum().backward()
        gradients = [p.grad.flatten() for p in model.parameters() if p.grad is not None]
        results.append((logprobs.detach(), torch.cat(gradients)))
    (expected, gradient), (logprobs, other) = results
    torch.testing.assert_close(logprobs, expected, atol=tolerance, rtol=tolerance)
    assert (other - gradient).norm() < tolerance * gradient.norm()


@pytest.mark.usefixtures("small_parts")
@pytest.mark.parametrize("family", [*FAMILIES, "gpt2", "mixtral", "mistral"])
def test_logprobs_and_gradients_of_every_family(family, tmp_path):
    """Gemma's and GPT-2's output layer is the embedding, whose gradient has both parts."""
    model = load_policy(make_model(tmp_path / family, family))
    assert plain_head(model) is not None
    assert_same_logprobs_and_gradients(model)


@pytest.mark.usefixtures("small_parts")
def test_softcapped_logits_of_gemma2():
    """Weights times 30: logits beyond the bound of 5."""
    model = gemma2(5.0)
    with torch.no_grad():
        model.get_output_embeddings().weight.mul_(30)
    assert plain_head(model).softcap == 5.0
    assert states_and_logits(model, sequences())[1].abs().max() > 4
    assert_same_logprobs_and_gradients(model)


def test_gemma2_without_a_bound_has_a_plain_head():
    assert plain_head(gemma2(None)).softcap is None


@pytest.mark.usefixtures("small_parts")
@pytest.mark.parametrize("bf16", [False, True])
def test_layers_of_onednn_are_plain(bf16, tmp_path):
    model = load_policy(make_model(tmp_path / "llama"))
    model.get_output_embeddings().__class__ = FastLinear
    assert plain_head(model) is not None
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        assert_same_logprobs_and_gradients(model, tolerance=2**-6 if bf16 else 1e-5)


@pytest.mark.usefixtures("small_parts")
def test_lora_with_a_frozen_head(tmp_path):
    model = load_policy(make_model(tmp_path / "llama"))
    lora = get_peft_model(
        model,
        LoraConfig(task_type="CAUSAL_LM", target_modules="all-linear", init_lora_weights=False),
    )
    assert plain_head(lora) is not None
    assert_same_logprobs_and_gradients(lora)


@pytest.mark.parametrize(
    "keys",
    [{"target_modules": ["q_proj", "lm_head"]}, {"modules_to_save": ["lm_head"]}],
    ids=["lora on the head", "modules_to_save"],
)
def test_a_head_with_an_adapter_is_not_plain(keys, tmp_path):
    model = load_policy(make_model(tmp_path / "llama"))
    options = {"target_modules": ["q_proj"]} | keys
    lora = get_peft_model(model, LoraConfig(task_type="CAUSAL_LM", **options))
    assert plain_head(lora) is None


def test_model_that_calls_parts_of_its_decoder_is_not_plain(tmp_path):
    assert plain_head(load_policy(make_model(tmp_path / "opt", "opt"))) is None


@pytest.mark.usefixtures("small_parts")
def test_scaled_logits_are_computed_at_once():
    """With Cohere's scale, here of 0.25."""
    torch.manual_seed(0)
    keys = {key: value for key, value in SHAPE.items() if key != "head_dim"}
    model = CohereForCausalLM(CohereConfig(**keys, logit_scale=0.25, pad_token_id=0))
    assert plain_head(model) is None
    logits = states_and_logits(model, sequences())[1]
    expected = (logits / 0.7).log_softmax(-1)[:6].gather(1, sequences().tokens[:6, None])[:, 0]
    logprobs = policy_logprobs(model, sequences(), temperature=0.7)
    torch.testing.assert_close(logprobs[sequences().action_mask], expected)


@pytest.mark.usefixtures("small_parts")
def test_looking_for_the_head_leaves_the_model_unchanged(tmp_path):
    model = load_policy(make_model(tmp_path / "llama"))
    before = {name: list(vars(module)) for name, module in model.named_modules()}
    other = copy.deepcopy(model)
    policy_logprobs(model, sequences(), temperature=1.0)
    assert {name: list(vars(module)) for name, module in model.named_modules()} == before
    inputs = torch.tensor([[5, 6, 7]])
    assert torch.equal(model(inputs).logits, other(inputs).logits)


@pytest.mark.usefixtures("small_parts")
@pytest.mark.parametrize("softcap", [None, 5.0])
def test_parts_of_logits_are_those_of_the_model(softcap):
    model = gemma2(softcap)
    parts = list(logits_in_parts(model, sequences()))
    assert {len(part) for part in parts} == {2}
    torch.testing.assert_close(torch.cat(parts), states_and_logits(model, sequences())[1])


@pytest.mark.usefixtures("small_parts")
@pytest.mark.parametrize("at_once", [False, True])
def test_entropies_and_their_gradients(tmp_path, monkeypatch, at_once):
    """Against autograd on the model's own logits, divided by the temperature."""
    model = load_policy(make_model(tmp_path / "llama"))
    logprobs = (states_and_logits(model, sequences())[1] / 0.7).log_softmax(-1)
    expected = -(logprobs.exp() * logprobs).sum(-1)
    gradients = torch.autograd.grad(expected.square().sum(), list(model.parameters()))
    if at_once:
        monkeypatch.setattr(forward, "plain_head", lambda model: None)
    outputs = response_outputs(model, sequences(), temperature=0.7, entropy=True)
    torch.testing.assert_close(outputs.entropies, expected, atol=1e-5, rtol=0)
    again = torch.autograd.grad(outputs.entropies.square().sum(), list(model.parameters()))
    for one, other in zip(gradients, again, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-4)


def test_few_positions_are_computed_at_once(tmp_path, monkeypatch):
    """As before, to the last bit: a run with a small vocabulary or short responses is the same."""
    model = load_policy(make_model(tmp_path / "llama"))
    monkeypatch.setattr(forward, "plain_head", None)  # not called
    policy_logprobs(model, sequences(), temperature=1.0)
