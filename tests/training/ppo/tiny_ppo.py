"""A PPO run that takes a second: a tiny random policy, paid for vowels."""

from pathlib import Path

import torch

from rlhf.data.tokenization.tokenizer import load_tokenizer
from rlhf.runtime.run_folder import RunConfig
from rlhf.training.ppo.config import PPOConfig
from rlhf.training.ppo.trainer import PPOTrainer
from rlhf.types import Experience, PromptRow
from tests.tiny_models import make_model

REWARD = """
def vowels(prompts, completions):
    return [sum(c in "aeiou" for c in text) / 4 for text in completions]
"""
ROWS = [PromptRow(prompt=f"Where is the {'red ' * (i % 4)}ball {i}?") for i in range(10)]


def make_folder(folder: Path) -> Path:
    """A policy and a reward function in `folder`."""
    make_model(folder / "policy")
    (folder / "reward.py").write_text(REWARD)
    return folder


def trainer(
    folder, output_dir, checkpoint=None, texts=(), seed=0, rows=ROWS, **changes
) -> PPOTrainer:
    """A trainer over `folder`'s policy; `changes` are keys of PPOConfig."""
    options = {
        "model_name_or_path": str(folder / "policy"),
        "train_data": "unused",
        "reward": [f"{folder}/reward.py:vowels"],
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
    config = PPOConfig(**{**options, **changes})
    chat = load_tokenizer(config.model_name_or_path)
    return PPOTrainer(
        RunConfig(output_dir=str(output_dir), seed=seed),
        config,
        chat,
        rows,
        rows[:3],
        checkpoint=checkpoint,
        write_manifest=lambda target: None,
        report=lambda step, figures: None,
        texts=texts,
    )


def experience_of(one: PPOTrainer, step: int = 1) -> Experience:
    """What the trainer would learn from in iteration `step`."""
    return one.experience(
        one.evaluate(one.roll_out(one.models.policy, one.next_prompts(step), step))
    )


def weights(of: PPOTrainer) -> dict[str, torch.Tensor]:
    """Every weight of policy and critic, by name."""
    both = {"policy": of.models.policy, "critic": of.models.critic}
    return {
        f"{name}.{key}": tensor
        for name, module in both.items()
        if module is not None
        for key, tensor in module.state_dict().items()
    }
