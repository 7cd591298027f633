"""`rlhf COMMAND …`: finds the command and imports its module, and no other."""

import argparse
import difflib
import importlib
import os
import sys
from collections.abc import Sequence
from typing import NamedTuple, NoReturn

from rlhf import __version__
from rlhf.errors import STATUS_DONE, STATUS_USER, ConfigError, RLHFError, status_of
from rlhf.runtime.disk import disk_error


class Command(NamedTuple):
    """A command: `main(words)` of its module, or a recipe to launch."""

    name: str  # one or two words
    module: str
    help: str
    is_recipe: bool = False


COMMANDS = (
    Command("sft", "rlhf.recipes.sft", "Fine-tune a model on demonstrations.", True),
    Command("reward", "rlhf.recipes.reward_model", "Train a reward model on labels.", True),
    Command("dpo", "rlhf.recipes.dpo", "Train a policy on rankings, without a reward model.", True),
    Command("kto", "rlhf.recipes.kto", "Train a policy on thumbs up and down.", True),
    Command("ppo", "rlhf.recipes.ppo", "Optimize a policy with PPO, GRPO or a relative.", True),
    Command(
        "rejection_sampling",
        "rlhf.recipes.rejection_sampling",
        "Run SFT on the best of K responses, once or in rounds.",
        True,
    ),
    Command("evaluate", "rlhf.recipes.evaluate", "Compare models on held-out prompts.", True),
    Command(
        "evaluate-reward-model",
        "rlhf.evaluation.reward_model_command",
        "Report on a reward model, or run a public benchmark of reward models and judges.",
    ),
    Command(
        "compare",
        "rlhf.recipes.compare",
        "Compare methods on the same labels: win rate against KL, cost, which to take.",
        True,
    ),
    Command("align", "rlhf.recipes.align", "Run all stages, from SFT to the evaluation.", True),
    Command("plan", "rlhf.recipes.plan", "Predict the memory and time of a run, and what fits."),
    Command("launch", "rlhf.runtime.launcher", "Launch a script or module on N processes."),
    Command("sample", "rlhf.labels.sample_cli", "Sample K responses to each prompt."),
    Command("label", "rlhf.labels.cli", "Collect, simulate, import and export preference labels."),
    Command("chat", "rlhf.chat.cli", "Chat with one or several models in the terminal."),
    Command("serve", "rlhf.chat.web.cli", "Serve models: OpenAI-compatible API and chat page."),
    Command("report", "rlhf.report.write", "Write one HTML page about a run folder."),
    Command("merge", "rlhf.models.merge_cli", "Merge a LoRA adapter into its base model."),
    Command("data check", "rlhf.data.check", "Check the rows of files before a training run."),
    Command("data convert", "rlhf.data.convert", "Convert files of other formats to rows."),
    Command("data verdicts", "rlhf.rewards.verdict_rows", "Turn labels into rows of verdicts."),
    Command("data show", "rlhf.data.show_command", "Show how rows become tokens."),
    Command("recipes", "rlhf.recipes.shipped", "List or copy the recipes that come with rlhf."),
    Command("completion", "rlhf.completion", "Print a completion script for a shell."),
)
GROUPS = {"data": "Check, convert or show data files."}


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and exit: 0 done, 1 a failure in the run, 2 the user's mistake."""
    words = list(sys.argv[1:] if argv is None else argv)
    if "RLHF_PARENT" in os.environ:
        from rlhf.runtime.orphan import end_with_parent

        end_with_parent()
    try:
        sys.exit(run_command(words))
    except RLHFError as error:
        sys.exit(_fail(words, error))
    except KeyboardInterrupt:
        _print_error(words, "interrupted")
        sys.exit(130)
    except Exception as error:
        if (cause := disk_error(error)) is None:
            raise
        sys.exit(_fail(words, cause))


def run_command(words: Sequence[str]) -> int:
    """The exit status of `rlhf WORDS`.

    Raises:
        RLHFError: the command does not exist, or it failed.
    """
    match words:
        case []:
            help_parser().print_help(sys.stderr)
            return STATUS_USER
        case ["-h" | "--help", *_]:
            help_parser().print_help()
        case ["--version", *_]:
            print(f"rlhf {__version__}")
        case [group] if group in GROUPS:
            help_parser(group).print_help(sys.stderr)
            return STATUS_USER
        case [group, "-h" | "--help", *_] if group in GROUPS:
            help_parser(group).print_help()
        case _:
            command, rest = find_command(words)
            if command.is_recipe:
                return _run_recipe(command, rest)
            return importlib.import_module(command.module).main(rest) or STATUS_DONE
    return STATUS_DONE


def find_command(words: Sequence[str]) -> tuple[Command, list[str]]:
    """The command that `words` begin with, and the rest of them.

    Raises:
        ConfigError: no command has that name; the message has the nearest one.
    """
    name = " ".join(words[: 2 if words[0] in GROUPS else 1])
    for command in COMMANDS:
        if command.name == name:
            return command, list(words[len(name.split()) :])
    known = [command.name for command in COMMANDS] + list(GROUPS)
    nearest = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {nearest[0]!r}?" if nearest else "`rlhf --help` lists the commands."
    raise ConfigError(f"unknown command {name!r}; {hint}", code="unknown-key")


def help_parser(group: str = "") -> argparse.ArgumentParser:
    """A parser of the commands, or of those in `group`, without the options of each."""
    prog, prefix = f"rlhf {group}".strip(), f"{group} " if group else ""
    parser = argparse.ArgumentParser(
        prog=prog,
        description=GROUPS.get(group, "Fine-tune a language model with human feedback."),
        epilog=f"`{prog} COMMAND --help` lists the options of a command.",
    )
    if not group:
        parser.add_argument("--version", action="store_true", help="Print the version.")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")
    for command in COMMANDS:
        first, _, second = command.name.removeprefix(prefix).partition(" ")
        if command.name.startswith(prefix) and first not in commands.choices:
            commands.add_parser(first, help=GROUPS[first] if second else command.help)
    return parser


def _run_recipe(command: Command, words: list[str]) -> int:
    """Launch the recipe; only print from it, in this process, where nothing is to run."""
    asked = {word.replace("-", "_") for word in words}
    if asked & {"_h", "__help", "__print_config"}:
        sys.argv = [f"rlhf {command.name} [--num_processes N] [--config_file FILE]", *words]
        importlib.import_module(command.module).main()
        return STATUS_DONE
    from rlhf.runtime.launcher import LAUNCH_OPTIONS, run_recipe

    # num_processes is a key of these: the number of processes of each stage.
    has_stages = command.name in ("align", "compare", "rejection_sampling")
    options = ["--config_file"] if has_stages else LAUNCH_OPTIONS
    return run_recipe(command.module, words, options)


def _fail(words: Sequence[str], error: RLHFError) -> int:
    _print_error(words, f"{error} [{error.code}]")
    return status_of(error)


def _print_error(words: Sequence[str], message: object) -> None:
    print(f"{' '.join(['rlhf', *words[:1]])}: {message}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
