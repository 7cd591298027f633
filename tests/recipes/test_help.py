"""Every recipe says what its keys are, and what they are set to."""

import importlib

import pytest

RECIPES = ("sft", "reward_model", "ppo", "evaluate", "align", "pretrain")


@pytest.mark.parametrize("name", RECIPES)
def test_help_lists_the_keys(name, monkeypatch, capsys):
    """argparse expands % in help texts: one that stands alone broke the whole list."""
    recipe = importlib.import_module(f"recipes.{name}")
    monkeypatch.setattr("sys.argv", [f"{name}.py", "--help"])
    with pytest.raises(SystemExit) as exit_:
        recipe.main()
    assert exit_.value.code == 0
    said = capsys.readouterr().out
    assert "--output_dir" in said
    assert "--config" in said
