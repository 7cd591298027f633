"""`rlhf recipes list` and `rlhf recipes copy`: YAML files and data that come with the package."""

import argparse
import difflib
import filecmp
import shutil
from collections.abc import Sequence
from pathlib import Path

from rlhf.errors import STATUS_DONE, ConfigError
from rlhf.runtime.command_parser import CommandParser
from rlhf.runtime.disk import disk_errors
from rlhf.runtime.printing import counted
from rlhf.runtime.shipped import shipped_folder

# Per recipe: a sentence, and what it needs outside recipes/NAME. *.py are the scripts that
# `accelerate launch` and the recipe's own scripts run.
SCRIPTS = ("recipes/*.py", "accelerate_config.yaml")
RECIPES: dict[str, tuple[str, Sequence[str]]] = {
    "accelerate": ("Launch settings: DDP, FSDP2, DeepSpeed ZeRO-3, two machines.", ()),
    "gemma-3-1b": ("gemma-3-1b-it: SFT, reward model, PPO, GRPO, evaluation; LoRA.", ()),
    "helpful": (
        "A script that divides human labels: training, an independent judge, held out.",
        (),
    ),
    "instructions": ("Prompts whose constraints a program checks, and the reward for them.", ()),
    "kubernetes": ("A Kubernetes Job on one node or two.", ()),
    "llama-3.2-1b": ("Llama-3.2-1B-Instruct: SFT, reward model, PPO, GRPO, evaluation; LoRA.", ()),
    "llama-3.2-3b": ("Llama-3.2-3B-Instruct: SFT, reward model, PPO, GRPO, evaluation; LoRA.", ()),
    "olmo-2-1b": ("OLMo-2-0425-1B: SFT, reward model, PPO, GRPO, evaluation.", ()),
    "pocket": (
        "The whole pipeline on the bundled model of 2 M parameters, in minutes on a CPU.",
        ("data/pocket/**/*", *SCRIPTS),
    ),
    "probes": ("Prompts that show what training costs: memory, refusals, sycophancy.", ()),
    "pythia-1b-tldr": ("A published reproduction of TL;DR summaries: SFT, reward model, PPO.", ()),
    "qwen2.5-0.5b": ("Qwen2.5-0.5B: SFT and reward model with all weights or LoRA, PPO, GRPO.", ()),
    "qwen2.5-1.5b": ("Qwen2.5-1.5B: SFT, reward model, PPO, GRPO, evaluation.", ()),
    "qwen3-0.6b": ("Qwen3-0.6B: SFT, reward model, PPO, GRPO, evaluation; all weights.", ()),
    "qwen3-1.7b": ("Qwen3-1.7B: SFT, reward model, PPO, GRPO, evaluation; LoRA.", ()),
    "qwen3-4b": ("Qwen3-4B: SFT, reward model, PPO, GRPO, evaluation; LoRA.", ()),
    "skypilot": ("Cloud machines with SkyPilot, one or more.", SCRIPTS),
    "slurm": ("A job on one node or more of a Slurm cluster.", SCRIPTS),
    "smollm2-1.7b": ("SmolLM2-1.7B: SFT, reward model, PPO, GRPO, evaluation.", ()),
    "smollm2-135m": (
        "SmolLM2-135M-Instruct on two CPU cores: human labels, checkable instructions, probes.",
        ("recipes/helpful/*", "recipes/instructions/*", "recipes/probes/*"),
    ),
    "smollm2-360m": ("SmolLM2-360M: SFT, reward model, PPO, GRPO, evaluation; all weights.", ()),
    "stories260k": ("Rankings and a sentiment reward for a 260 K parameter story model.", ()),
    "suites": ("Suites of prompts with checks: over-refusal, sycophancy, two turns, IFEval.", ()),
    "toy_tasks": ("Small tasks whose optimum is known: brackets, Markov chains, sums.", SCRIPTS),
}


def main(argv: Sequence[str]) -> int:
    """`rlhf recipes`."""
    arguments = _parser().parse_args(argv)
    if arguments.command == "list":
        width = max(map(len, RECIPES))
        for name, (sentence, _) in RECIPES.items():
            print(f"{name:<{width}}  {sentence}")
        return STATUS_DONE
    written = copy_recipe(arguments.name, Path(arguments.folder))
    print(f"{arguments.name}: {counted(len(written), 'file')} in {arguments.folder}")
    return STATUS_DONE


def copy_recipe(name: str, folder: Path) -> list[Path]:
    """Copy recipes/NAME and what it needs below `folder`, under the same relative paths.

    Returns:
        The files of the recipe in `folder`. Those that were there already stay untouched.

    Raises:
        ConfigError: there is no such recipe, `folder` is a file, or a file in it differs; nothing
            is copied then.
    """
    if name not in RECIPES:
        nearest = difflib.get_close_matches(name, RECIPES, n=1)
        known = f"did you mean {nearest[0]}?" if nearest else f"choose from {', '.join(RECIPES)}."
        raise ConfigError(f"there is no recipe {name!r}; {known}", code="unknown-name")
    source = shipped_folder()
    patterns = (f"recipes/{name}/**/*", *RECIPES[name][1])
    files = sorted(
        path.relative_to(source)
        for pattern in patterns
        for path in source.glob(pattern)
        if path.is_file() and "__pycache__" not in path.parts
    )
    if folder.exists() and not folder.is_dir():
        raise ConfigError(
            f"{folder} is a file; name a folder: rlhf recipes copy {name} DIR.", code="file-exists"
        )
    missing = [file for file in files if not (folder / file).exists()]
    for file in set(files) - set(missing):
        if not filecmp.cmp(source / file, folder / file, shallow=False):
            raise ConfigError(
                f"{folder / file} exists and differs from the recipe's; move it away or copy to "
                f"another folder: rlhf recipes copy {name} DIR.",
                code="file-exists",
            )
    with disk_errors():
        for file in missing:
            (folder / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source / file, folder / file)
    return [folder / file for file in files]


def _parser() -> argparse.ArgumentParser:
    parser = CommandParser(
        prog="rlhf recipes",
        description="List or copy the recipes that come with rlhf.",
        allow_abbrev=False,
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    sentence = "List the recipes, one line each."
    commands.add_parser("list", help=sentence, description=sentence)
    sentence = "Copy a recipe and the data it needs. Files that differ are never overwritten."
    copy = commands.add_parser("copy", help=sentence, description=sentence)
    copy.add_argument("name", metavar="NAME", help=f"One of {', '.join(RECIPES)}.")
    copy.add_argument(
        "folder",
        nargs="?",
        default=".",
        metavar="DIR",
        help="Folder to copy to, in which you then run `rlhf align --config recipes/NAME/…`.",
    )
    return parser
