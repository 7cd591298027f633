"""The formulas of rlhf against those of TRL 1.12, where TRL is right. `make test-peer` runs them.

TRL is right for responses of full length. With shorter ones it adds the score one token too late,
and it detects padding by the token id (tests/training/ppo/test_trl_faults.py has the list).
"""

import os
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from benchmarks.models import PAD, make_folders
from benchmarks.workloads import SMOKE
from rlhf.models.critic import critic_from_reward_model
from rlhf.models.forward import policy_logprobs
from rlhf.models.load import load_policy, load_reward_model
from rlhf.models.sequences import as_sequences
from rlhf.ops.advantages import gae
from rlhf.ops.kl import kl_k1
from rlhf.ops.logprobs import token_logprobs
from rlhf.ops.losses import policy_loss, value_loss
from rlhf.ops.masking import masked_mean
from rlhf.ops.rewards import penalized_rewards
from rlhf.ops.whitening import masked_variance, whiten

pytestmark = pytest.mark.peer
ROOT = Path(__file__).resolve().parents[2]
TEMPERATURE, KL_COEF, GAMMA, LAM = 0.7, 0.3, 0.97, 0.9


def peer_python() -> str:
    """Python of the environment that `make bench` and `make test-peer` create."""
    path = Path(os.environ.get("RLHF_PEER_PYTHON", ROOT / "benchmarks/.venv-peer/bin/python"))
    if not path.is_file():
        pytest.skip(f"needs trl==1.12.0 in a separate environment; {path} does not exist")
    return str(path)


@pytest.fixture(scope="module")
def inputs():
    generator = torch.Generator().manual_seed(0)
    return {
        "values": torch.randn(6, 9, generator=generator) * 3 + 1,
        "mask": torch.rand(6, 9, generator=generator) > 0.3,
        "logits": torch.randn(4, 5, 50, generator=generator) * 4,
        "tokens": torch.randint(50, (4, 5), generator=generator),
    }


@pytest.fixture(scope="module")
def folder(tmp_path_factory, inputs):
    """Models with a reference that differs from the policy, and TRL's results for them."""
    python = peer_python()
    folder = tmp_path_factory.mktemp("parity")
    make_folders(replace(SMOKE, eos_hazard=0.0), folder)
    for name in ("policy", "reward_model"):
        spread_attention(folder / name / "model.safetensors")
    reference = load_policy(folder / "policy")
    with torch.no_grad():
        for parameter in reference.parameters():
            parameter += 0.01 * torch.randn(
                parameter.shape, generator=torch.Generator().manual_seed(1)
            )
    reference.save_pretrained(folder / "reference")
    torch.save(inputs, folder / "inputs.pt")
    script = str(Path(__file__).parent / "trl_side.py")
    env = os.environ | {"ACCELERATE_USE_CPU": "true", "HF_HUB_OFFLINE": "1"}
    process = subprocess.run(
        [python, script, str(folder)], env=env, capture_output=True, text=True, timeout=300
    )
    assert process.returncode == 0, process.stderr[-3000:]
    return folder


def spread_attention(path):
    """Scale the attention weights so that queries, keys and values differ between tokens.

    The embeddings of the benchmark share one large channel, and the norms leave almost nothing of
    the others. Then attention is uniform, and the gradients of its keys are rounding errors.
    """
    weights = load_file(path)
    for name, weight in weights.items():
        if "q_proj" in name or "k_proj" in name or "v_proj" in name:
            weight[:, 1:] *= 2000
    save_file(weights, path, metadata={"format": "pt"})


@pytest.fixture(scope="module")
def trl(folder):
    return torch.load(folder / "trl.pt")


def test_masked_statistics_equal_trl(inputs, trl):
    values, mask = inputs["values"], inputs["mask"]
    torch.testing.assert_close(masked_mean(values, mask), trl["mean"])
    torch.testing.assert_close(masked_variance(values, mask), trl["variance"])
    for name, shift in (("whitened", True), ("whitened_around_mean", False)):
        whitened = whiten(values, mask, shift_mean=shift)
        torch.testing.assert_close(whitened[mask], trl[name][mask])


def test_logprobs_equal_trl(inputs, trl):
    flat = token_logprobs(
        inputs["logits"].flatten(0, 1), inputs["tokens"].flatten(), temperature=1.0
    )
    torch.testing.assert_close(flat.view(4, 5), trl["logprobs"])


def test_loss_and_gradients_of_the_first_step_equal_trl(folder, trl):
    """Log-probs at 0.7, KL, score, GAE, whitening and both losses, with left-padded prompts."""
    sequences = as_sequences(
        trl["queries"],
        trl["queries"] != PAD,
        trl["responses"],
        torch.ones_like(trl["responses"], dtype=torch.bool),
    )
    mask, policy = sequences.action_mask, load_policy(folder / "policy")
    critic = critic_from_reward_model(folder / "reward_model", scale=1.0, shift=0.0)
    logprobs = policy_logprobs(policy, sequences, temperature=TEMPERATURE)
    values = critic(sequences)
    with torch.no_grad():
        reference = load_policy(folder / "reference")
        ref_logprobs = policy_logprobs(reference, sequences, temperature=TEMPERATURE)
        kl = kl_k1(logprobs, ref_logprobs)
        rewards = penalized_rewards(scores(folder, sequences), kl, mask, kl_coef=KL_COEF)
        advantages, returns = gae(rewards, values, mask, gamma=GAMMA, lam=LAM)
    assert kl.abs().max() > 0.01  # a KL of 0 would not test the penalty
    policy_term = policy_loss(
        logprobs, logprobs.detach(), whiten(advantages, mask), mask, clip_range=0.2
    )
    value_term = value_loss(values, values.detach(), returns, mask, value_clip_range=0.2)
    loss = (policy_term.loss + 0.1 * value_term.loss) / mask.sum()
    loss.backward()
    torch.testing.assert_close(loss.detach(), trl["loss"], atol=1e-6, rtol=1e-4)
    assert_gradients_close({name: p.grad for name, p in policy.named_parameters()}, trl["policy"])
    trunk = {f"model.{name}": p.grad for name, p in critic.trunk.named_parameters()}
    gradients = trunk | {"score.weight": critic.head.weight.grad}
    assert_gradients_close(gradients, trl["value"])


def assert_gradients_close(gradients, trl_gradients):
    """Assert equal gradients within 1e-4 of the largest value of each; float32 gave 2e-6."""
    assert gradients.keys() == trl_gradients.keys()
    for name, gradient in gradients.items():
        scale = trl_gradients[name].abs().max()
        assert scale > 0, name
        difference = (gradient - trl_gradients[name]).abs().max()
        assert difference <= 1e-4 * scale, f"{name}: {difference:.2e} of {scale:.2e}"


def scores(folder, sequences):
    """The reward model's logit at the last token of each row, as in TRL, which adds no EOS."""
    model = load_reward_model(folder / "reward_model")
    last = [(sequences.ids[row] != PAD).nonzero().max() for row in range(len(sequences.ids))]
    logits = model.score(model.base_model(input_ids=sequences.ids).last_hidden_state)
    return logits[torch.arange(len(last)), torch.stack(last), 0]
