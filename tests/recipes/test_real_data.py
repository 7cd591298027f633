"""Run every command of docs/research/real-data.md on the shortest rows, for two steps."""

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
SHORT_KEYS = {
    "reward_model": "--max_steps 2 --per_device_train_batch_size 2 --drop_bad_rows true",
    "ppo": "--max_steps 2 --rollout_batch_size 8 --num_minibatches 2 --max_completion_length 8",
    "evaluate": "--num_generations 2 --max_completion_length 8 --bootstrap_samples 50",
}


def documented_commands(document: Path) -> list[list[str]]:
    """The arguments of each command in the document's bash blocks."""
    text = document.read_text(encoding="utf-8").replace("\\\n", " ")
    blocks = re.findall(r"^```bash\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return [shlex.split(line) for block in blocks for line in block.splitlines() if line]


def shorten_files(folder: Path) -> None:
    """Keep the shortest rows of each file in `folder`, except the training file of the judge.

    Fully tied rankings are dropped: they cannot measure a reward model.
    """
    for path in folder.rglob("*.jsonl"):
        if path.name != "judge.jsonl":
            lines = [line for line in path.read_text("utf-8").splitlines() if has_order(line)]
            lines.sort(key=len)
            path.write_text("".join(f"{line}\n" for line in lines[:ROWS]), "utf-8")


def has_order(line: str) -> bool:
    """Whether the row is not a ranking in which all responses tie."""
    return len(set(json.loads(line).get("ranks", (1, 2)))) > 1


def run(arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Run the command in this process, recipes for two steps; it has to succeed."""
    match arguments:
        case ["rlhf", "reward" | "ppo" | "evaluate" as stage, *keys]:
            recipe = {"reward": "reward_model"}.get(stage, stage)
            script = f"recipes/{recipe}.py"  # in this process: `rlhf` would start another one
            short_keys = SHORT_KEYS[recipe].split()
            monkeypatch.setattr(sys, "argv", [script, *keys, *short_keys, "--cpu_threads", "1"])
            with pytest.raises(SystemExit) as caught:
                runpy.run_path(script, run_name="__main__")
            assert caught.value.code == 0, " ".join(arguments)
        case ["rlhf", *cli_arguments]:
            assert run_command(cli_arguments) == 0
        case ["python", script, *arguments]:
            monkeypatch.setattr(sys, "argv", [script, *arguments])
            runpy.run_path(script, run_name="__main__")
        case _:
            pytest.fail(f"the document has an unknown kind of command: {arguments}")


def test_documented_commands_run(
    root: Path, shared_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
):
    project = tmp_path / "project"
    project.mkdir()
    (tmp_path / "shared").symlink_to(shared_dir)
    (project / "recipes").symlink_to(root / "recipes")
    monkeypatch.chdir(project)
    all_commands = documented_commands(root / "docs" / "research" / "real-data.md")
    conversions = [arguments for arguments in all_commands if arguments[1:3] == ["data", "convert"]]
    others = [arguments for arguments in all_commands if arguments not in conversions]
    assert (len(conversions), len(others)) == (7, 9)
    for arguments in conversions:
        run(arguments, monkeypatch)
    shorten_files(project / "runs")
    for arguments in others:
        run(arguments, monkeypatch)
    assert f"on {2 * ROWS} sentences" in capsys.readouterr().out
    results = read_results(project / "runs" / "sentiment" / "evaluation")
    shares = [find(results, "score", model, judge="gold").value for model in ("base", "ppo")]
    assert all(0 <= share <= 1 for share in shares)
    # The loss of the base model on its own samples is its entropy, between 0 and log 512.
    assert 0 < find(results, "reference_loss", "base").value < 6.24
    assert read_manifest(project / "runs" / "sentiment" / "ppo").eos_token_ids == (2, 1)
