"""Commands import no more than they need: heavy packages by name, not by time."""

import subprocess
import sys
from pathlib import Path

import pytest

from rlhf.cli import COMMANDS

HEAVY = {"torch", "transformers", "trl", "peft", "accelerate", "datasets", "scipy", "pandas"}
HEAVY |= {"matplotlib", "sklearn", "fastapi", "lm_eval", "numba", "sqlalchemy"}
# The rest of the command line follows; the modules are printed however the command ends.
CALL = """
import atexit, sys
atexit.register(lambda: print("imported:", *{name.split(".")[0] for name in sys.modules}))
from rlhf.cli import main
main(sys.argv[1:])
"""
AGENT = """
import atexit, sys
atexit.register(lambda: print("imported:", *{name.split(".")[0] for name in sys.modules}))
from rlhf.runtime.agent import main
sys.exit(main(sys.argv[1:]))
"""
WORKER = """
import atexit, sys
atexit.register(lambda: print("imported:", *{name.split(".")[0] for name in sys.modules}))
import importlib
from rlhf.runtime.entrypoint import run
run(importlib.import_module(sys.argv.pop(1)).main)
"""
# Keys of other recipes than this one.
NOT_OF = {
    "sft": {"reward", "models"},
    "reward_model": {"reward", "models"},
    "dpo": {"reward", "models"},
    "kto": {"reward", "models"},
    "ppo": {"models"},
    "evaluate": {"reward", "model_name_or_path"},
}
RECIPES = [command for command in COMMANDS if command.is_recipe]


def imported(program: str, *words: object, folder: Path | None = None) -> set[str]:
    """The heavy packages that a Python program imports."""
    command = [sys.executable, "-c", program, *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder)
    *_, line = (line for line in done.stdout.splitlines() if line.startswith("imported: "))
    return set(line.split()) & HEAVY


@pytest.mark.parametrize(
    "words",
    ["--version", "--help", "data --help", "recipes list", "launch --help", "no-such-command"],
)
def test_commands_without_a_model_import_nothing_heavy(words):
    assert imported(CALL, *words.split()) == set()


@pytest.mark.parametrize("command", [command.name for command in COMMANDS])
def test_help_imports_nothing_heavy(command):
    assert imported(CALL, *command.split(), "--help") == set()


@pytest.mark.parametrize(
    "words",
    [
        "data check no.jsonl",
        "data convert no.jsonl --format hh --output rows.jsonl",
        "label stats --store no.sqlite",
        "label import no.jsonl --store labels.sqlite",
        "report no-such-run",
        "chat --no_such_option",
        "chat ./no-such-model",
        "chat . --chat_template_kwargs []",
        "sample --no_such_option",
        "sample --promts p --model m --output o",
        "sample --prompts no.jsonl --model . --output o.jsonl",
        "sample --prompts o/p --model . --output o.jsonl --chat_template_kwargs []",
        "sample --prompts . --server 127.0.0.1:8000/v1 --output o.jsonl",
        "sample --prompts . --server http://127.0.0.1:9/v1 --output o.jsonl",
        "serve --no_such_option",
        "serve ./no-such-model",
        "serve . --host 0.0.0.0",
        "serve . --max_requests 0",
        "serve . --chat_template_kwargs []",
        "serve . --token short",
        "serve --arena one=. two=. --questions_per_hour 0",
        "merge --no_such_option",
    ],
)
def test_mistakes_are_reported_before_heavy_imports(tmp_path, words):
    # A command of the label store opens it, which needs its database.
    assert imported(CALL, *words.split(), folder=tmp_path) <= {"sqlalchemy"}


def test_launcher_imports_nothing_heavy(tmp_path):
    assert imported(CALL, "sft", "--no_such_key", "1", folder=tmp_path) == set()


def test_agent_of_one_process_imports_nothing_heavy(tmp_path):
    (tmp_path / "script.py").write_text("")
    assert imported(AGENT, "--num_processes=1", tmp_path / "script.py") == set()


def test_agent_of_two_processes_uses_accelerate(tmp_path):
    assert imported(AGENT, "--num_processes=2", tmp_path / "none.py") >= {"torch", "accelerate"}


@pytest.mark.parametrize("words", [["--no_such_key", "1"], [], ["--output_dir"]])
@pytest.mark.parametrize("command", RECIPES, ids=lambda command: command.name)
def test_worker_reports_wrong_keys_before_heavy_imports(tmp_path, command, words):
    assert imported(WORKER, command.module, *words, folder=tmp_path) == set()


@pytest.mark.parametrize("command", ["sft", "reward_model", "dpo", "kto", "ppo", "evaluate"])
@pytest.mark.parametrize("words", ["--train_data none.jsonl", "--output_dir used"])
def test_worker_checks_paths_before_model_libraries(tmp_path, command, words):
    """`used` has a run."""
    (tmp_path / "used").mkdir()
    (tmp_path / "used" / "config.yaml").write_text("output_dir: used\n")
    (tmp_path / "rows.jsonl").write_text("")
    needed = {
        "output_dir": "new",
        "train_data": "rows.jsonl",
        "model_name_or_path": "m",
        "reward": "m",
        "models": "a=m",
        "eval_data": "rows.jsonl",
    }
    keys = {name for name in needed if f"--{name}" not in words} - NOT_OF[command]
    arguments = [f"--{name}={needed[name]}" for name in sorted(keys)]
    module = f"rlhf.recipes.{command}"
    assert imported(WORKER, module, *words.split(), *arguments, folder=tmp_path) == set()
