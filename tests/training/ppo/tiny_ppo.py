"""A PPO run that takes a second: a tiny random policy, rewarded for vowels."""

import dataclasses
from pathlib import Path
from typing import Any

import torch

from rlhf.data.config import PromptDataConfig
from rlhf.data.tokenization.tokenizer import load_tokenizer
from rlhf.models.config import BackboneConfig
from rlhf.rewards.config import RewardConfig
from rlhf.rewards.spec import parse_rewards
from rlhf.rollouts.environment import parse_environment
from rlhf.runtime.run_folder import RunConfig
from rlhf.training.ppo.config import PPOConfig
from rlhf.training.ppo.experience import make_experience
from rlhf.training.ppo.settings import PPOSettings
from rlhf.training.ppo.setup import PPOSetup
from rlhf.training.ppo.trainer import PPOTrainer
from rlhf.types import Experience, PromptRow, ScoredRollouts
from tests.tiny_models import make_model

REWARD = """
def vowels(prompts, completions):
    return [sum(c in "aeiou" for c in text) / 4 for text in completions]
"""
ROWS = [PromptRow(prompt=f"Where is the {'red ' * (i % 4)}ball {i}?") for i in range(10)]
DEFAULTS = {
    "train_data": "rows",
    "show_rows": 0,
    "max_steps": 3,
    "rollout_batch_size": 8,
    "num_generations": 2,
    "num_minibatches": 2,
    "num_ppo_epochs": 2,
    "max_completion_length": 6,
    "learning_rate": 1e-3,
    "bf16": False,
    "save_steps": 1,
    "save_total_limit": 9,
}


def make_folder(folder: Path) -> Path:
    """A policy and a reward function in `folder`."""
    make_model(folder / "policy")
    (folder / "reward.py").write_text(REWARD)
    return folder


def settings(**keys: Any) -> PPOSettings:
    """Settings from flat keys, each given to the class that has it."""

    def pick(kind: type) -> Any:
        names = {field.name for field in dataclasses.fields(kind)}
        return kind(**{name: keys.pop(name) for name in names & keys.keys()})

    made = PPOSettings(
        run=pick(RunConfig),
        model=pick(BackboneConfig),
        data=pick(PromptDataConfig),
        reward=pick(RewardConfig),
        ppo=pick(PPOConfig),
    )
    assert not keys, f"no configuration has {sorted(keys)}"
    return made


def trainer(
    folder, output_dir, checkpoint=None, texts=(), seed=0, rows=ROWS, environment=None, **changes
) -> PPOTrainer:
    """A trainer over `folder`'s policy; `changes` are keys of any configuration.

    environment: a class; without `reward` it alone rewards.
    """
    keys = {
        "output_dir": str(output_dir),
        "seed": seed,
        "resume_from_checkpoint": None if checkpoint is None else str(checkpoint),
        "model_name_or_path": str(folder / "policy"),
        "reward": [f"{folder}/reward.py:vowels"],
        **DEFAULTS,
        **changes,
    }
    spec = None if environment is None else parse_environment(environment)
    if spec is not None:
        keys |= {"environment": spec.name, "reward": changes.get("reward", [])}
    made = settings(**keys)
    return PPOTrainer.from_setup(
        PPOSetup(
            settings=made,
            world_size=1,
            chat=load_tokenizer(made.model.model_name_or_path),
            rewards=parse_rewards(made.reward.reward, optional=spec is not None),
            built_on=[made.model.model_name_or_path],
            prompts=rows,
            held_out=rows[:3],
            texts=texts,
            uses=[],
            environment=spec,
        )
    )


def scored_of(one: PPOTrainer, step: int = 1):
    """Scored rollouts of iteration `step`."""
    batch = one.sampler.next_prompts(step)
    return one.sampler.score(one.sampler.roll_out(one.models.policy, batch, step), step)


def experience_of(one: PPOTrainer, step: int = 1) -> Experience:
    """What the trainer would learn from in iteration `step`."""
    return experience_from(one, scored_of(one, step))


def experience_from(one: PPOTrainer, scored: ScoredRollouts) -> Experience:
    """What the trainer would learn from these rollouts."""
    return make_experience(scored, one.config, kl_coef=one.progress.kl_coef)


def update(one: PPOTrainer, experience: Experience, step: int = 1) -> dict[str, float]:
    """The metrics of an update with seed 0."""
    return one.updater.update(experience, step=step, seed=0, kl_coef=one.progress.kl_coef)


def weights(one: PPOTrainer) -> dict[str, torch.Tensor]:
    """Every weight of policy and critic, by name."""
    both = {"policy": one.models.policy, "critic": one.models.critic}
    return {
        f"{name}.{key}": tensor
        for name, module in both.items()
        if module is not None
        for key, tensor in module.state_dict().items()
    }
