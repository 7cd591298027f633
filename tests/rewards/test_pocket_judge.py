"""The bundled model as a generative reward model, by the files in recipes/pocket."""

import os
from pathlib import Path

import pytest
import yaml

from rlhf.rewards.generative import GenerativeReward
from rlhf.rewards.rubric import read_generative

RECIPES = Path(__file__).parents[2] / "recipes" / "pocket"
PROMPT = "Mia has the key. Tom has the bag. Who has the key?"


@pytest.fixture(autouse=True)
def _in_repository(root, monkeypatch):
    monkeypatch.chdir(root)


def test_bundled_model_judges_responses():
    """The right name scores above the wrong one; most of the probability is on the verdicts."""
    reward = GenerativeReward(RECIPES / "generative.yaml")
    expected, mass = reward.judge([PROMPT] * 2, ["Mia has the key.", "Tom has the key."])
    assert expected[0] > expected[1]
    assert float(mass.min()) > 0.5


def test_settings_of_the_trained_judge(tmp_path):
    """It names the folder that verdicts_sft.yaml writes, and works on the bundled model too."""
    settings = yaml.safe_load((RECIPES / "generative_trained.yaml").read_text())
    trained = yaml.safe_load((RECIPES / "verdicts_sft.yaml").read_text())
    assert settings["model"] == trained["output_dir"]
    assert settings["chat_template"] == trained["chat_template"]
    assert read_generative(RECIPES / "generative_trained.yaml").values == {" right": 1, " wrong": 0}
    file = tmp_path / "judge.yaml"
    file.write_text(yaml.safe_dump(settings | {"model": os.path.relpath("data/pocket/model")}))
    right, wrong = GenerativeReward(file).score([PROMPT] * 2, ["Mia has it.", "Tom has it."])
    assert 0 < wrong < right < 1
