"""Commands in README and docs, also those that no test runs: their options exist."""

import re
from functools import cache

import pytest

from tests.conftest import ROOT
from tests.test_docs import PAGES, name_of, snippets

COMMAND = re.compile(r"\b(rlhf (?:label |data |recipes )?[a-z][\w-]*)([^#|&;\n]*)")
OPTION = re.compile(r"(?<!\S)--([A-Za-z][\w-]*)")
OF_OTHERS = "rlhf launch"  # passes the options of another command on


@cache
def sections(name):
    """The text below each heading of a generated page of docs/reference/."""
    text = (ROOT / f"docs/reference/{name}.md").read_text(encoding="utf-8")
    _, *parts = re.split(r"^## (.+)$", text, flags=re.MULTILINE)
    return dict(zip(parts[::2], parts[1::2], strict=True))


@cache
def options_of(command):
    """The names of the command's options and keys."""
    cli, config = sections("cli"), sections("config")
    text = cli[command] + config.get(command, "")
    if command in config:
        text += config["Keys of every command"]
        text += "".join(part for title, part in cli.items() if title.startswith("Options of "))
    return {"help", *re.findall(r"(?:--|\| `)([A-Za-z][\w-]*)", text)}


def commands(page):
    """(command, its options) of each rlhf command in the page's blocks."""
    code = "\n".join(block.code for block in snippets(page) if block.language == "bash")
    found = COMMAND.findall(code.replace("\\\n", " "))
    return [(command, OPTION.findall(rest)) for command, rest in found if command != OF_OTHERS]


@pytest.mark.parametrize("page", [ROOT / "README.md", *PAGES], ids=name_of)
def test_options_of_commands_exist(page):
    for command, options in commands(page):
        assert set(options) <= options_of(command), command


def test_options_are_found():
    """A page without commands would pass whatever its keys are."""
    found = commands(ROOT / "docs/how-to/rollouts.md")
    assert "rollout_sleep" in [option for _, options in found for option in options]
    assert "rollout_sleep" in options_of("rlhf ppo")
    assert "rollout_sleep" not in options_of("rlhf evaluate")
