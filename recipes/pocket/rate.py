"""Labels of single responses for the pocket pipeline: verdicts, and ratings by axis.

    python recipes/pocket/rate.py --rankings runs/pocket/labels/rankings.jsonl \\
        --outcomes runs/pocket/outcomes.jsonl --ratings runs/pocket/ratings.jsonl

The responses are those of a file of rankings, each once. The axes are those of the gold scorer
(`gold.py`). A response is correct if the axis `correct` is 1. A rating is the axis from 0 to 4, off
by one with probability --noise, and missing with probability --missing, as people's ratings are.
"""

import argparse
import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from random import Random

ROOT = Path(__file__).resolve().parents[2]
sys.path.append(str(ROOT))

from recipes.pocket.gold import POINTS, axes  # noqa: E402
from rlhf.data.rows.load import load_rankings  # noqa: E402
from rlhf.manifest import write_atomically  # noqa: E402

HIGHEST = 4


def responses_of(rankings: Path) -> Iterator[tuple[str, str]]:
    """Each response of the rankings once, with its prompt, which is a text."""
    seen: set[str] = set()
    for row in load_rankings(str(rankings), keep_tied=True).rows:
        assert isinstance(row.prompt, str)
        for response in row.responses:
            key = json.dumps([row.prompt, response])
            if key not in seen:
                seen.add(key)
                yield row.prompt, response


def rated(
    values: Mapping[str, float], rng: Random, *, noise: float, missing: float
) -> dict[str, int]:
    """Ratings from 0 to 4 of axis values from 0 to 1, with errors and gaps."""
    ratings = {}
    for axis, value in values.items():
        rating = round(HIGHEST * value) + rng.choice((-1, 1)) * (rng.random() < noise)
        if rng.random() >= missing:
            ratings[axis] = min(max(rating, 0), HIGHEST)
    return ratings


def main() -> None:
    """Write both files and print how many rows they have."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rankings", type=Path, required=True, help="File of ranked responses.")
    parser.add_argument("--outcomes", type=Path, required=True, help="File of verdicts to write.")
    parser.add_argument("--ratings", type=Path, required=True, help="File of ratings to write.")
    parser.add_argument("--noise", type=float, default=0.2, help="Share of ratings off by one.")
    parser.add_argument("--missing", type=float, default=0.2, help="Share of missing ratings.")
    parser.add_argument("--seed", type=int, default=0, help="Seed of the errors and gaps.")
    args = parser.parse_args()
    rng, outcomes, ratings = Random(args.seed), [], []
    for prompt, response in responses_of(args.rankings):
        gold = axes(prompt, response)
        values = {name: float(gold[name]) for name in POINTS if gold[name] is not None}
        row = {"prompt": prompt, "response": response}
        if "correct" in values:
            outcomes.append({**row, "correct": values["correct"] == 1.0})
        if given := rated(values, rng, noise=args.noise, missing=args.missing):
            ratings.append({**row, "ratings": given})
    for path, rows in ((args.outcomes, outcomes), (args.ratings, ratings)):
        write_atomically(path, "".join(json.dumps(row) + "\n" for row in rows))
        print(f"{path}: {len(rows)} rows")


if __name__ == "__main__":
    main()
