"""`rlhf data verdicts`: labels become rows of SFT that train a generative reward model.

The prompt of a row is the rubric with a response, and its completion is a verdict: exactly what the
reward model reads and writes later.
"""

import argparse
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rlhf.data.check import kind_of
from rlhf.data.files.raw import Row
from rlhf.data.rows.bad_rows import BadRows
from rlhf.data.rows.load import load_rankings
from rlhf.data.rows.load_rated import load_outcomes, load_ratings
from rlhf.data.rows.parse_rated import CORRECT
from rlhf.errors import ConfigError, DataError
from rlhf.manifest import write_atomically
from rlhf.rewards.rubric import Rubric, read_generative
from rlhf.runtime.command_parser import CommandParser
from rlhf.runtime.printing import counted
from rlhf.types import Ranking, RatedResponse

KINDS = ("rankings", "outcomes", "ratings")


@dataclass(frozen=True, kw_only=True)
class VerdictRows:
    """Rows of SFT, and an account of the responses."""

    rows: Sequence[Row]
    verdicts: Mapping[str, int]  # how many rows have each verdict
    between: int  # responses that are left out: as near to one verdict as to another


def main(argv: Sequence[str] | None = None) -> None:
    """Write the rows that `argv` names and print an account.

    Raises:
        ConfigError: options do not go together, or the reward model's file cannot be used.
        DataError: rows cannot be used; no row has a verdict.
    """
    args = _parser().parse_args(argv)
    config = read_generative(args.reward)
    kind = args.rows or kind_of(args.file)
    if kind not in KINDS:
        raise ConfigError(
            f"{args.file} has {kind}; verdicts are made of {', '.join(KINDS)}.", code="bad-value"
        )
    if (kind == "ratings") != (args.axis is not None):
        instead = "leave it out" if args.axis is not None else "name the axis that is judged"
        raise ConfigError(f"--axis belongs to ratings; {instead}.", code="key-conflict")
    rubric = Rubric(config.rubric, list(config.values))
    with BadRows(drop=args.drop_bad_rows) as bad_rows:
        if kind == "rankings":
            rankings = load_rankings(args.file, bad_rows=bad_rows, scores="ignore").rows
            made = rows_of_rankings(rankings, rubric, config.values)
        else:
            made = rows_of_ratings(*_rated(args, kind, bad_rows), rubric, config.values)
    if not made.rows:
        raise DataError(
            f"{args.file}: no response is nearer to one verdict than to another.", code="no-rows"
        )
    lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in made.rows]
    write_atomically(Path(args.output), "".join(lines))
    print(f"{args.file} ({kind}): {counted(len(made.rows), 'row')} in {args.output}")
    print("  " + ", ".join(f"{count} x {word!r}" for word, count in made.verdicts.items()))
    if made.between:
        print(f"  left out: {counted(made.between, 'response')} between two verdicts")


def rows_of_rankings(
    rankings: Sequence[Ranking], rubric: Rubric, values: Mapping[str, float]
) -> VerdictRows:
    """A row for each response of each ranking, by the share of the others that it beats.

    A tie counts half, as in a win rate. The best of a ranking without ties gets the verdict of the
    highest value, and the worst that of the lowest.

    Args:
        rankings: with an order.
        rubric: the text around a response.
        values: of the verdicts.
    """
    judged = []
    for row in rankings:
        for place, response in enumerate(row.responses):
            others = [rank for other, rank in enumerate(row.ranks) if other != place]
            beaten = sum(row.ranks[place] < rank for rank in others)
            tied = sum(row.ranks[place] == rank for rank in others)
            share = (beaten + tied / 2) / len(others)
            judged.append((rubric.text(row.prompt, response), share))
    return _rows(judged, values)


def rows_of_ratings(
    rated: Sequence[RatedResponse], axis: str, rubric: Rubric, values: Mapping[str, float]
) -> VerdictRows:
    """A row for each rated response, by the place of its rating between the lowest and the highest.

    Args:
        rated: responses with a rating of the axis.
        axis: that is judged.
        rubric: the text around a response.
        values: of the verdicts.

    Raises:
        DataError: all ratings are equal.
    """
    ratings = [row.ratings[axis] for row in rated]
    lowest, highest = min(ratings), max(ratings)
    if lowest == highest:
        raise DataError(
            f"all {len(ratings)} ratings of {axis} are {lowest:g}; they give no verdicts.",
            code="no-rows",
        )
    judged = [
        (rubric.text(row.prompt, row.completion), (rating - lowest) / (highest - lowest))
        for row, rating in zip(rated, ratings, strict=True)
    ]
    return _rows(judged, values)


def nearest_verdict(share: float, values: Mapping[str, float]) -> str | None:
    """The verdict whose value is nearest to this share of the way from the lowest to the highest.

    None if two are equally near.
    """
    lowest, highest = min(values.values()), max(values.values())
    wanted = lowest + share * (highest - lowest)
    distances = {word: round(abs(value - wanted), 9) for word, value in values.items()}
    nearest = [word for word, far in distances.items() if far == min(distances.values())]
    return nearest[0] if len(nearest) == 1 else None


def _rows(judged: Sequence[tuple[str, float]], values: Mapping[str, float]) -> VerdictRows:
    """Rows of texts with shares from 0 (worst) to 1 (best)."""
    verdicts = [(text, nearest_verdict(share, values)) for text, share in judged]
    rows: list[Row] = [{"prompt": text, "completion": word} for text, word in verdicts if word]
    counts = Counter(word for _, word in verdicts if word)
    return VerdictRows(
        rows=rows,
        verdicts={word: counts[word] for word in values},
        between=len(judged) - len(rows),
    )


def _rated(
    args: argparse.Namespace, kind: str, bad_rows: BadRows
) -> tuple[Sequence[RatedResponse], str]:
    """The rated responses of the file, and the axis that is judged."""
    if kind == "outcomes":
        return load_outcomes(args.file, bad_rows=bad_rows).rows, CORRECT
    return load_ratings(args.file, bad_rows=bad_rows, axes=[args.axis]).rows, args.axis


def _parser() -> argparse.ArgumentParser:
    parser = CommandParser(
        prog="rlhf data verdicts",
        description="Turn rankings, verdicts or ratings into rows of SFT that train a generative "
        "reward model: the prompt is the rubric with a response, the completion a verdict.",
        allow_abbrev=False,
    )
    parser.add_argument("file", help="A file of labels, or a hub dataset.")
    parser.add_argument(
        "--reward",
        required=True,
        help="The YAML file of the generative reward model, with rubric and verdicts.",
    )
    parser.add_argument("--output", required=True, help="The JSONL file to write.")
    parser.add_argument(
        "--rows",
        choices=KINDS,
        help="The kind of the rows. By default it is guessed from the keys of the first row.",
    )
    parser.add_argument("--axis", help="Of ratings: the axis that is judged.")
    parser.add_argument(
        "--drop_bad_rows", action="store_true", help="Leave out bad rows and count them."
    )
    return parser
