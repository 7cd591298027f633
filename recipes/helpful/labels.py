"""Divide human labels by prompt: for a reward model, for an independent judge, and held out.

    python recipes/helpful/labels.py hh-helpful-base.jsonl.gz runs/helpful

Writes labels.jsonl and judge_labels.jsonl (two fifths of the prompts each) and heldout.jsonl (one
fifth). Prompts that differ only in case and punctuation count as one, so no prompt is in two files.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rlhf.data.convert import convert
from rlhf.data.rows.parse import parse_row
from rlhf.data.rows.split import group_key, split_by_key
from rlhf.runtime.entrypoint import run
from rlhf.types import Ranking

HELD_OUT, JUDGE = 0.2, 0.5  # shares: of all prompts; of those that are not held out


def divide(rows: Sequence[dict[str, Any]], seed: int) -> dict[str, list[dict[str, Any]]]:
    """The rows of each file, by the file's name."""
    rest, held_out = _split(rows, HELD_OUT, seed)
    labels, judge = _split(rest, JUDGE, seed + 1)
    return {"labels": labels, "judge_labels": judge, "heldout": held_out}


def _split(rows: Sequence[dict[str, Any]], fraction: float, seed: int) -> tuple[Any, Any]:
    return split_by_key(rows, [_key(row) for row in rows], fraction, seed)


def _key(row: dict[str, Any]) -> str:
    ranking = parse_row(row)
    assert isinstance(ranking, Ranking)
    return group_key(ranking)


def main(argv: Sequence[str] | None = None) -> None:
    """Write the three files."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source", help="File or hub data set of labels.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--format", default="hh", help="As `rlhf data convert --from`.")
    parser.add_argument("--seed", type=int, default=0, help="Of the split.")
    options = parser.parse_args(argv)
    conversion = convert(options.source, options.format, dropping=True)
    options.folder.mkdir(parents=True, exist_ok=True)
    for name, rows in divide(conversion.rows, options.seed).items():
        path = options.folder / f"{name}.jsonl"
        lines = [json.dumps(row, ensure_ascii=False) for row in rows]
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
        print(f"{path}: {len(rows)} rows")
    print(f"{len(conversion.problems)} rows of another form were left out")


if __name__ == "__main__":
    run(main)
