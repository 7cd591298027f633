import pytest

from rlhf.errors import ConfigError
from rlhf.training.ppo_config import PPOConfig

GIVEN = {"model_name_or_path": "m", "train_data": "d", "reward": ["r"], "max_steps": 2}


def test_episodes_become_iterations_rounded_up():
    config = PPOConfig(**{**GIVEN, "max_steps": None}, total_episodes=300, rollout_batch_size=128)
    assert config.num_steps == 3
    assert (config.num_prompts, config.minibatch_size) == (128, 32)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"total_episodes": 5}, "both of total_episodes"),
        ({"max_steps": None}, "neither of total_episodes"),
        ({"num_minibatches": 5}, "does not split into num_minibatches=5"),
        ({"num_generations": 3}, "does not split into num_generations=3"),
        ({"reward": []}, "reward is missing"),
        ({"missing_eos_penalty": 1.0, "missing_eos_score": 0.0}, "set one of them"),
        ({"temperature": 0.0}, "temperature=0.0"),
        ({"lam": 1.5}, "lam=1.5"),
        ({"kl_coef": -0.1}, "kl_coef=-0.1"),
        ({"dual_clip": 0.9}, "dual_clip=0.9"),
        ({"save_steps": 0}, "save_steps=0"),
    ],
)
def test_refused_in_words(changes, words):
    with pytest.raises(ConfigError, match=words):
        PPOConfig(**{**GIVEN, **changes})
