"""Models of a clone of https://github.com/tatsu-lab/alpaca_eval, as `length_control` reads them."""

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

JUDGE, BASELINE = "weighted_alpaca_eval_gpt4_turbo", "gpt4_1106_preview"
LEADERBOARD = f"src/alpaca_eval/leaderboards/data_AlpacaEval_2/{JUDGE}_leaderboard.csv"
PUBLISHED = ("win_rate", "standard_error", "length_controlled_winrate")


def clone_rows(clone: Path, max_bytes: int) -> Iterator[dict[str, Any]]:
    """A row for each model with annotations and a length-controlled win rate, by name.

    Args:
        clone: the folder of the clone.
        max_bytes: models with a larger file of annotations are left out.
    """
    with (clone / LEADERBOARD).open(encoding="utf-8", newline="") as lines:
        listed = sorted(csv.DictReader(lines), key=lambda row: row[""])
    for row in listed:
        path = clone / "results" / row[""] / JUDGE / "annotations.json"
        known = path.is_file() and path.stat().st_size <= max_bytes
        if known and row[""] != BASELINE and all(row[key] for key in PUBLISHED):
            judged = [one for one in json.loads(path.read_bytes()) if one["preference"] is not None]
            yield {
                "model": row[""],
                "preference": [_win(one["preference"]) for one in judged],
                "length": [len(one["output_2"]) for one in judged],
                "baseline_length": [len(one["output_1"]) for one in judged],
                **{key: float(row[key]) for key in PUBLISHED},
            }


def _win(preference: float) -> float:
    """From 1 (baseline) to 2 (model) as from 0 to 1; 0 is a tie."""
    return preference - 1 if preference else 0.5
