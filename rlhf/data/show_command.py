"""`rlhf data show`: the first rows of a file as a model will read them."""

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict

from rich.console import Console

from rlhf.data.check import kind_of
from rlhf.data.config import TEMPLATE_KWARGS
from rlhf.data.files.read import Row, Unreadable, Where, read_rows
from rlhf.data.rows.length_filter import demonstration_fits, prompt_fits, ranking_fits
from rlhf.data.rows.parse import parse_demonstration, parse_prompt
from rlhf.data.rows.parse_ranking import parse_ranking
from rlhf.data.show import ShownRow, as_text, shown
from rlhf.data.tokenization.template import parse_template_kwargs
from rlhf.data.tokenization.tokenizer import ChatTokenizer, load_tokenizer
from rlhf.errors import ConfigError, DataError
from rlhf.runtime.printing import plain_console
from rlhf.types import Demonstration, PromptRow, Ranking

STAGES = {"demonstrations": "sft", "rankings": "reward_model", "prompts": "ppo"}


def main(argv: Sequence[str]) -> int:
    """Show the rows; status 2 where one of them cannot be used.

    Raises:
        ConfigError: rows of plain text, which no stage of these reads, or fewer than one row.
        DataError: a file that cannot be read.
    """
    given = _parser().parse_args(argv)
    if given.rows < 1:
        raise ConfigError(f"--rows {given.rows}; show 1 or more.")
    stage = given.stage or STAGES.get(kind_of(given.file))
    if stage is None:
        raise ConfigError(f"{given.file} holds plain texts; name rows to show with --for STAGE.")
    chat = load_tokenizer(
        given.model,
        given.chat_template,
        template_kwargs=parse_template_kwargs(given.chat_template_kwargs),
        judges=stage == "reward_model",
    )
    console = plain_console(soft_wrap=True)
    if not given.json:
        for note in chat.notes:
            console.print(note, style="dim")
    failed = 0
    for number, (where, row) in zip(range(given.rows), read_rows(given.file), strict=False):
        try:
            rows = shown(chat, _checked(chat, row, stage, given.train_on))
        except DataError as error:
            failed += 1
            _print_failure(console, number, where, error, as_json=given.json)
            continue
        for one in rows:
            _print_row(console, chat, number, where, one, given)
    return 2 if failed else 0


def _checked(
    chat: ChatTokenizer, row: Row | Unreadable, stage: str, train_on: str
) -> Demonstration | Ranking | PromptRow:
    """The typed row, after the checks that a run makes of it."""
    if isinstance(row, Unreadable):
        raise DataError(row.reason)
    typed: Demonstration | Ranking | PromptRow
    if stage == "sft":
        typed = parse_demonstration(row, "last" if train_on == "last" else "all")
        reason = demonstration_fits(chat, None)(typed)
    elif stage == "reward_model":
        typed = parse_ranking(row, "ignore")
        reason = ranking_fits(chat, None)(typed)
    else:
        typed = parse_prompt(row)
        reason = prompt_fits(chat, None)(typed)
    if reason:
        raise DataError(reason)
    return typed


def _print_row(
    console: Console,
    chat: ChatTokenizer,
    number: int,
    where: Where,
    row: ShownRow,
    given: argparse.Namespace,
) -> None:
    if given.json:
        print(json.dumps({**asdict(row), "row": number}, ensure_ascii=False))
        return
    console.print(f"── {where}", style="dim")
    console.print(as_text(chat, row, colour=console.is_terminal))
    if given.max_length is not None and len(row.ids) > given.max_length:
        console.print(
            f"too long: {len(row.ids)} tokens, max_length is {given.max_length}; a run rejects "
            "this row (or drops it with --drop_bad_rows)",
            style="bold red",
        )


def _print_failure(
    console: Console, number: int, where: Where, error: DataError, *, as_json: bool
) -> None:
    if as_json:
        print(json.dumps({"row": number, "error": str(error)}, ensure_ascii=False))
        return
    console.print(f"── {where}", style="dim")
    console.print(f"rejected: {error}", style="bold red")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="rlhf data show",
        description="Show what a model will read of the first rows, token by token: trained tokens "
        "in green (in « » where there are no colours), control tokens reversed, a bar where the "
        "response begins. Look at it before every run.",
        allow_abbrev=False,
    )
    parser.add_argument("file", help="A file, or a hub data set.")
    parser.add_argument("--model", required=True, help="Folder or hub id of the tokenizer.")
    parser.add_argument(
        "--for",
        dest="stage",
        choices=list(STAGES.values()),
        help="Who reads the rows; default: by the keys of the first one.",
    )
    parser.add_argument("--rows", type=int, default=3, help="Rows to show (3).")
    parser.add_argument("--json", action="store_true", help="One JSON object a sequence.")
    parser.add_argument("--chat_template", default="auto", help="auto, none or a Jinja file.")
    parser.add_argument("--chat_template_kwargs", help=TEMPLATE_KWARGS["help"])
    parser.add_argument("--train_on", choices=["all", "last"], default="all", help="As in SFT.")
    parser.add_argument("--max_length", type=int, help="Mark sequences of more tokens.")
    return parser
