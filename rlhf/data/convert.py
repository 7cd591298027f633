"""`rlhf data convert`: a file of another format becomes a file of rows that recipes read."""

import argparse
import itertools
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

from rlhf.data.files.columns import parse_columns, renamed
from rlhf.data.files.read import Row, Unreadable, Where, files_of, read_rows
from rlhf.data.rows.bad_rows import Problem, raise_problems
from rlhf.data.rows.detect import detect
from rlhf.data.rows.parse import parse_row
from rlhf.data.rows.sources import listed
from rlhf.data.rows.split import group_key, split_by_key
from rlhf.data.source_formats.formats import FORMATS, SourceFormat, convert_rows
from rlhf.data.source_formats.parts import Converted
from rlhf.errors import ConfigError, DataError
from rlhf.manifest import write_atomically
from rlhf.runtime.command_parser import CommandParser
from rlhf.runtime.printing import counted
from rlhf.types import Demonstration, Ranking

SENTIMENT = "sentiment"
MAX_REASONS, MAX_LETTERS = 5, 120  # of the account of dropped rows


@dataclass(frozen=True, kw_only=True)
class Conversion:
    """Converted rows, and an account of everything that did not become one."""

    rows: Sequence[Row]
    problems: Sequence[Problem]  # rows that were dropped
    left_out: Counter[str]  # reason -> parts of rows that have no place in the converted ones
    unused: Sequence[str]  # columns that were not read

    def lines(self, name: str | None) -> list[str]:
        """The account, a line each; no line where nothing was lost."""
        reasons = Counter(problem.reason for problem in self.problems).most_common()
        lines = [
            f"dropped: {count} x {reason[:MAX_LETTERS]}" for reason, count in reasons[:MAX_REASONS]
        ]
        others = sum(count for _, count in reasons[MAX_REASONS:])
        lines += [f"dropped: {others} for other reasons"] if others else []
        lines += [f"left out: {count} x {reason}" for reason, count in self.left_out.most_common()]
        all_ranks = [row.get("ranks") for row in self.rows]
        ties = sum(isinstance(ranks, list) and len(set(ranks)) == 1 for ranks in all_ranks)
        lines += [f"kept: {counted(ties, 'ranking')} whose responses all tie"] if ties else []
        repeated = len(self.rows) - len({json.dumps(row, sort_keys=True) for row in self.rows})
        lines += [f"kept: {counted(repeated, 'row')} the same as another"] if repeated else []
        lines += [f"columns not used: {', '.join(self.unused)}"] if self.unused else []
        return lines + ([FORMATS[name].note] if name and FORMATS[name].note else [])


def main(argv: Sequence[str] | None = None) -> None:
    """Convert the files that `argv` names and print an account; else print their formats.

    Raises:
        DataError: rows do not have the format; none is left out without --drop_bad_rows.
        ConfigError: keys do not go together, or the format cannot be converted.
    """
    args = _parser().parse_args(argv)
    files = [file for name in args.files for file in files_of(name)]
    columns = parse_columns(args.columns)
    if args.format is None and not columns:
        print("\n".join(line for file in files for line in detect(file)))
        return
    fraction = _checked_fraction(args)
    conversion = convert(
        files, args.format, seed=args.seed, dropping=args.drop_bad_rows, columns=columns
    )
    rows, held_out = list(conversion.rows), list[Row]()
    if args.eval_output:
        rows, held_out = split_by_key(rows, [_key(row) for row in rows], fraction, args.seed)
        _write(Path(args.eval_output), held_out)
    _write(Path(args.output), rows)
    parts = [f"{counted(len(rows), 'row')} in {args.output}"]
    parts += [f"{len(held_out)} held out in {args.eval_output}"] if args.eval_output else []
    parts += [f"{len(conversion.problems)} dropped"] if conversion.problems else []
    print(f"{' '.join(args.files)} ({args.format or 'columns renamed'}): {', '.join(parts)}")
    for line in conversion.lines(args.format):
        print(f"  {line}")


def _checked_fraction(args: argparse.Namespace) -> float:
    """The share of rows to hold out, after a check of the keys that go with --from."""
    if not args.output:
        option = f"--from {args.format}" if args.format else "--columns"
        raise ConfigError(f"{option} needs --output, the JSONL file to write.", code="missing-key")
    if args.eval_fraction is not None and not args.eval_output:
        raise ConfigError(
            "--eval_fraction needs --eval_output, the file for held-out rows.", code="missing-key"
        )
    fraction = 0.1 if args.eval_fraction is None else float(args.eval_fraction)
    if not 0 < fraction < 1:
        raise ConfigError(
            f"--eval_fraction {fraction} is not a share between 0 and 1.", code="bad-value"
        )
    return fraction


def convert(
    sources: str | Sequence[str],
    name: str | None,
    *,
    seed: int = 0,
    dropping: bool = False,
    columns: Mapping[str, str] | None = None,
) -> Conversion:
    """The rows that files become when they are read as the format `name`.

    Args:
        sources: a file or a hub dataset, or several.
        name: a key of FORMATS; None for rows that only get other names of their columns.
        seed: draws the pairs of sentiment texts.
        dropping: leave out rows that do not have the format, and count them.
        columns: new names of columns, with their names in the files.

    Raises:
        DataError: rows do not have this format, unless `dropping`; or no row has it.
        ConfigError: the format cannot be converted.
    """
    source = ", ".join(listed(sources))
    source_format = FORMATS[name] if name else None
    if source_format and source_format.unsupported:
        raise ConfigError(
            f"{source} cannot be converted from {name}: {source_format.unsupported}.",
            code="unsupported",
        )
    rows: list[Row] = []
    problems: list[Problem] = []
    left_out: Counter[str] = Counter()
    unused: dict[str, None] = {}
    placed_rows = _renamed_rows(listed(sources), columns or {})
    for where, group in _grouped(placed_rows, source_format):
        if isinstance(group, Unreadable):
            problems.append(Problem(where, group.reason, group.raw))
            continue
        try:
            converted = convert_rows(group, name) if name else Converted(group)
            for row in converted.rows if name != SENTIMENT else []:
                parse_row(row)  # as recipes will
        except DataError as error:
            problems.append(Problem(where, str(error), group[0]))
            continue
        rows += converted.rows
        left_out.update(converted.left_out)
        if source_format:
            unused |= {key: None for row in group for key in source_format.unused(row)}
    if not dropping:
        step = f"Do they have the format `{name}`? " if name else ""
        step += "Leave them out with --drop_bad_rows." if rows else "Correct the file."
        raise_problems(problems, source, next_step=step)
    if name == SENTIMENT:
        rows = _sentiment_pairs(rows, seed)
    if not rows:
        first = f"; the first: {problems[0]}" if problems else ""
        needed = f"of the format {name}" if name else "that recipes read"
        raise DataError(f"{source} has no row {needed}{first}.", code="no-rows")
    return Conversion(rows=rows, problems=problems, left_out=left_out, unused=list(unused))


def _renamed_rows(
    sources: Sequence[str], columns: Mapping[str, str]
) -> Iterator[tuple[Where, Row | Unreadable]]:
    """The rows of all sources, with the new names of their columns."""
    for where, row in itertools.chain.from_iterable(map(read_rows, sources)):
        try:
            yield where, row if isinstance(row, Unreadable) else renamed(row, columns)
        except DataError as error:
            yield where, Unreadable(str(error), json.dumps(row, default=str)[:200])


def _parser() -> argparse.ArgumentParser:
    parser = CommandParser(
        prog="rlhf data convert",
        description="Convert files of another format to the rows that recipes read. Without "
        "--from, print which format each has and the command that converts it.",
        epilog="\n".join(["formats:", *(f"  {name:16} {text}" for name, text in _sentences())]),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        "files",
        nargs="+",
        metavar="FILE",
        help="Files, folders of files, or hub datasets: name[:config][:split][@revision].",
    )
    parser.add_argument(
        "--columns",
        nargs="+",
        default=[],
        metavar="NAME=COLUMN",
        help="Names for columns, such as prompt=Question chosen=Good. Without --from the rows only "
        "get these names.",
    )
    parser.add_argument(
        "--from",
        dest="format",
        choices=list(FORMATS),
        help="The format of the file. Without it, the format is detected and printed. prm800k and "
        "oasst_messages are recognised but cannot be converted.",
    )
    parser.add_argument("--output", help="The JSONL file to write.")
    parser.add_argument(
        "--eval_output", help="The JSONL file for held-out rows, which are split off by prompt."
    )
    parser.add_argument(
        "--eval_fraction",
        type=float,
        help="The share of prompts to write to --eval_output. The default is 0.1.",
    )
    parser.add_argument(
        "--seed", type=int, default=0, help="The seed of the split and of sentiment pairs."
    )
    parser.add_argument(
        "--drop_bad_rows", action="store_true", help="Leave out bad rows and count them."
    )
    return parser


def _sentences() -> list[tuple[str, str]]:
    """Each format's name and its description."""
    return [(name, (each.convert.__doc__ or "").strip()) for name, each in FORMATS.items()]


def _grouped(
    placed_rows: Iterator[tuple[Where, Row | Unreadable]], source_format: SourceFormat | None
) -> Iterator[tuple[Where, list[Row] | Unreadable]]:
    """Each row alone or with the rows that it belongs to, at the place of the first one."""
    place, group = None, list[Row]()
    for where, row in placed_rows:
        joins = bool(source_format and not isinstance(row, Unreadable) and source_format.joins(row))
        together = joins and source_format and _belong_together(group, row, source_format)
        if place is not None and not together:
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


def _belong_together(
    group: Sequence[Row], row: Row | Unreadable, source_format: SourceFormat
) -> bool:
    shared = source_format.together[0]
    return bool(group) and not isinstance(row, Unreadable) and group[0][shared] == row[shared]


def _sentiment_pairs(rows: Sequence[Row], seed: int) -> list[Row]:
    """Pairs of a positive and a negative text, drawn at random; every text at most once.

    So a split by pairs is a split by texts.
    """
    texts = {label: {str(row["text"]) for row in rows if row["label"] == label} for label in (0, 1)}
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
