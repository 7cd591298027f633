"""Mistakes on the command line: a mistyped option is named as such."""

import argparse

import pytest

from rlhf.runtime.command_parser import CommandParser
from tests.errors import raises


@pytest.fixture
def parser() -> CommandParser:
    parser = CommandParser(prog="rlhf x", allow_abbrev=False)
    parser.add_argument("files", nargs="*")
    parser.add_argument("--prompts", required=True)
    parser.add_argument("--output")
    return parser


@pytest.mark.parametrize("parse", ["parse_args", "parse_intermixed_args"])
def test_mistyped_option_is_named_instead_of_the_missing_one(parser, parse):
    with raises("unknown-key", "--promts", "did you mean --prompts?", "`rlhf x --help`"):
        getattr(parser, parse)(["a", "--promts", "p.jsonl"])
    with raises("unknown-key", "--outptu", "--output"):
        getattr(parser, parse)(["--prompts", "p", "--outptu=o"])


def test_missing_option_is_named_where_nothing_is_mistyped(parser):
    with raises("missing-key", "--prompts"):
        parser.parse_args(["--output", "o"])
    with raises("missing-key", "--prompts"):
        parser.parse_args(["--", "--promts"])  # a file's name


def test_option_that_resembles_none_has_no_advice(parser):
    with raises("unknown-key", "unknown option --zzz; `rlhf x --help`"):
        parser.parse_args(["--prompts", "p", "--zzz"])


def test_mistyped_option_of_a_subcommand_is_compared_with_its_options():
    root = CommandParser(prog="rlhf y", allow_abbrev=False)
    commands = root.add_subparsers(dest="command", required=True, metavar="COMMAND")
    commands.add_parser("one", allow_abbrev=False).add_argument("--gold")
    commands.add_parser("two", allow_abbrev=False).add_argument("--glad")
    with raises("unknown-key", "--gld", "--gold", "`rlhf y one --help`"):
        root.parse_args(["one", "--gld", "1"])
    with raises("unknown-key", "three"):
        root.parse_args(["three", "--gld", "1"])
    assert isinstance(root.parse_args(["two", "--glad", "1"]), argparse.Namespace)
