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
SOURCES = "score/"  # its names are those of the reward's sources


@pytest.mark.parametrize("changes", RUNS, ids=["gae", "grpo"])
def test_every_logged_metric_is_explained(tmp_path, root, changes):
    folder = make_folder(tmp_path)
    (folder / "one.py").write_text(
        "def one(prompts, completions):\n    return [1] * len(prompts)\n"
    )
    reward = [f"{folder}/reward.py:vowels", f"{folder}/one.py:one"]
    trainer(folder, tmp_path / "run", max_steps=1, reward=reward, **changes).train()
    logged = {name for line in read_metrics(tmp_path / "run") for name in line}
    assert any(name.startswith(SOURCES) for name in logged)
    guide = (root / "docs/reference/metrics.md").read_text()
    table = re.findall(r"^\| (`.+?) \|", guide, re.MULTILINE)
    explained = {name for cell in table for name in re.findall(r"`([a-z_0-9]+)`", cell)}
    missing = {name for name in logged if not name.startswith(SOURCES)} - explained
    assert not missing
