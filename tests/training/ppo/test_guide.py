"""docs/reference/metrics.md explains every metric that a PPO run logs."""

import re

import pytest

from rlhf.training.common.metrics import read_metrics
from tests.training.ppo.tiny_ppo import make_folder, trainer

TEXTS = ["Where is the red ball?", "A cat, a dog and a bird.", "Tell me a story.", "The sea."]
RUNS = [
    {"ptx_data": "unused", "ptx_coef": 0.1, "texts": TEXTS, "on_reward_error": "skip"},
    {"advantage": "grpo", "eval_data": "unused", "dynamic_sampling": 1},
]
OF_A_SOURCE = "/SOURCE"  # in the guide, for the name of a source of the reward


@pytest.mark.parametrize("changes", RUNS, ids=["gae", "grpo"])
def test_every_logged_metric_is_explained(tmp_path, root, changes):
    folder = make_folder(tmp_path)
    (folder / "one.py").write_text(
        "def one(prompts, completions):\n    return [1] * len(prompts)\n"
    )
    reward = [f"{folder}/reward.py:vowels", f"{folder}/one.py:one"]
    trainer(folder, tmp_path / "run", max_steps=1, reward=reward, **changes).train()
    names = {name for line in read_metrics(tmp_path / "run") for name in line}
    logged = {re.sub("/.*", OF_A_SOURCE, name) for name in names}
    assert f"score{OF_A_SOURCE}" in logged
    guide = (root / "docs/reference/metrics.md").read_text()
    table = re.findall(r"^\| (`.+?) \|", guide, re.MULTILINE)
    explained = {name for cell in table for name in re.findall(r"`([a-z_0-9]+(?:/SOURCE)?)`", cell)}
    assert not logged - explained
