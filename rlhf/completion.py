"""`rlhf completion SHELL`: a script that completes commands and their options."""

import argparse
import contextlib
from collections.abc import Sequence
from typing import NoReturn
from unittest import mock

from rlhf.cli import COMMANDS, GROUPS, help_parser, run_command
from rlhf.errors import STATUS_DONE, ConfigError
from rlhf.runtime.command_parser import CommandParser

SHELLS = ("bash", "zsh", "fish")


class _ParserReady(Exception):
    """Carries a command's parser out of its `--help`."""

    def __init__(self, parser: argparse.ArgumentParser) -> None:
        super().__init__(parser.prog)
        self.parser = parser


def main(argv: Sequence[str]) -> int:
    """`rlhf completion`."""
    parser = CommandParser(
        prog="rlhf completion",
        description="Print a completion script. In bash: rlhf completion bash > "
        "~/.local/share/bash-completion/completions/rlhf",
    )
    parser.add_argument("shell", choices=SHELLS, help="Shell to write the script for.")
    shell: str = parser.parse_args(argv).shell
    try:
        import shtab
    except ImportError as error:
        raise ConfigError(
            "completion needs shtab, which is not installed; run `pip install 'rlhf[completion]'`.",
            code="missing-package",
        ) from error
    print(shtab.complete(full_parser(), shell=shell))
    return STATUS_DONE


def full_parser() -> argparse.ArgumentParser:
    """`help_parser` with the options of every command. It imports all of them."""
    top = help_parser()
    groups = {"": subparsers(top)}
    for name in GROUPS:
        group = help_parser(name)
        groups[name] = subparsers(group)
        groups[""][name] = group
    for command in COMMANDS:
        group_name, _, name = command.name.rpartition(" ")
        # A command that needs a missing optional package is completed without its options.
        with contextlib.suppress(ImportError):
            groups[group_name][name] = parser_of(command.name)
    return top


def parser_of(command: str) -> argparse.ArgumentParser:
    """The parser that prints `rlhf COMMAND --help`."""

    def stop(parser: argparse.ArgumentParser, file: object = None) -> NoReturn:
        raise _ParserReady(parser)

    with mock.patch.object(argparse.ArgumentParser, "print_help", stop):
        try:
            run_command([*command.split(), "--help"])
        except _ParserReady as ready:
            return ready.parser
    raise RuntimeError(f"`rlhf {command} --help` prints no help of argparse")


def subparsers(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    """The parsers of its commands by name, to replace them there."""
    [action] = [a for a in parser._actions if isinstance(a, argparse._SubParsersAction)]
    choices: dict[str, argparse.ArgumentParser] = action.choices
    return choices
