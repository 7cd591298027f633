"""`rlhf data convert`: a file of another shape -> a file of rows that the recipes take."""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from random import Random

from rlhf.data.bad_rows import Problem, raise_problems
from rlhf.data.parse import parse_row
from rlhf.data.read import Row, Unreadable, read_rows
from rlhf.data.shapes import SHAPES
from rlhf.data.split import group_key, split_by_key
from rlhf.errors import ConfigError, DataError
from rlhf.manifest import write_atomically
from rlhf.types import Demonstration, Ranking

SENTIMENT = "sentiment"


def main(argv: Sequence[str] | None = None) -> None:
    """Convert `argv`'s file and say what came of it.

    Raises:
        DataError: rows that do not have the shape; none is left out without --drop_bad_rows.
    """
    args = _parser().parse_args(argv)
    if args.eval_fraction is not None and not args.eval_output:
        raise ConfigError("--eval_fraction needs --eval_output, the file for what is held out.")
    fraction = 0.1 if args.eval_fraction is None else args.eval_fraction
    if not 0 < fraction < 1:
        raise ConfigError(f"--eval_fraction {fraction} is not a share between 0 and 1.")
    rows, problems = convert(args.file, args.shape, seed=args.seed, dropping=args.drop_bad_rows)
    held: list[Row] = []
    if args.eval_output:
        rows, held = split_by_key(rows, [_key(row) for row in rows], fraction, args.seed)
        _write(Path(args.eval_output), held)
    _write(Path(args.output), rows)
    parts = [f"{len(rows)} rows in {args.output}"]
    parts += [f"{len(held)} held out in {args.eval_output}"] if args.eval_output else []
    parts += [f"{len(problems)} dropped"] if problems else []
    print(f"{args.file} ({args.shape}): {', '.join(parts)}")


def convert(
    source: str, shape: str, *, seed: int = 0, dropping: bool = False
) -> tuple[list[Row], list[Problem]]:
    """The rows that `source` becomes when read as `shape`, and the rows that were dropped.

    Raises:
        DataError: rows that are not of this shape, unless `dropping`; or none that is.
    """
    rows: list[Row] = []
    problems: list[Problem] = []
    for where, row in read_rows(source):
        try:
            if isinstance(row, Unreadable):
                raise DataError(row.reason)
            rows += _converted(row, shape)
        except DataError as error:
            problems.append(Problem(where, str(error), row))
    if not dropping:
        step = f"Are they of the shape `{shape}`? Go on without them: --drop_bad_rows."
        raise_problems(problems, source, next_step=step)
    if shape == SENTIMENT:
        rows = _sentiment_pairs(rows, seed)
    if not rows:
        raise DataError(f"{source} holds no row of the shape {shape}.")
    return rows, problems


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="rlhf data convert",
        description="Make rows that the recipes take of a file of another shape.",
        epilog="\n".join(["shapes:", *(f"  {name:16} {text}" for name, text in _shapes())]),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("file", help="A file, or hub_id[:split].")
    parser.add_argument(
        "--from", dest="shape", required=True, choices=[*SHAPES, SENTIMENT], help="Its shape."
    )
    parser.add_argument("--output", required=True, help="JSONL file to write.")
    parser.add_argument("--eval_output", help="JSONL file of rows held out, split by prompt.")
    parser.add_argument("--eval_fraction", type=float, help="Share of --eval_output (0.1).")
    parser.add_argument("--seed", type=int, default=0, help="Seed of the split and of the pairs.")
    parser.add_argument("--drop_bad_rows", action="store_true", help="Go on without bad rows.")
    return parser


def _shapes() -> list[tuple[str, str]]:
    """Each shape's name and its sentence."""
    told = [(name, (function.__doc__ or "").strip()) for name, function in SHAPES.items()]
    sentiment = "`text` and `label` 1 or 0: pairs of a positive and a negative text, no prompt."
    return [*told, (SENTIMENT, sentiment)]


def _converted(row: Row, shape: str) -> list[Row]:
    """What the row becomes, each checked as the recipes will check it."""
    if shape == SENTIMENT:
        return [_labelled_text(row)]
    rows = SHAPES[shape](row)
    for made in rows:
        parse_row(made)
    return rows


def _labelled_text(row: Row) -> Row:
    if not isinstance(row.get("text"), str) or row.get("label") not in (0, 1):
        raise DataError("no text with label 1 (positive) or 0 (negative)")
    return row


def _sentiment_pairs(rows: Sequence[Row], seed: int) -> list[Row]:
    """A positive and a negative text each, paired at random; every text at most once.

    A text stands in one pair only, so that a split by pairs is a split by texts.
    """
    texts = {label: {row["text"] for row in rows if row["label"] == label} for label in (0, 1)}
    both = texts[0] & texts[1]
    positive, negative = sorted(texts[1] - both), sorted(texts[0] - both)
    Random(seed).shuffle(positive)
    Random(seed + 1).shuffle(negative)
    pairs = zip(positive, negative, strict=False)
    return [{"prompt": "", "chosen": good, "rejected": bad} for good, bad in pairs]


def _key(row: Row) -> str:
    parsed = parse_row(row)
    return group_key(parsed) if isinstance(parsed, Demonstration | Ranking) else json.dumps(row)


def _write(path: Path, rows: Sequence[Row]) -> None:
    write_atomically(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
