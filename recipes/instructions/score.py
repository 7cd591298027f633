"""Share of constraints that sampled responses meet, of prompts with all constraints met, and words.

    rlhf sample --model MODEL --prompts ifeval.jsonl --output after.jsonl \\
        --num_responses 1 --temperature 0 --max_new_tokens 768
    python recipes/instructions/score.py before=before.jsonl after=after.jsonl

Rows of IFEval (a column instruction_id_list) are checked by the benchmark's own checks, which need
`pip install 'rlhf[ifeval]'`, and `python -m nltk.downloader punkt_tab` or a copy of NLTK's data in
$NLTK_DATA; rows of prompts.py by our own. The first file is the baseline: differences are paired by
prompt. Intervals are 95% bootstrap intervals that resample prompts.
"""

import argparse
import json
import statistics
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

sys.path.append(str(Path(__file__).resolve().parents[2]))

from recipes.instructions.constraints import is_met
from rlhf.errors import ConfigError
from rlhf.evaluation.stats.bootstrap import Estimate, mean, ratio
from rlhf.rewards.verifiers.ifeval import check_ifeval, followed_instructions

Row: TypeAlias = Mapping[str, Any]
Met: TypeAlias = Sequence[Sequence[bool]]
"""By prompt: whether each of its constraints is met."""


def check_benchmark(rows: Sequence[Row], place: str) -> dict[str, Met]:
    """Which constraints are met by the benchmark's own checks, strict and loose.

    Loose checks also accept a response without its first line, its last line or its asterisks.

    Raises:
        ConfigError: a package or data that the checks need are not there.
    """
    check_ifeval(place)
    return {
        name: [followed_instructions(row["responses"][0], row, loose=loose) for row in rows]
        for name, loose in (("strict", False), ("loose", True))
    }


def check_own(rows: Sequence[Row]) -> dict[str, Met]:
    """Which constraints of prompts.py are met."""
    return {
        "own": [
            [is_met(row["responses"][0], constraint) for constraint in row["constraints"]]
            for row in rows
        ]
    }


def prompt_accuracy(met: Met) -> Estimate:
    """Share of the prompts with all constraints met."""
    return mean([[float(all(each))] for each in met])


def constraint_accuracy(met: Met) -> Estimate:
    """Share of the constraints that are met."""
    return ratio([float(sum(each)) for each in met], [float(len(each)) for each in met])


def gain(after: Met, before: Met) -> Estimate:
    """Difference of the shares of prompts with all constraints met, paired by prompt."""
    return mean([[float(all(a)) - float(all(b))] for a, b in zip(after, before, strict=True)])


def median_words(rows: Sequence[Row]) -> float:
    """Median number of words of the responses."""
    return statistics.median(len(row["responses"][0].split()) for row in rows)


def read(path: Path) -> list[Row]:
    """The rows of a file of `rlhf sample`, in order of their prompts."""
    # Bytes: a response may contain U+2028, which ends a line of a str and not in JSON.
    rows = [json.loads(line) for line in path.read_bytes().splitlines()]
    return sorted(rows, key=lambda row: json.dumps(row["prompt"]))


def table(checked: Mapping[str, Mapping[str, Met]], words: Mapping[str, float]) -> list[str]:
    """Markdown rows, one for each file and kind of check."""
    lines = [
        "| responses | check | prompts | constraints | gain, prompts | words, median |",
        "|---|---|---|---|---|---:|",
    ]
    baseline = next(iter(checked.values()))
    for name, kinds in checked.items():
        for kind, met in kinds.items():
            compared = "" if kinds is baseline else points(gain(met, baseline[kind]), sign="+")
            cells = [points(prompt_accuracy(met)), points(constraint_accuracy(met)), compared]
            lines.append(f"| {name} | {kind} | {' | '.join(cells)} | {words[name]:g} |")
    return lines


def points(estimate: Estimate, sign: str = "") -> str:
    """The estimate in percent, with its interval."""
    value, low, high = (100 * each for each in (estimate.value, estimate.low, estimate.high))
    return f"{value:{sign}.1f} [{low:{sign}.1f}, {high:{sign}.1f}]"


def main(argv: Sequence[str] | None = None) -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("files", nargs="+", metavar="NAME=FILE")
    options = parser.parse_args(argv)
    checked: dict[str, Mapping[str, Met]] = {}
    words: dict[str, float] = {}
    prompts: list[str] = []
    for item in options.files:
        name, _, path = item.partition("=")
        if not Path(path or name).is_file():
            parser.error(f"{path or name} is not a file; make it with rlhf sample.")
        rows = read(Path(path or name))
        of_file = [json.dumps(row["prompt"]) for row in rows]
        if prompts and of_file != prompts:
            parser.error(f"{item}: its prompts differ from those of the first file.")
        prompts, words[name] = of_file, median_words(rows)
        try:
            is_ifeval = "instruction_id_list" in rows[0]
            checked[name] = check_benchmark(rows, name) if is_ifeval else check_own(rows)
        except ConfigError as error:
            parser.error(str(error))
    print("\n".join(table(checked, words)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
