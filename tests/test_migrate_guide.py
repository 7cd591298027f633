"""docs/migrate.md names keys that exist."""

import dataclasses
import re

from rlhf.run_folder import RunConfig
from rlhf.training.ppo_config import PPOConfig


def rows(root):
    """(theirs, ours) of each line of the tables."""
    lines = (root / "docs/migrate.md").read_text(encoding="utf-8").splitlines()
    cells = [line.split("|") for line in lines if line.startswith("| ")]
    return [(row[1], row[2]) for row in cells if "here" not in row[2]]


def test_every_key_of_ours_in_the_guide_exists(root):
    keys = {field.name for kind in (PPOConfig, RunConfig) for field in dataclasses.fields(kind)}
    named = {name for _, ours in rows(root) for name in re.findall(r"`-*([a-z_0-9]+)", ours)}
    assert len(named) > 30
    assert named <= keys, f"docs/migrate.md names {sorted(named - keys)}"
