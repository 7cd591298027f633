"""`rlhf data check`: what a file contains, and which of its rows cannot be used."""

import argparse
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import get_args

from rlhf.data.config import TEMPLATE_KWARGS
from rlhf.data.files.read import Row, Unreadable, files_of, read_rows
from rlhf.data.lengths import length_lines
from rlhf.data.rows.bad_rows import BadRows
from rlhf.data.rows.conflicts import find_conflicts
from rlhf.data.rows.detect import detect
from rlhf.data.rows.load import Loaded, load_demonstrations, load_prompts, load_rankings, load_texts
from rlhf.data.rows.load_rated import load_outcomes, load_ratings
from rlhf.data.rows.load_thumbs import load_thumbs
from rlhf.data.rows.parse_ranking import ScoreColumns
from rlhf.data.rows.parse_rated import CORRECT
from rlhf.data.rows.split import prompt_key
from rlhf.data.source_formats.formats import fitting_formats
from rlhf.data.tokenization.template import parse_template_kwargs
from rlhf.data.tokenization.texts import text_examples
from rlhf.data.tokenization.tokenizer import ChatTokenizer, load_tokenizer
from rlhf.errors import ConfigError, DataError
from rlhf.runtime.command_parser import CommandParser
from rlhf.runtime.printing import counted
from rlhf.types import Demonstration, PromptRow, Ranking, RatedResponse, Thumb

NEXT_STEP = "Correct them, or write them to a file and check the rest: --reject_file FILE."
AnyRow = Demonstration | PromptRow | Ranking | RatedResponse | Thumb | str
AnyLoaded = (
    Loaded[Demonstration]
    | Loaded[PromptRow]
    | Loaded[Ranking]
    | Loaded[RatedResponse]
    | Loaded[Thumb]
    | Loaded[str]
)
KINDS = ("demonstrations", "outcomes", "prompts", "rankings", "ratings", "texts", "thumbs")


def main(argv: Sequence[str] | None = None) -> None:
    """Check each file of `argv` and print a few lines about it.

    Raises:
        DataError: the bad rows of the files, up to 20 per file.
    """
    args = _parser().parse_args(argv)
    if args.max_length is not None and args.max_length < 2:
        raise ConfigError(
            f"--max_length {args.max_length} is too short for any row; give 2 or more.",
            code="bad-value",
        )
    if args.max_length and not args.model:
        raise ConfigError(
            "--max_length counts tokens; name the tokenizer with --model.", code="missing-key"
        )
    variables = parse_template_kwargs(args.chat_template_kwargs)
    chat = None
    if args.model:
        chat = load_tokenizer(args.model, args.chat_template, template_kwargs=variables)
    errors: list[DataError] = []
    for source in [file for name in args.files for file in files_of(name)]:
        try:
            lines = check(
                source,
                args.rows,
                chat,
                args.max_length,
                args.reject_file,
                scores=args.score_columns,
            )
            print("\n".join(lines))
        except DataError as error:
            errors.append(error)
    if errors:
        raise DataError("\n".join(map(str, errors)), code=errors[0].code)


def check(
    source: str,
    kind: str | None,
    chat: ChatTokenizer | None = None,
    max_length: int | None = None,
    reject_file: str | None = None,
    *,
    scores: ScoreColumns = "reject",
) -> list[str]:
    """Lines that describe what the source contains.

    Args:
        source: a file, or a hub dataset as `read_rows` takes it.
        kind: one of KINDS; None guesses it from the keys of the first row, and a line states so.
        chat: counts tokens; without it lengths are neither checked nor shown.
        max_length: the most tokens of a row; longer texts are counted, because SFT splits them.
        reject_file: bad rows are written to it and counted; without it they are raised.
        scores: the use of score_chosen and score_rejected, as `score_columns` of a run.

    Raises:
        DataError: its bad rows.
    """
    load: dict[str, Callable[..., AnyLoaded]] = {
        "demonstrations": load_demonstrations,
        "outcomes": load_outcomes,
        "prompts": load_prompts,
        "rankings": partial(load_rankings, scores=scores),
        "ratings": load_ratings,
        "texts": load_texts,
        "thumbs": load_thumbs,
    }
    used_kind = kind or kind_of(source)
    most = None if used_kind == "texts" else max_length
    reject_path = Path(reject_file) if reject_file else None
    with BadRows(
        drop=reject_path is not None, reject_file=reject_path, next_step=NEXT_STEP
    ) as bad_rows:
        loaded = load[used_kind](source, chat=chat, max_length=most, bad_rows=bad_rows)
    guessed = "" if kind else " (by the keys of its first row)"
    hint = _format_hint(source) if kind is None and used_kind in ("prompts", "texts") else []
    lengths = [f"  {line}" for line in length_lines(chat, loaded.rows)] if chat else []
    if chat and max_length and (longer := _count_split_texts(chat, loaded.rows, max_length)):
        lengths.append(f"  {counted(longer, 'text')} of more than {max_length} tokens: SFT splits")
    first = f"{source}: {used_kind}{guessed}, {_counts(loaded)}"
    return [first, *_describe(loaded), *lengths, *hint]


def _parser() -> argparse.ArgumentParser:
    parser = CommandParser(
        prog="rlhf data check",
        description="Print what files contain and which of their rows cannot be used. The exit "
        "status is 2 if a row cannot be used.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "files", nargs="+", metavar="FILE", help="Files, folders of files, or hub datasets."
    )
    parser.add_argument(
        "--rows",
        choices=KINDS,
        help="The kind of the rows. By default it is guessed from the keys of the first row.",
    )
    parser.add_argument(
        "--model",
        help="The model folder or hub id whose tokenizer counts tokens; their lengths are printed.",
    )
    parser.add_argument(
        "--chat_template",
        default="auto",
        help="The chat template to count with: auto, none or a Jinja file.",
    )
    parser.add_argument("--chat_template_kwargs", help=TEMPLATE_KWARGS["help"])
    parser.add_argument(
        "--max_length", type=int, help="Maximum number of tokens of a row. Needs --model."
    )
    parser.add_argument(
        "--score_columns",
        choices=get_args(ScoreColumns),
        default="reject",
        help="The use of the columns score_chosen and score_rejected, as in `rlhf reward`.",
    )
    parser.add_argument(
        "--reject_file", help="Write bad rows to this file and check the other rows."
    )
    return parser


def kind_of(source: str) -> str:
    """The kind of rows, one of KINDS, whose keys the first row has.

    Raises:
        DataError: the row has the keys of no kind; the message names formats that may fit.
    """
    first = _first_row(source)
    if first.keys() & {"chosen", "rejected", "responses", "ranks"}:
        return "rankings"
    if first.keys() & {"response", "completion"} and first.keys() & {CORRECT, "ratings"}:
        return "ratings" if "ratings" in first else "outcomes"
    if first.keys() & {"completion", "messages"}:
        return "demonstrations"
    if first and not first.keys() & {"prompt", "text"}:
        raise DataError("\n".join(detect(source)), code="unknown-format")
    return "prompts" if "prompt" in first else "texts"


def _first_row(source: str) -> Row:
    """The first readable row; {} where there is none."""
    return next((row for _, row in read_rows(source) if not isinstance(row, Unreadable)), {})


def _format_hint(source: str) -> list[str]:
    """A line for rows that pass as prompts or texts but have a format that contains more."""
    names = [name for name in fitting_formats([_first_row(source)]) if name != "opening"]
    return [f"  they look like `{names[0]}`: rlhf data convert {source}"] if names else []


def _counts(loaded: AnyLoaded) -> str:
    parts = [counted(len(loaded.rows), "row")]
    parts += [f"{counted(len(loaded.problems), 'bad one')} left out"] if loaded.problems else []
    parts += [f"{loaded.undecided} that tie everything left out"] if loaded.undecided else []
    return ", ".join(parts)


def _count_split_texts(
    chat: ChatTokenizer,
    rows: Sequence[AnyRow],
    max_length: int,
) -> int:
    """The number of plain texts that SFT reads in several parts."""
    return sum(
        len(text_examples(chat, row, max_length)) > 1 for row in rows if isinstance(row, str)
    )


def _describe(loaded: AnyLoaded) -> list[str]:
    prompts = {prompt_key(row.prompt) for row in loaded.rows if not isinstance(row, str)}
    lines = [f"  {counted(len(prompts), 'different prompt')}"] if prompts else []
    rankings = [row for row in loaded.rows if isinstance(row, Ranking)]
    if rankings:
        lines += _describe_rankings(rankings)
    thumbs = [row for row in loaded.rows if isinstance(row, Thumb)]
    if thumbs:
        up = sum(row.desirable for row in thumbs)
        lines.append(f"  {up} thumbs up, {len(thumbs) - up} thumbs down")
    lines += _describe_ratings([row for row in loaded.rows if isinstance(row, RatedResponse)])
    demonstrations = [row for row in loaded.rows if isinstance(row, Demonstration)]
    different = {(prompt_key(row.prompt), row.completion) for row in demonstrations}
    if repeated := len(demonstrations) - len(different):
        lines.append(f"  {counted(repeated, 'row')} the same as another")
    return lines


def _describe_ratings(rows: Sequence[RatedResponse]) -> list[str]:
    """The ratings of each axis: their number, mean and range."""
    by_axis: dict[str, list[float]] = {}
    for row in rows:
        for axis, rating in row.ratings.items():
            by_axis.setdefault(axis, []).append(rating)
    return [
        f"  {axis}: {counted(len(values), 'rating')}, mean {sum(values) / len(values):.3g}, "
        f"{min(values):g} to {max(values):g}"
        for axis, values in by_axis.items()
    ]


def _describe_rankings(rows: Sequence[Ranking]) -> list[str]:
    """Responses per prompt, and the accuracy of the rule `the longer response is better`."""
    sizes = sorted(Counter(len(row.responses) for row in rows).items())
    right = ties = pairs = 0.0
    for row in rows:
        for i, j in _ordered_pairs(row):
            longer = len(row.responses[i]) - len(row.responses[j])
            right += 1.0 if longer > 0 else 0.5 if longer == 0 else 0.0
            pairs += 1
        ties += len(row.ranks) * (len(row.ranks) - 1) / 2 - len(_ordered_pairs(row))
    return [
        "  responses per prompt: " + ", ".join(f"{k} in {counted(n, 'row')}" for k, n in sizes),
        f"  {counted(round(pairs), 'pair')} with an order, {counted(round(ties), 'tie')}; "
        f"`the longer response is better` is right in {right / pairs:.3f} of them",
        *(f"  {line}" for line in find_conflicts(rows).lines()),
    ]


def _ordered_pairs(row: Ranking) -> list[tuple[int, int]]:
    """(better, worse) positions of every pair that is not a tie."""
    count = range(len(row.ranks))
    return [(i, j) for i in count for j in count if row.ranks[i] < row.ranks[j]]
