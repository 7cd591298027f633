"""`rlhf data convert`: a file of another shape -> a file of rows that the recipes take."""

import argparse
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

from rlhf.data.files.read import Row, Unreadable, Where, read_rows
from rlhf.data.rows.bad_rows import Problem, raise_problems
from rlhf.data.rows.detect import detect
from rlhf.data.rows.parse import parse_row
from rlhf.data.rows.split import group_key, split_by_key
from rlhf.data.source_formats.formats import SHAPES, Shape, converted
from rlhf.errors import ConfigError, DataError
from rlhf.manifest import write_atomically
from rlhf.types import Demonstration, Ranking

SENTIMENT = "sentiment"
SHOWN_REASONS, SHOWN_LETTERS = 5, 120


@dataclass(frozen=True, kw_only=True)
class Conversion:
    """Rows of ours, and an account of what did not become one."""

    rows: Sequence[Row]
    problems: Sequence[Problem]  # rows that were dropped
    left_out: Counter[str]  # reason -> parts of rows that have no place in ours
    unused: Sequence[str]  # columns that were not read

    def lines(self, shape: str) -> list[str]:
        """The account, a line each; nothing where all came along."""
        dropped = Counter(problem.reason for problem in self.problems).most_common()
        told = [
            f"dropped: {count} x {reason[:SHOWN_LETTERS]}"
            for reason, count in dropped[:SHOWN_REASONS]
        ]
        others = sum(count for _, count in dropped[SHOWN_REASONS:])
        told += [f"dropped: {others} for other reasons"] if others else []
        told += [f"left out: {count} x {why}" for why, count in self.left_out.most_common()]
        ties = sum(len(set(row.get("ranks", [1, 2]))) == 1 for row in self.rows)
        told += [f"{ties} rankings tie all their answers, and are kept"] if ties else []
        repeated = len(self.rows) - len({json.dumps(row, sort_keys=True) for row in self.rows})
        told += [f"{repeated} rows repeat another, and are kept"] if repeated else []
        told += [f"columns not used: {', '.join(self.unused)}"] if self.unused else []
        return told + ([SHAPES[shape].note] if SHAPES[shape].note else [])


def main(argv: Sequence[str] | None = None) -> None:
    """Convert `argv`'s file and say what came of it; without --from, say which shape it has.

    Raises:
        DataError: rows that do not have the shape; none is left out without --drop_bad_rows.
        ConfigError: keys that do not go together, or a shape that cannot be converted.
    """
    args = _parser().parse_args(argv)
    if args.shape is None:
        print("\n".join(detect(args.file)))
        return
    if not args.output:
        raise ConfigError(f"--from {args.shape} needs --output, the JSONL file to write.")
    if args.eval_fraction is not None and not args.eval_output:
        raise ConfigError("--eval_fraction needs --eval_output, the file for what is held out.")
    fraction = 0.1 if args.eval_fraction is None else args.eval_fraction
    if not 0 < fraction < 1:
        raise ConfigError(f"--eval_fraction {fraction} is not a share between 0 and 1.")
    made = convert(args.file, args.shape, seed=args.seed, dropping=args.drop_bad_rows)
    rows, held = list(made.rows), list[Row]()
    if args.eval_output:
        rows, held = split_by_key(rows, [_key(row) for row in rows], fraction, args.seed)
        _write(Path(args.eval_output), held)
    _write(Path(args.output), rows)
    parts = [f"{len(rows)} rows in {args.output}"]
    parts += [f"{len(held)} held out in {args.eval_output}"] if args.eval_output else []
    parts += [f"{len(made.problems)} dropped"] if made.problems else []
    print(f"{args.file} ({args.shape}): {', '.join(parts)}")
    for line in made.lines(args.shape):
        print(f"  {line}")


def convert(source: str, name: str, *, seed: int = 0, dropping: bool = False) -> Conversion:
    """The rows that `source` becomes when read as the shape `name`.

    Raises:
        DataError: rows that are not of this shape, unless `dropping`; or none that is.
        ConfigError: a shape that cannot be converted.
    """
    shape = SHAPES[name]
    if shape.refusal:
        raise ConfigError(f"{source} cannot be converted from {name}: {shape.refusal}.")
    rows: list[Row] = []
    problems: list[Problem] = []
    left_out: Counter[str] = Counter()
    unused: dict[str, None] = {}
    for where, group in _together(read_rows(source), shape):
        if isinstance(group, Unreadable):
            problems.append(Problem(where, group.reason, group))
            continue
        try:
            made = converted(group, name)
            for one in made.rows if name != SENTIMENT else []:
                parse_row(one)  # as the recipes will
        except DataError as error:
            problems.append(Problem(where, str(error), group[0]))
            continue
        rows += made.rows
        left_out.update(made.left_out)
        unused |= {key: None for row in group for key in shape.unused(row)}
    if not dropping:
        step = f"Are they of the shape `{name}`? Go on without them: --drop_bad_rows."
        raise_problems(problems, source, next_step=step)
    if name == SENTIMENT:
        rows = _sentiment_pairs(rows, seed)
    if not rows:
        first = f"; the first: {problems[0]}" if problems else ""
        raise DataError(f"{source} holds no row of the shape {name}{first}.")
    return Conversion(rows=rows, problems=problems, left_out=left_out, unused=list(unused))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="rlhf data convert",
        description="Make rows that the recipes take of a file of another shape.",
        epilog="\n".join(["shapes:", *(f"  {name:16} {text}" for name, text in _shapes())]),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("file", help="A file, or a hub set: name[:config][:split][@revision].")
    parser.add_argument(
        "--from", dest="shape", choices=list(SHAPES), help="Its shape; without it, found out."
    )
    parser.add_argument("--output", help="JSONL file to write.")
    parser.add_argument("--eval_output", help="JSONL file of rows held out, split by prompt.")
    parser.add_argument("--eval_fraction", type=float, help="Share of --eval_output (0.1).")
    parser.add_argument("--seed", type=int, default=0, help="Seed of the split and of the pairs.")
    parser.add_argument("--drop_bad_rows", action="store_true", help="Go on without bad rows.")
    return parser


def _shapes() -> list[tuple[str, str]]:
    """Each shape's name and its sentence."""
    return [(name, (shape.convert.__doc__ or "").strip()) for name, shape in SHAPES.items()]


def _together(
    found: Iterator[tuple[Where, Row | Unreadable]], shape: Shape
) -> Iterator[tuple[Where, list[Row] | Unreadable]]:
    """`found`, each row alone or with those that it belongs to, at the place of the first."""
    place, group = None, list[Row]()
    for where, row in found:
        joins = not isinstance(row, Unreadable) and shape.joins(row)
        if place is not None and not (joins and _same(group[0], row, shape)):
            yield place, group
            place, group = None, []
        if isinstance(row, Unreadable):
            yield where, row
        elif not joins:
            yield where, [row]
        else:
            place = place or where
            group.append(row)
    if place is not None:
        yield place, group


def _same(first: Row, row: Row | Unreadable, shape: Shape) -> bool:
    shared = shape.together[0]
    return not isinstance(row, Unreadable) and bool(first[shared] == row[shared])


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
