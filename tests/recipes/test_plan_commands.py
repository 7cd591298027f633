"""The commands in the headers of recipes that predict memory and time."""

import re
from pathlib import Path

import pytest
import yaml

from rlhf.recipes.plan import main

ROOT = Path(__file__).parents[2]
COMMANDS = {
    path.relative_to(ROOT).as_posix(): command.group(1).split()
    for path in sorted((ROOT / "recipes").glob("*/*.yaml"))
    if (command := re.search(r"^# Memory and time: rlhf plan (.*)$", path.read_text(), re.M))
}


def test_every_file_that_trains_a_named_model_has_one():
    stages = {Path(path).name for path in COMMANDS}
    assert stages == {"sft.yaml", "reward_model.yaml", "ppo.yaml", "grpo.yaml"}
    assert len(COMMANDS) == 45  # four files of eleven models, and grpo.yaml of qwen2.5-0.5b


@pytest.mark.parametrize("path", COMMANDS)
def test_command_names_its_file_and_the_model_of_sft(path):
    words = COMMANDS[path]
    folder = (ROOT / path).parent
    sft = next(file for name in ("sft", "sft-full") if (file := folder / f"{name}.yaml").is_file())
    hub = yaml.safe_load(sft.read_text())["model_name_or_path"]
    own = yaml.safe_load((ROOT / path).read_text())["model_name_or_path"]
    assert words == [path, *([] if own == hub else ["--model", hub]), "--gpus", "1xH100-80"]


@pytest.mark.parametrize("stage", ["sft", "reward_model", "ppo", "grpo"])
def test_command_plans(stage, root, monkeypatch, capsys):
    """With the sizes of the bundled model, which is on this machine."""
    monkeypatch.chdir(root)
    words = COMMANDS[f"recipes/qwen3-1.7b/{stage}.yaml"]
    model = ["--model", str(root / "data" / "pocket" / "model")]
    assert main([words[0], *model, *words[-2:]]) == 0
    assert "H100-80" in capsys.readouterr().out
