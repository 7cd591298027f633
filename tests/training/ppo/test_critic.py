"""What the critic of a run starts from, by the numbers in its head."""

import pytest
import torch

from rlhf.data.tokenization.tokenizer import load_tokenizer
from rlhf.models.load import load_reward_model, new_reward_model
from rlhf.models.save import save_reward_model
from tests.tiny_models import make_model
from tests.training.ppo.tiny_ppo import make_folder, trainer


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A policy, and reward models: two of its vocabulary, one of another."""
    folder = make_folder(tmp_path_factory.mktemp("critic"))
    others = make_model(folder / "qwen2", "qwen2")
    for name, base, mean, std in (
        ("reward", folder / "policy", 0.25, 0.5),
        ("second", folder / "policy", 3.0, 2.0),
        ("other", others, 1.0, 1.0),
    ):
        chat = load_tokenizer(str(base), judges=True)
        save_reward_model(folder / name, new_reward_model(base, seed=1), chat, mean, std)
    return folder


@pytest.mark.parametrize(
    ("changes", "start", "scale", "bias"),
    [
        ({}, "reward", 6.0, -1.5),  # 3 * (raw - 0.25) / 0.5
        ({"normalize_reward": "mean"}, "reward", 3.0, -0.75),
        ({"normalize_reward": "none"}, "reward", 3.0, 0.0),
        ({"value_model_path": "{folder}/reward/"}, "reward", 6.0, -1.5),  # the one that pays
        ({"value_model_path": "{folder}/second"}, "second", 0.5, -1.5),  # (raw - 3) / 2
    ],
)
def test_critic_starts_from_the_normalised_reward_model(
    folder, tmp_path, changes, start, scale, bias
):
    """Source and weight are those of the reward; a reward model of another vocabulary is no start.

    The head's weight is scale times the reward model's, so that a state's value is its score.
    """
    settings = {key: value.format(folder=folder) for key, value in changes.items()}
    sources = [f"{folder}/other", f"3*{folder}/reward"]
    one = trainer(folder, tmp_path, reward=sources, **settings)
    path = settings.get("value_model_path", folder / start)
    assert one.notes == [f"The critic starts from {path}, normalisation folded into its head."]
    head, model = one.models.critic.head, load_reward_model(folder / start)
    torch.testing.assert_close(head.weight, scale * model.score.weight)
    assert head.bias.item() == pytest.approx(bias)
    for name, tensor in model.base_model.state_dict().items():
        assert torch.equal(one.models.critic.trunk.state_dict()[name], tensor), name


def test_critic_starts_fresh_without_a_fitting_reward_model(folder, tmp_path):
    """Bias 0, and the policy's own trunk."""
    one = trainer(folder, tmp_path, reward=[f"{folder}/other"])
    assert "fresh head" in one.notes[0]
    assert one.models.critic.head.bias.item() == 0.0
    trunk = one.models.policy.base_model.state_dict()
    assert all(
        torch.equal(tensor, trunk[name])
        for name, tensor in one.models.critic.trunk.state_dict().items()
    )
