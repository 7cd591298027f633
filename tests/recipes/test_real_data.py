"""Every command of docs/research/real-data.md, in order, on the shortest rows, for two steps."""

import json
import re
import runpy
import shlex
import sys
from pathlib import Path

import pytest

from rlhf.cli import run_command
from rlhf.evaluation.core.results import find, read_results
from rlhf.manifest import read_manifest

ROWS = 4
SHORT = {
    "reward_model": "--max_steps 2 --per_device_train_batch_size 2 --drop_bad_rows true",
    "ppo": "--max_steps 2 --rollout_batch_size 8 --num_minibatches 2 --max_completion_length 8",
    "evaluate": "--num_generations 2 --max_completion_length 8 --bootstrap_samples 50",
}


def commands(document: Path) -> list[list[str]]:
    """The words of each line of the document's bash blocks, continuations joined."""
    text = document.read_text(encoding="utf-8").replace("\\\n", " ")
    blocks = re.findall(r"^```bash\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return [shlex.split(line) for block in blocks for line in block.splitlines() if line]


def cut(folder: Path) -> None:
    """Leave the shortest rows of each file in `folder`; the judge learns from all of its own.

    Not the rankings that are one tie: a reward model cannot be measured on them.
    """
    for path in folder.rglob("*.jsonl"):
        if path.name != "judge.jsonl":
            lines = [line for line in path.read_text("utf-8").splitlines() if has_order(line)]
            lines.sort(key=len)
            path.write_text("".join(f"{line}\n" for line in lines[:ROWS]), "utf-8")


def has_order(line: str) -> bool:
    """Whether the row is anything but a ranking of which all answers tie."""
    return len(set(json.loads(line).get("ranks", (1, 2)))) > 1


def run(words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """The command in this process, a recipe shortened; it has to end well."""
    match words:
        case ["rlhf", "reward" | "ppo" | "evaluate" as stage, *keys]:
            recipe = {"reward": "reward_model"}.get(stage, stage)
            script = f"recipes/{recipe}.py"  # in this process: `rlhf` would start another one
            short = SHORT[recipe].split()
            monkeypatch.setattr(sys, "argv", [script, *keys, *short, "--cpu_threads", "1"])
            with pytest.raises(SystemExit) as ended:
                runpy.run_path(script, run_name="__main__")
            assert ended.value.code == 0, " ".join(words)
        case ["rlhf", *command]:
            assert run_command(command) == 0
        case ["python", script, *arguments]:
            monkeypatch.setattr(sys, "argv", [script, *arguments])
            runpy.run_path(script, run_name="__main__")
        case _:
            pytest.fail(f"the document has a command of another kind: {words}")


def test_the_documented_commands_run(
    root: Path, shared_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
):
    here = tmp_path / "project"
    here.mkdir()
    (tmp_path / "shared").symlink_to(shared_dir)
    (here / "recipes").symlink_to(root / "recipes")
    monkeypatch.chdir(here)
    documented = commands(root / "docs" / "research" / "real-data.md")
    converts = [words for words in documented if words[1:3] == ["data", "convert"]]
    others = [words for words in documented if words not in converts]
    assert (len(converts), len(others)) == (7, 9)
    for words in converts:
        run(words, monkeypatch)
    cut(here / "runs")
    for words in others:
        run(words, monkeypatch)
    assert f"on {2 * ROWS} sentences" in capsys.readouterr().out
    results = read_results(here / "runs" / "sentiment" / "evaluation")
    shares = [find(results, "score", model, judge="gold").value for model in ("base", "ppo")]
    assert all(0 <= share <= 1 for share in shares)
    # An untouched model's loss on its own samples is its entropy: between 0 and log 512.
    assert 0 < find(results, "reference_loss", "base").value < 6.24
    assert read_manifest(here / "runs" / "sentiment" / "ppo").eos_token_ids == (2, 1)
