"""Share of constraints that sampled responses meet, of prompts with all constraints met, and words.

    rlhf sample --model MODEL --prompts ifeval.jsonl --output after.jsonl \\
        --num_responses 1 --temperature 0 --max_new_tokens 768
    python recipes/instructions/score.py before=before.jsonl after=after.jsonl

A second table counts the kinds of constraints. The answers of `rlhf evaluate --suite` lack the
constraints: add the file of the prompts, and name the models as in that run.

    python recipes/instructions/score.py before=runs/ifeval/suite_answers.jsonl \\
        after=runs/ifeval/suite_answers.jsonl --rows ifeval.jsonl

Rows of IFEval (a column instruction_id_list) are checked by the benchmark's own checks, which need
`pip install 'rlhf[ifeval]'`, and `python -m nltk.downloader punkt_tab` or a copy of NLTK's data in
$NLTK_DATA; rows of prompts.py by our own. The first file is the baseline: differences are paired by
prompt. Intervals are 95% bootstrap intervals that resample prompts.
"""

import argparse
import json
import statistics
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
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


@dataclass(frozen=True)
class Scored:
    """The responses of a model, by prompt, and what they meet by each kind of check."""

    rows: Sequence[Row]
    met: Mapping[str, Met]


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


def kinds_of(row: Row) -> list[str]:
    """The kind of each constraint of a row."""
    if "instruction_id_list" in row:
        return list(row["instruction_id_list"])
    return [constraint["kind"] for constraint in row["constraints"]]


def read(path: Path, model: str, asked: Mapping[str, Row]) -> list[Row]:
    """The rows of a file of responses, in order of their prompts.

    Args:
        path: written by `rlhf sample` or `rlhf evaluate --suite`.
        model: whose responses, where the file has those of several.
        asked: rows with the constraints, by prompt; empty if the file has them.

    Raises:
        ConfigError: no response of the model, or one to a prompt without constraints.
    """
    # Bytes: a response may contain U+2028, which ends a line of a str and not in JSON.
    rows = [json.loads(line) for line in path.read_bytes().splitlines()]
    own = [row for row in rows if row.get("model", model) == model]
    if not own:
        models = ", ".join(sorted({row["model"] for row in rows})) or "no responses"
        raise ConfigError(f"{path} has {models}, not {model}; write MODEL=FILE.", code="bad-value")
    if asked:
        own = [{**asked.get(row["prompt"], {}), **row} for row in own]
    if not all("instruction_id_list" in row or "constraints" in row for row in own):
        raise ConfigError(
            f"{path} has prompts without constraints; add --rows with the file of the prompts.",
            code="missing-key",
        )
    return sorted(own, key=lambda row: json.dumps(row["prompt"]))


def read_asked(path: Path | None) -> dict[str, Row]:
    """The rows of a file, by prompt; none without a file."""
    rows = map(json.loads, path.read_bytes().splitlines()) if path else ()
    return {row["prompt"]: row for row in rows}


def table(scored: Mapping[str, Scored]) -> list[str]:
    """Markdown rows, one for each model and kind of check."""
    lines = [
        "| responses | check | prompts | constraints | gain, prompts | words, median |",
        "|---|---|---|---|---|---:|",
    ]
    baseline = next(iter(scored.values()))
    for name, model in scored.items():
        words = f"{median_words(model.rows):g}"
        for check, met in model.met.items():
            own = model is baseline
            compared = "" if own else points(gain(met, baseline.met[check]), sign="+")
            cells = [points(prompt_accuracy(met)), points(constraint_accuracy(met)), compared]
            lines.append(f"| {name} | {check} | {' | '.join(cells)} | {words} |")
    return lines


def table_of_kinds(scored: Mapping[str, Scored]) -> list[str]:
    """Markdown rows, one for each kind of constraint: how often asked, and met by each model.

    Strict checks count, where there are strict and loose ones.
    """
    rows = next(iter(scored.values())).rows
    asked = Counter(kind for row in rows for kind in kinds_of(row))
    counts = [_met_by_kind(model) for model in scored.values()]
    lines = [
        f"| constraint | asked | {' | '.join(scored)} |",
        f"|---|---:|{'---:|' * len(scored)}",
    ]
    for kind in sorted(asked):
        cells = [str(count[kind]) for count in (asked, *counts)]
        lines.append(f"| {kind} | {' | '.join(cells)} |")
    return lines


def _met_by_kind(model: Scored) -> Counter[str]:
    met = next(iter(model.met.values()))
    pairs = zip(model.rows, met, strict=True)
    return Counter(
        kind
        for row, each in pairs
        for kind, is_met in zip(kinds_of(row), each, strict=True)
        if is_met
    )


def points(estimate: Estimate, sign: str = "") -> str:
    """The estimate in percent, with its interval."""
    value, low, high = (100 * each for each in (estimate.value, estimate.low, estimate.high))
    return f"{value:{sign}.1f} [{low:{sign}.1f}, {high:{sign}.1f}]"


def main(argv: Sequence[str] | None = None) -> int:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("files", nargs="+", metavar="NAME=FILE")
    parser.add_argument("--rows", type=Path, help="rows of the prompts, if FILE has no constraints")
    options = parser.parse_args(argv)
    if options.rows is not None and not options.rows.is_file():
        parser.error(f"--rows {options.rows} is not a file; give the file of the prompts.")
    asked = read_asked(options.rows)
    scored: dict[str, Scored] = {}
    prompts: list[str] = []
    for item in options.files:
        name, _, file = item.partition("=")
        path = Path(file or name)
        if not path.is_file():
            parser.error(f"{path} is not a file; make it with rlhf sample.")
        try:
            rows = read(path, name, asked)
            of_file = [json.dumps(row["prompt"]) for row in rows]
            if prompts and of_file != prompts:
                parser.error(f"{item}: its prompts differ from those of the first file.")
            prompts = of_file
            is_ifeval = "instruction_id_list" in rows[0]
            scored[name] = Scored(
                rows, check_benchmark(rows, name) if is_ifeval else check_own(rows)
            )
        except ConfigError as error:
            parser.error(str(error))
    print("\n".join([*table(scored), "", *table_of_kinds(scored)]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
