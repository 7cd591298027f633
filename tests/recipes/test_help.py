"""`--help` of every recipe."""

import importlib
import sys

import pytest

RECIPES = (
    "sft",
    "reward_model",
    "dpo",
    "kto",
    "ppo",
    "rejection_sampling",
    "evaluate",
    "align",
    "compare",
    "pretrain",
)


@pytest.mark.parametrize("name", RECIPES)
def test_help_lists_the_keys_and_keeps_the_docstring(name, monkeypatch, capsys):
    """argparse expands % in help texts: a single one broke the whole list."""
    recipe = importlib.import_module(f"recipes.{name}")
    monkeypatch.setattr("sys.argv", [f"{name}.py", "--help"])
    with pytest.raises(SystemExit) as exit_:
        recipe.main()
    assert exit_.value.code == 0
    printed = capsys.readouterr().out
    assert "--output_dir" in printed
    assert "--config" in printed
    lines = (sys.modules[recipe.main.__module__].__doc__ or "").splitlines()
    command = next(line for line in lines if line.startswith(("    rlhf ", "    python ")))
    assert f"\n{command}\n" in printed
