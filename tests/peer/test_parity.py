"""Our formulas against TRL 1.12's, where TRL's are right. `make test-peer` runs them.

Right they are for answers of full length: with shorter ones the score lands a slot late, and pad
tokens are told by their id (tests/training/ppo/test_trl_faults.py has the list).
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
from rlhf.models.forward import as_sequences, policy_logprobs
from rlhf.models.load import load_policy, load_reward_model
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
    """Of the environment that `make bench` and `make test-peer` make."""
    path = Path(os.environ.get("RLHF_PEER_PYTHON", ROOT / "benchmarks/.venv-peer/bin/python"))
    if not path.is_file():
        pytest.skip(f"needs trl==1.12.0 in an environment of its own, and {path} is not there")
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
    """Models of a reference that is not the policy, and what TRL made of them."""
    python = peer_python()
    folder = tmp_path_factory.mktemp("parity")
    make_folders(replace(SMOKE, eos_hazard=0.0), folder)
    for name in ("policy", "reward_model"):
        let_attention_choose(folder / name / "model.safetensors")
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
    done = subprocess.run(
        [python, script, str(folder)], env=env, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return folder


def let_attention_choose(path):
    """Make queries, keys and values differ from token to token.

    The benchmark's embeddings have one large channel in common, and the norms leave next to
    nothing of the others: attention is uniform, and the gradient of its keys is rounding.
    """
    weights = load_file(path)
    for name, weight in weights.items():
        if "q_proj" in name or "k_proj" in name or "v_proj" in name:
            weight[:, 1:] *= 2000
    save_file(weights, path, metadata={"format": "pt"})


@pytest.fixture(scope="module")
def trl(folder):
    return torch.load(folder / "trl.pt")


def test_masked_statistics(inputs, trl):
    values, mask = inputs["values"], inputs["mask"]
    torch.testing.assert_close(masked_mean(values, mask), trl["mean"])
    torch.testing.assert_close(masked_variance(values, mask), trl["variance"])
    for name, shift in (("whitened", True), ("whitened_around_mean", False)):
        mine = whiten(values, mask, shift_mean=shift)
        torch.testing.assert_close(mine[mask], trl[name][mask])


def test_log_probabilities(inputs, trl):
    flat = token_logprobs(
        inputs["logits"].flatten(0, 1), inputs["tokens"].flatten(), temperature=1.0
    )
    torch.testing.assert_close(flat.view(4, 5), trl["logprobs"])


def test_loss_and_gradients_of_a_whole_first_step(folder, trl):
    """Log-probs at 0.7, KL, score, GAE, whitening, both losses, from prompts padded on the left."""
    sequences = as_sequences(
        trl["queries"],
        trl["queries"] != PAD,
        trl["responses"],
        torch.ones_like(trl["responses"], dtype=torch.bool),
    )
    mask, policy = sequences.response_mask, load_policy(folder / "policy")
    critic = critic_from_reward_model(folder / "reward_model", scale=1.0, shift=0.0)
    logprobs = policy_logprobs(policy, sequences, temperature=TEMPERATURE)
    values = critic(sequences)
    with torch.no_grad():
        reference = load_policy(folder / "reference")
        ref_logprobs = policy_logprobs(reference, sequences, temperature=TEMPERATURE)
        kl = kl_k1(logprobs, ref_logprobs)
        rewards = penalized_rewards(scores(folder, sequences), kl, mask, kl_coef=KL_COEF)
        advantages, returns = gae(rewards, values, mask, gamma=GAMMA, lam=LAM)
    assert kl.abs().max() > 0.01  # a penalty that is nothing would show nothing
    of_policy = policy_loss(
        logprobs, logprobs.detach(), whiten(advantages, mask), mask, clip_range=0.2
    )
    of_value = value_loss(values, values.detach(), returns, mask, value_clip_range=0.2)
    loss = (of_policy.loss + 0.1 * of_value.loss) / mask.sum()
    loss.backward()
    torch.testing.assert_close(loss.detach(), trl["loss"], atol=1e-6, rtol=1e-4)
    same({name: p.grad for name, p in policy.named_parameters()}, trl["policy"])
    trunk = {f"model.{name}": p.grad for name, p in critic.trunk.named_parameters()}
    mine = trunk | {"score.weight": critic.head.weight.grad}
    same(mine, trl["value"])


def same(mine, others):
    """Gradients by name, to a ten-thousandth of the largest of each; float32 gave 2e-6."""
    assert mine.keys() == others.keys()
    for name, gradient in mine.items():
        scale = others[name].abs().max()
        assert scale > 0, name
        difference = (gradient - others[name]).abs().max()
        assert difference <= 1e-4 * scale, f"{name}: {difference:.2e} of {scale:.2e}"


def scores(folder, sequences):
    """The reward model's logit at each row's last token, as TRL reads it: no EOS is added."""
    model = load_reward_model(folder / "reward_model")
    last = [(sequences.ids[row] != PAD).nonzero().max() for row in range(len(sequences.ids))]
    logits = model.score(model.base_model(input_ids=sequences.ids).last_hidden_state)
    return logits[torch.arange(len(last)), torch.stack(last), 0]
