"""`rlhf data check`: what a file holds, and which of its rows cannot be used."""

import argparse
from collections import Counter
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, get_args

from rlhf.data.config import TEMPLATE_KWARGS
from rlhf.data.files.read import Unreadable, read_rows
from rlhf.data.rows.bad_rows import BadRows
from rlhf.data.rows.conflicts import find_conflicts
from rlhf.data.rows.detect import detect
from rlhf.data.rows.load import Loaded, load_demonstrations, load_prompts, load_rankings, load_texts
from rlhf.data.rows.parse_ranking import ScoreColumns
from rlhf.data.rows.split import prompt_key
from rlhf.data.source_formats.formats import fitting_shapes
from rlhf.data.tokenization.template import parse_template_kwargs
from rlhf.data.tokenization.tokenizer import ChatTokenizer, load_tokenizer
from rlhf.errors import ConfigError, DataError
from rlhf.types import Demonstration, Ranking

NEXT_STEP = "Correct them, or have them written to a file and go on: --reject_file FILE."
KINDS = ("demonstrations", "prompts", "rankings", "texts")


def main(argv: Sequence[str] | None = None) -> None:
    """Check each file of `argv` and print a line or two on it.

    Raises:
        DataError: the bad rows of the files, up to 20 a file.
    """
    args = _parser().parse_args(argv)
    if args.max_length is not None and args.max_length < 1:
        raise ConfigError(f"--max_length {args.max_length} leaves no token; name 1 or more.")
    if args.max_length and not args.model:
        raise ConfigError("--max_length counts tokens: name the tokenizer with --model.")
    variables = parse_template_kwargs(args.chat_template_kwargs)
    chat = None
    if args.model:
        chat = load_tokenizer(args.model, args.chat_template, template_kwargs=variables)
    refusals: list[str] = []
    for source in args.files:
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
            refusals.append(str(error))
    if refusals:
        raise DataError("\n".join(refusals))


def check(
    source: str,
    kind: str | None,
    chat: ChatTokenizer | None = None,
    max_length: int | None = None,
    reject_file: str | None = None,
    *,
    scores: ScoreColumns = "reject",
) -> list[str]:
    """Lines that say what the source holds.

    Args:
        source: a file, or a hub set as `read_rows` takes it.
        kind: one of KINDS; None takes the keys of the first row for it, and says so.
        chat: counts tokens; without it lengths are not checked.
        max_length: tokens a row may have.
        scores: what score_chosen and score_rejected are for, as `score_columns` of a run.
        reject_file: with it bad rows are written there, and counted, instead of raised.

    Raises:
        DataError: its bad rows.
    """
    load: dict[str, Any] = {
        "demonstrations": load_demonstrations,
        "prompts": load_prompts,
        "rankings": partial(load_rankings, scores=scores),
        "texts": load_texts,
    }
    taken = kind or kind_of(source)
    reject_path = Path(reject_file) if reject_file else None
    bad = BadRows(drop=reject_path is not None, reject_file=reject_path, next_step=NEXT_STEP)
    with bad as bad_rows:
        loaded = load[taken](source, chat=chat, max_length=max_length, bad_rows=bad_rows)
    guessed = "" if kind else " (by the keys of its first row)"
    shape = _other_shape(source) if kind is None and taken in ("prompts", "texts") else []
    return [f"{source}: {taken}{guessed}, {_counts(loaded)}", *_about(loaded), *shape]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="rlhf data check",
        description="Say what files hold and which rows cannot be used; status 2 if any cannot.",
        allow_abbrev=False,
    )
    parser.add_argument("files", nargs="+", metavar="FILE", help="Files or hub sets.")
    parser.add_argument("--rows", choices=KINDS, help="What the rows have to be.")
    parser.add_argument("--model", help="Model folder or hub id whose tokenizer counts tokens.")
    parser.add_argument("--chat_template", default="auto", help="auto, none or a Jinja file.")
    parser.add_argument("--chat_template_kwargs", help=TEMPLATE_KWARGS["help"])
    parser.add_argument("--max_length", type=int, help="Longest row in tokens (with --model).")
    parser.add_argument(
        "--score_columns",
        choices=get_args(ScoreColumns),
        default="reject",
        help="What score_chosen and score_rejected are for, as in reward_model.py.",
    )
    parser.add_argument("--reject_file", help="Write bad rows here and go on.")
    return parser


def kind_of(source: str) -> str:
    """What the first row has the keys of.

    Raises:
        DataError: of none of our rows; what it may be instead.
    """
    first = next((row for _, row in read_rows(source) if not isinstance(row, Unreadable)), {})
    if first.keys() & {"chosen", "rejected", "responses", "ranks"}:
        return "rankings"
    if first.keys() & {"completion", "messages"}:
        return "demonstrations"
    if first and not first.keys() & {"prompt", "text"}:
        raise DataError("\n".join(detect(source)))
    return "prompts" if "prompt" in first else "texts"


def _other_shape(source: str) -> list[str]:
    """A line where rows that pass as prompts or texts are of a shape that holds more."""
    first = next((row for _, row in read_rows(source) if not isinstance(row, Unreadable)), {})
    names = [name for name in fitting_shapes([first]) if name != "opening"]
    return [f"  they look like `{names[0]}`: rlhf data convert {source}"] if names else []


def _counts(loaded: Loaded[Any]) -> str:
    parts = [f"{len(loaded.rows)} rows"]
    parts += [f"{len(loaded.problems)} bad ones left out"] if loaded.problems else []
    parts += [f"{loaded.undecided} that tie everything left out"] if loaded.undecided else []
    return ", ".join(parts)


def _about(loaded: Loaded[Any]) -> list[str]:
    rows = loaded.rows
    if isinstance(rows[0], str):
        return []
    prompts = len({prompt_key(row.prompt) for row in rows})
    lines = [f"  {prompts} different prompts"]
    if isinstance(rows[0], Ranking):
        lines += _about_rankings(rows)
    if isinstance(rows[0], Demonstration):
        repeated = len(rows) - len({(prompt_key(r.prompt), r.completion) for r in rows})
        lines += [f"  {repeated} rows repeat another"] if repeated else []
    return lines


def _about_rankings(rows: Sequence[Ranking]) -> list[str]:
    """How many answers a prompt, and what the rule `the longer answer wins` would score."""
    sizes = sorted(Counter(len(row.responses) for row in rows).items())
    right = ties = pairs = 0.0
    for row in rows:
        for i, j in _ordered_pairs(row):
            longer = len(row.responses[i]) - len(row.responses[j])
            right += 1.0 if longer > 0 else 0.5 if longer == 0 else 0.0
            pairs += 1
        ties += len(row.ranks) * (len(row.ranks) - 1) / 2 - len(_ordered_pairs(row))
    return [
        "  answers per prompt: " + ", ".join(f"{k} in {n} rows" for k, n in sizes),
        f"  {pairs:.0f} pairs with an order, {ties:.0f} ties; "
        f"`the longer answer wins` is right in {right / pairs:.3f} of them",
        *(f"  {line}" for line in find_conflicts(rows).lines()),
    ]


def _ordered_pairs(row: Ranking) -> list[tuple[int, int]]:
    """(better, worse) positions of every pair that is not a tie."""
    count = range(len(row.ranks))
    return [(i, j) for i in count for j in count if row.ranks[i] < row.ranks[j]]
