"""Write docs/reference/{cli,config,errors,api}.md from parsers, dataclasses, codes, signatures.

Tables and pictures of docs/research/ come from the results of experiments (research_pages.py).

python docs/generate.py            # tests/test_docs.py checks that the pages are up to date
"""

import argparse
import dataclasses
import importlib
import inspect
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import get_args

import research_pages

import rlhf
from rlhf import errors, ops
from rlhf.cli import COMMANDS
from rlhf.completion import parser_of
from rlhf.errors import ErrorCode
from rlhf.evaluation.suites.config import SuiteConfig
from rlhf.pipeline.config import AlignConfig
from rlhf.pipeline.preflight import CLASSES
from rlhf.pipeline.rounds_config import RoundsConfig
from rlhf.runtime.run_folder import RunConfig

ROOT = Path(__file__).parent.parent
MOST_FIELDS = 4  # of a dataclass whose signature the API page shows
MADE_BY = "<!-- Written by docs/generate.py; edit the source and run it again. -->\n"

STAGES = {
    "sft": ("sft", "Supervised fine-tuning: rows of `prompt` and `completion`, or `messages`."),
    "reward_model": ("reward", "A reward model from rankings, pairs, verdicts or ratings."),
    "dpo": ("dpo", "A policy from rankings or preference pairs, without a reward model (DPO)."),
    "kto": ("kto", "A policy from thumbs up and down, without a reward model (KTO)."),
    "ppo": ("ppo", "Reinforcement learning from a reward: PPO, GRPO and relatives."),
    "evaluate": ("evaluate", "Compare models on held-out prompts."),
    "rejection_sampling": ("rejection_sampling", "SFT on the best of K sampled responses."),
    "compare": ("compare", "Methods on the same labels: win rate against KL, and cost."),
}
EXIT_STATUS = """\
| status | meaning |
|---:|---|
| 0 | done |
| 1 | the run failed after its start (`TrainingError`); in `rlhf align` also: the reward model \
failed the gate (the checks before PPO) |
| 2 | the command, its configuration or its data has a mistake (`ConfigError`, `DataError`, \
`CheckpointError`); raised before a model loads where possible |
| 75 | SIGTERM stopped the run after a checkpoint; start it again with \
`--resume_from_checkpoint latest` |
| 130 | Ctrl-C |
"""

LAUNCH_OPTIONS = """\
## Options of sft, reward, dpo, kto, ppo, evaluate, rejection_sampling, compare and align

These commands read their keys from a YAML file. Every key is also an option (`--key value`), \
which overrides the file. [Configuration](config.md) lists the keys. All nine commands also take:

| option | default | |
|---|---|---|
| `--config FILE` |  | YAML file of keys. |
| `--print_config` | `false` | Print the final configuration (file plus options) as YAML and exit. |
| `--num_processes N` | `1` | Processes on this machine, one per GPU. For `align`, \
`compare` and `rejection_sampling`, processes of each stage. |
| `--config_file FILE` |  | Configuration file of `accelerate launch`. Default: \
accelerate_config.yaml in the current folder, or else the packaged file. |
"""


def leaves(
    command: str, parser: argparse.ArgumentParser
) -> Iterator[tuple[str, argparse.ArgumentParser]]:
    """The command with its parser, or each of its subcommands with theirs."""
    groups = [a for a in parser._actions if isinstance(a, argparse._SubParsersAction)]
    if not groups:
        yield command, parser
    for group in groups:
        for name, below in group.choices.items():
            yield from leaves(f"{command} {name}", below)


def cell(text: object) -> str:
    """`text` on one line, as the cell of a Markdown table."""
    words = " ".join(str(text).split()).replace("|", "\\|")
    parts = words.split("`")  # brackets and tags are text, except in code
    parts[::2] = [
        re.sub(r"<(?=[A-Za-z/])", "&lt;", part).replace("[", "\\[") for part in parts[::2]
    ]
    return "`".join(parts)


def literal(value: object) -> str:
    """A default as YAML would hold it; nothing where there is none."""
    if value is None or value is dataclasses.MISSING or value == argparse.SUPPRESS:
        return ""
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    text = " ".join(str(value).split()).replace("|", "\\|")
    return f"`{text}`" if text not in ("[]", "") else ""


def option_rows(parser: argparse.ArgumentParser) -> Iterator[str]:
    """One table row for each option of `parser`."""
    for action in parser._actions:
        if isinstance(action, argparse._HelpAction | argparse._SubParsersAction):
            continue
        if action.help == argparse.SUPPRESS:
            continue
        # Each boolean key has a --no_KEY next to it.
        if any(word.startswith("--no_") for word in action.option_strings):
            continue
        name = action.option_strings[-1] if action.option_strings else action.dest.upper()
        choices = ", ".join(f"`{choice}`" for choice in action.choices or ())
        sentence = cell((action.help or "").replace("%%", "%"))
        sentence = re.sub(r"\s*\(default: %\(default\)s\)", "", sentence)
        if choices and not sentence.count("`"):
            sentence += f" One of {choices}."
        # argparse calls positional arguments required even if there may be none of them.
        is_required = action.required and action.nargs != "*"
        default = "**required**" if is_required else literal(action.default)
        yield f"| `{name}` | {default} | {sentence} |"


def cli_page() -> str:
    """reference/cli.md."""
    parts = [
        MADE_BY,
        "# Command line\n",
        "`rlhf COMMAND --help` prints the same options. `rlhf --version` prints the version.\n",
        "## Exit status\n",
        EXIT_STATUS,
    ]
    parts += [LAUNCH_OPTIONS]
    configured = {command for command, _ in STAGES.values()} | {"align"}
    pairs = [(command.name, parser_of(command.name)) for command in COMMANDS]
    for command, parser in (leaf for pair in pairs for leaf in leaves(*pair)):
        parts.append(f"## rlhf {command}\n")
        description = (parser.description or "").strip()
        if description:
            parts.append(markdown(description) + "\n")
        if command in configured:
            parts.append(f"Keys: [rlhf {command}](config.md#rlhf-{command}).\n")
            continue
        if rows := list(option_rows(parser)):
            parts += ["| option | default | |\n|---|---|---|", *rows, ""]
    return "\n".join(parts)


def markdown(docstring: str) -> str:
    """A module's docstring as Markdown: indented commands stay code, text loses its indent."""
    lines = docstring.splitlines()
    rest = [line for line in lines[1:] if line.strip()]
    indent = min((len(line) - len(line.lstrip()) for line in rest), default=0)
    text = "\n".join([lines[0], *(line[indent:] if line.strip() else "" for line in lines[1:])])
    return re.sub(r"(?<!`)<(?=[A-Za-z/])", "&lt;", text)


def key_rows(config: type) -> Iterator[str]:
    """One table row for each key of a configuration dataclass."""
    for field in dataclasses.fields(config):
        default = field.default
        if field.default_factory is not dataclasses.MISSING:
            default = field.default_factory()
        missing = field.default is field.default_factory is dataclasses.MISSING
        text = "**required**" if missing else literal(default)
        sentence = cell(field.metadata.get("help", ""))
        yield f"| `{field.name}` | `{type_name(field.type)}` | {text} | {sentence} |"


def type_name(annotation: object) -> str:
    """A type as a reader of YAML wants to see it: choices in full, no None."""
    if isinstance(annotation, type) and not get_args(annotation):
        return annotation.__name__
    arguments = [part for part in get_args(annotation) if part is not type(None)]
    text = str(annotation).replace("typing.", "").replace(" | None", "")
    if text.startswith("Literal"):
        return " \\| ".join(map(str, arguments))
    if len(arguments) == 1 and not text.startswith(("list", "dict")):
        return type_name(arguments[0])
    literals = [part for part in arguments if str(part).startswith("typing.Literal")]
    return type_name(literals[0]) if literals else text.replace("|", "\\|")


HEAD = "| key | type | default | |\n|---|---|---|---|"


def config_page() -> str:
    """reference/config.md."""
    parts = [
        MADE_BY,
        "# Configuration\n",
        "This page lists the keys of the YAML files. They are also options of the commands and "
        "fields of the dataclasses in Python. In Python, PPO takes `PromptOptions` plus the "
        "arguments `prompts` and `eval_prompts`; `rlhf.evaluate` takes some of the keys as "
        "arguments. An unknown key is an error that names the nearest "
        "known one. "
        "`--print_config` prints the final configuration (file plus options) as YAML. "
        "`--dry_run true` checks everything without training.\n",
        "## Keys of every command\n",
        HEAD,
        *key_rows(RunConfig),
        "",
    ]
    for recipe, (command, sentence) in STAGES.items():
        parts += [f"## rlhf {command}\n", sentence + "\n"]
        for config in CLASSES[recipe]:
            if config is not RunConfig:
                parts += [f"### {config.__name__} ({command})\n", HEAD, *key_rows(config), ""]
        if recipe == "evaluate":
            parts += ["### SuiteConfig (evaluate --suite)\n"]
            parts += ["See [Test a model with suites](../how-to/suites.md).\n"]
            parts += [HEAD, *key_rows(SuiteConfig), ""]
    parts += ["## rlhf align\n", "All stages in order; see "]
    parts[-1] += "[Run the pipeline](../how-to/run-the-pipeline.md).\n"
    parts += [HEAD, *key_rows(AlignConfig), ""]
    parts += ["### RoundsConfig (align)\n", "See [Rounds](../how-to/rounds.md).\n"]
    parts += [HEAD, *key_rows(RoundsConfig), ""]
    return "\n".join(parts)


def error_groups() -> dict[str, dict[str, str]]:
    """Codes with their comments, by the comment that heads their group, as errors.py lists them."""
    source = Path(errors.__file__).read_text(encoding="utf-8")
    body = source.partition("ErrorCode = Literal[\n")[2].partition("\n]\n")[0]
    groups: dict[str, dict[str, str]] = {}
    for line in body.splitlines():
        if heading := re.fullmatch(r"\s*# (.+)", line):
            groups[heading[1]] = {}
        elif code := re.fullmatch(r'\s*"([a-z-]+)",(?:\s*# (.+))?', line):
            groups[[*groups][-1]][code[1]] = code[2] or ""
        else:
            raise ValueError(f"rlhf/errors.py: {line!r} is neither a code nor a heading")
    assert {code for codes in groups.values() for code in codes} == set(get_args(ErrorCode))
    return groups


def errors_page() -> str:
    """reference/errors.md."""
    parts = [
        MADE_BY,
        "# Errors\n",
        "Every error that you can cause is an `RLHFError`. Its message names the place, the value, "
        "the reason and the next step. Its `code` is stable, and a command prints the code in "
        "brackets after the message. In programs, match the code and not the message:\n",
        "```python\nimport rlhf\nfrom rlhf.errors import RLHFError\n\ntry:\n"
        '    rlhf.ChatModel("runs/no-such-model")\nexcept RLHFError as error:\n'
        "    print(error.code)\n```\n",
        "`ConfigError` and `DataError` are also `ValueError`; `CheckpointError` is also `OSError`; "
        "`TrainingError` is also `RuntimeError`. [Troubleshooting](../troubleshooting.md) starts "
        "from symptoms.\n",
        "## Exit status\n",
        EXIT_STATUS,
    ]
    for heading, codes in error_groups().items():
        parts.append(f"## {heading[0].upper()}{heading[1:]}\n")
        for code, comment in codes.items():
            sentence = comment or code.replace("-", " ")
            parts.append(f"### {code}\n\n{sentence[0].upper()}{sentence[1:].rstrip('.')}.\n")
    return "\n".join(parts)


API = "reference/api.md"
TABLE = re.compile(r"(<!-- signatures -->\n).*?(<!-- end of signatures -->\n)", re.DOTALL)
DIRECTIVE = re.compile(r"^::: (rlhf[\w.]*)\n(?:    options:\n(?:      .+\n)*)?", re.MULTILINE)


def api_page() -> str:
    """reference/api.md: the page as it is, with a new table of signatures."""
    page = (ROOT / "docs" / API).read_text(encoding="utf-8")
    rows = [row for match in DIRECTIVE.finditer(page) for row in signature_rows(match)]
    table = "\n".join(["| name | |", "|---|---|", *rows, ""])
    return TABLE.sub(lambda marks: f"{marks[1]}\n{table}\n{marks[2]}", page)


def signature_rows(directive: re.Match[str]) -> Iterator[str]:
    """The table's rows of one `:::` directive: an object with its members, or a module's."""
    path = directive[1]
    if path == errors.__name__:
        for name in ("RLHFError", "ConfigError", "DataError", "CheckpointError", "TrainingError"):
            yield signature_row(f"rlhf.{name}", getattr(errors, name))
        return
    if path.startswith("rlhf.ops."):
        module = importlib.import_module(path)
        for name, item in vars(module).items():
            if name in ops.__all__ and getattr(item, "__module__", "") == path:
                yield signature_row(f"rlhf.ops.{name}", item)
        return
    item = getattr(rlhf, path.partition(".")[2])
    yield signature_row(path, item)
    members = re.search(r"members: \[(.*)\]", directive[0])
    for name in members[1].split(", ") if members and members[1] else ():
        member = inspect.getattr_static(item, name)
        yield signature_row(f"{path.rpartition('.')[2]}.{name}", member)


def signature_row(name: str, item: property | Callable[..., object]) -> str:
    """One row: the name with its arguments, and the first line of the docstring."""
    first = (inspect.getdoc(item) or "").partition("\n")[0]
    arguments = ""
    if not isinstance(item, property):
        signature = inspect.signature(item)
        plain = [
            parameter.replace(annotation=parameter.empty)
            for parameter in signature.parameters.values()
            if parameter.name != "self"
        ]
        arguments = str(signature.replace(parameters=plain, return_annotation=signature.empty))
    is_keys = dataclasses.is_dataclass(item) and len(dataclasses.fields(item)) > MOST_FIELDS
    return f"| `{name}{'(KEY=value, …)' if is_keys else arguments}` | {cell(first)} |"


PAGES: dict[str, Callable[[], str]] = {
    "reference/cli.md": cli_page,
    "reference/config.md": config_page,
    "reference/errors.md": errors_page,
    "reference/api.md": api_page,
    **research_pages.PAGES,
}


def main() -> None:
    """Write all pages."""
    for name, page in PAGES.items():
        path = ROOT / "docs" / name
        path.write_text(page().rstrip() + "\n", encoding="utf-8")
        print(path.relative_to(ROOT), file=sys.stderr)


if __name__ == "__main__":
    main()
