"""The argument parser of the commands: its errors are `ConfigError`s with a code."""

import argparse
import difflib
from collections.abc import Sequence
from typing import Any, NoReturn

from rlhf.errors import ConfigError, ErrorCode

# How argparse's messages of these mistakes begin.
CODES: dict[str, ErrorCode] = {
    "unrecognized arguments": "unknown-key",
    "argument COMMAND: invalid choice": "unknown-key",
    "the following arguments are required": "missing-key",
}


class DefaultsFormatter(argparse.ArgumentDefaultsHelpFormatter):
    """Adds the defaults to the help texts, except for those that say nothing: None, False, []."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        default = action.default
        if default is None or default is False or default in ("", []):
            return action.help
        return super()._get_help_string(action)


class CommandParser(argparse.ArgumentParser):
    """A parser that raises instead of printing its usage and exiting.

    The parsers of its subcommands are of this class too.
    """

    _words: Sequence[str] = ()  # that are being parsed

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """As in argparse, which calls it for every way of parsing."""
        if args is not None:
            self._words = list(args)
        return super().parse_known_args(args, namespace)

    def error(self, message: str) -> NoReturn:
        """Raise the `ConfigError` of a mistake on the command line.

        A mistyped option is named as such, also where argparse reports that the option which was
        meant is missing.
        """
        codes = (code for start, code in CODES.items() if message.startswith(start))
        code: ErrorCode = next(codes, "bad-value")
        parser = self._chosen_command()
        names_option = code in ("missing-key", "unknown-key") and "argument COMMAND" not in message
        if names_option and (unknown := parser._unknown_option()):
            options = list(parser._option_string_actions)
            nearest = difflib.get_close_matches(unknown, options, n=1)
            hint = f"did you mean {nearest[0]}? " if nearest else ""
            raise ConfigError(
                f"unknown option {unknown}; {hint}`{parser.prog} --help` lists the options.",
                code="unknown-key",
            )
        raise ConfigError(f"{message}; `{self.prog} --help` lists the options.", code=code)

    def _chosen_command(self) -> "CommandParser":
        """The parser of the command that the words name; this one where it has no commands."""
        for action in self._actions:
            if isinstance(action, argparse._SubParsersAction):
                for parser in action.choices.values():
                    if isinstance(parser, CommandParser) and parser._words:
                        return parser
        return self

    def _unknown_option(self) -> str | None:
        """The first word with two dashes, before a lone `--`, that names no option."""
        words = list(self._words)
        words = words[: words.index("--")] if "--" in words else words
        names = (word.partition("=")[0] for word in words if word.startswith("--"))
        return next((name for name in names if name not in self._option_string_actions), None)
