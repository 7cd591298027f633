"""docs/how-to/migrate.md names keys that exist."""

import dataclasses
import re

from rlhf.training.ppo.settings import PPO_CLASSES


def rows(root):
    """(theirs, ours) of each line of the tables."""
    lines = (root / "docs/how-to/migrate.md").read_text(encoding="utf-8").splitlines()
    cells = [line.split("|") for line in lines if line.startswith("| ")]
    return [(row[1], row[2]) for row in cells if "here" not in row[2]]


def test_every_key_of_ours_in_the_guide_exists(root):
    keys = {field.name for kind in PPO_CLASSES for field in dataclasses.fields(kind)}
    named = {name for _, ours in rows(root) for name in re.findall(r"`-*([a-z_0-9]+)", ours)}
    assert len(named) > 30
    assert named <= keys, f"docs/how-to/migrate.md names {sorted(named - keys)}"


def test_keys_of_openrlhf_are_those_of_its_dotted_command_line(root):
    """0.11 has every key in a group; an undotted one is of a version before."""
    guide = (root / "docs/how-to/migrate.md").read_text(encoding="utf-8")
    table = guide.partition("## OpenRLHF 0.11")[2]
    left = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `")]
    keys = re.findall(r"`--([^`]+)`", " ".join(left))
    assert len(keys) > 60
    assert all(re.fullmatch(r"[a-z]+(\.[a-z0-9_]+)+", key) for key in keys)
