"""`rlhf data show`: the first rows of a file as a model reads them."""

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict

from rich.console import Console

from rlhf.data.check import kind_of
from rlhf.data.config import TEMPLATE_KWARGS
from rlhf.data.files.read import Row, Unreadable, Where, read_rows
from rlhf.data.rows.length_filter import (
    policy_ranking_fits,
    prompt_fits,
    ranking_fits,
    rated_fits,
    response_fits,
    sft_row_fits,
)
from rlhf.data.rows.parse import (
    TrainOn,
    is_plain_text,
    parse_demonstration,
    parse_plain_text,
    parse_prompt,
    parse_thumb,
)
from rlhf.data.rows.parse_ranking import parse_ranking
from rlhf.data.rows.parse_rated import CORRECT, parse_outcome, parse_ratings
from rlhf.data.show import TokenSequence, as_text, token_sequences
from rlhf.data.tokenization.template import parse_template_kwargs
from rlhf.data.tokenization.tokenizer import ChatTokenizer, load_tokenizer
from rlhf.errors import ConfigError, DataError, reject_row
from rlhf.runtime.command_parser import CommandParser
from rlhf.runtime.printing import plain_console
from rlhf.types import PromptRow, Ranking, RatedResponse, SFTRow, Thumb

# Kind of rows -> the stage that is assumed to read them.
STAGES = {
    **{"demonstrations": "sft", "texts": "sft", "prompts": "ppo"},
    **dict.fromkeys(("rankings", "outcomes", "ratings"), "reward_model"),
}
CHOICES = ("sft", "reward_model", "dpo", "kto", "ppo")


def main(argv: Sequence[str]) -> int:
    """Print the rows; returns exit status 2 where one of them cannot be used, else 0.

    Raises:
        ConfigError: --rows or --max_length is too small.
        DataError: the file cannot be read.
    """
    args = _parser().parse_args(argv)
    if args.rows < 1:
        raise ConfigError(f"--rows {args.rows}: give 1 or more.", code="bad-value")
    if args.max_length is not None and args.max_length < 2:
        raise ConfigError(f"--max_length {args.max_length}: give 2 or more.", code="bad-value")
    stage = args.stage or STAGES[kind_of(args.file)]
    chat = load_tokenizer(
        args.model,
        args.chat_template,
        template_kwargs=parse_template_kwargs(args.chat_template_kwargs),
        judges=stage == "reward_model",
    )
    console = plain_console(soft_wrap=True)
    if not args.json:
        for note in chat.notes:
            console.print(note, style="dim")
    failed = 0
    for number, (where, row) in zip(range(args.rows), read_rows(args.file), strict=False):
        try:
            checked = _checked(chat, row, stage, args.train_on)
            sequences = token_sequences(chat, checked, args.max_length, for_policy=stage == "dpo")
        except DataError as error:
            failed += 1
            _print_failure(console, number, where, error, as_json=args.json)
            continue
        for sequence in sequences:
            _print_sequence(console, chat, number, where, sequence, args)
    return 2 if failed else 0


def _checked(
    chat: ChatTokenizer, row: Row | Unreadable, stage: str, train_on: str
) -> SFTRow | Ranking | RatedResponse | Thumb | PromptRow:
    """The typed row, after the checks that a run makes."""
    if isinstance(row, Unreadable):
        reject_row(row.reason)
    typed: SFTRow | Ranking | RatedResponse | Thumb | PromptRow
    if stage == "sft":
        turns: TrainOn = "last" if train_on == "last" else "all"
        typed = parse_plain_text(row) if is_plain_text(row) else parse_demonstration(row, turns)
        reason = sft_row_fits(chat, None)(typed)
    elif stage == "reward_model" and (CORRECT in row or "ratings" in row):
        typed = parse_ratings(row) if "ratings" in row else parse_outcome(row)
        reason = rated_fits(chat, None)(typed)
    elif stage == "reward_model":
        typed = parse_ranking(row, "ignore")
        reason = ranking_fits(chat, None)(typed)
    elif stage == "dpo":
        typed = parse_ranking(row, "ignore")
        reason = policy_ranking_fits(chat, None)(typed)
    elif stage == "kto":
        typed = parse_thumb(row)
        reason = response_fits(chat, None)(typed.prompt, typed.completion, typed.tools)
    else:
        typed = parse_prompt(row)
        reason = prompt_fits(chat, None)(typed)
    if reason:
        reject_row(reason)
    return typed


def _print_sequence(
    console: Console,
    chat: ChatTokenizer,
    number: int,
    where: Where,
    sequence: TokenSequence,
    args: argparse.Namespace,
) -> None:
    if args.json:
        print(json.dumps({**asdict(sequence), "row": number}, ensure_ascii=False))
        return
    console.print(f"── {where}", style="dim")
    console.print(as_text(chat, sequence, colour=console.is_terminal))
    if args.max_length is not None and len(sequence.ids) > args.max_length:
        console.print(
            f"too long: {len(sequence.ids)} tokens, max_length is {args.max_length}; a run rejects "
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
    parser = CommandParser(
        prog="rlhf data show",
        description="Print the first rows as a model reads them, token by token. Trained tokens "
        "are green (between « and » without colours), and control tokens are in reverse video. A "
        "bar marks where the response begins. Run it before every training.",
        allow_abbrev=False,
    )
    parser.add_argument("file", help="A file, or a hub dataset.")
    parser.add_argument(
        "--model", required=True, help="The model folder or hub id of the tokenizer."
    )
    parser.add_argument(
        "--for",
        dest="stage",
        choices=CHOICES,
        help="The stage that reads the rows. By default it is guessed from the keys of the first "
        "row.",
    )
    parser.add_argument(
        "--rows", type=int, default=3, help="How many rows to print. The default is 3."
    )
    parser.add_argument("--json", action="store_true", help="Print one JSON object per sequence.")
    parser.add_argument(
        "--chat_template", default="auto", help="The chat template: auto, none or a Jinja file."
    )
    parser.add_argument("--chat_template_kwargs", help=TEMPLATE_KWARGS["help"])
    parser.add_argument(
        "--train_on",
        choices=["all", "last"],
        default="all",
        help="The assistant turns that SFT trains on, as in `rlhf sft`.",
    )
    parser.add_argument(
        "--max_length",
        type=int,
        help="Mark sequences of more tokens than this; split texts as SFT does.",
    )
    return parser
