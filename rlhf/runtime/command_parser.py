"""The argument parser of the commands: its errors are `ConfigError`s with a code."""

import argparse
from typing import NoReturn

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

    def error(self, message: str) -> NoReturn:
        """Raise the `ConfigError` of a mistake on the command line."""
        codes = (code for start, code in CODES.items() if message.startswith(start))
        raise ConfigError(
            f"{message}; `{self.prog} --help` lists the options.", code=next(codes, "bad-value")
        )
