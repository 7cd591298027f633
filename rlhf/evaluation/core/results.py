"""Figures of an evaluation: evaluation.json, and the table at its end."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.table import Table

from rlhf.errors import DataError
from rlhf.evaluation.stats.bootstrap import Estimate
from rlhf.manifest import write_atomically
from rlhf.runtime.printing import plain_console

EVALUATION = "evaluation.json"
PEOPLE = "people"  # stands as the model of figures that are of the human judges
MAX_COLUMNS = 4  # of those tables, in a terminal of 80 characters
# Tables of what no model wrote; all its other figures stand in the file and the report.
TO_BEAT = {
    "What it takes to beat": ("win_rate", "bradley_terry", "score", "kl_bound"),
    "What it takes to beat, by axis": ("axis",),
}


@dataclass(frozen=True, kw_only=True)
class Result:
    """One figure with its 95% interval, and what tells it apart from the others."""

    metric: str  # win_rate, score, axis, kl, kl_per_token, length, eos_rate, distinct_2, …
    model: str
    value: float
    low: float
    high: float
    n: int  # prompts
    baseline: str | None = None
    judge: str | None = None  # gold, reward_model, llm, human
    judge_source: str | None = None  # which, where there are several
    se: float | None = None  # standard error, where one was computed
    axis: str | None = None  # name of one axis of the gold score, or of a benchmark's task
    precision: str | None = None  # fp32 or int8: of the weights, where it was varied
    subset: str | None = None  # value of the `category` column; None is all prompts
    with_contaminated: bool = True  # False: without prompts that stood in the training data


def result_of(
    estimate: Estimate,
    metric: str,
    model: str,
    *,
    baseline: str | None = None,
    judge: str | None = None,
    judge_source: str | None = None,
    axis: str | None = None,
    precision: str | None = None,
) -> Result:
    """The estimate as a figure of `model` over all prompts."""
    return Result(
        metric=metric,
        model=model,
        value=estimate.value,
        low=estimate.low,
        high=estimate.high,
        n=estimate.n,
        se=estimate.se,
        baseline=baseline,
        judge=judge,
        judge_source=judge_source,
        axis=axis,
        precision=precision,
    )


def write_results(
    folder: Path, results: Sequence[Result], provenance: Mapping[str, Any] | None = None
) -> Path:
    """Write `folder/evaluation.json`, whole or not at all, and return its path.

    Keys that say nothing of a figure (no axis, no subset) are left out of its object;
    `baseline` and `judge` always stand there, null where there is none.
    """
    content = {"results": [_object(result) for result in results], **(provenance or {})}
    path = folder / EVALUATION
    write_atomically(path, json.dumps(content, indent=1, ensure_ascii=False) + "\n")
    return path


def read_results(folder: Path) -> list[Result]:
    """The figures of `folder/evaluation.json`.

    Raises:
        DataError: it is not there, or not such a file.
    """
    path = folder / EVALUATION
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return [Result(**item) for item in content["results"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{path} cannot be read ({error}); run recipes/evaluate.py again."
        ) from error


def _object(result: Result) -> dict[str, Any]:
    always = {"metric", "model", "value", "low", "high", "n", "baseline", "judge"}
    everything = dict(vars(result))
    return {k: v for k, v in everything.items() if k in always or not (v is None or v is True)}


def find(results: Sequence[Result], metric: str, model: str, **where: Any) -> Result | None:
    """The first figure of that metric and model over all prompts whose fields equal `where`."""
    wanted = {"axis": None, "subset": None, "with_contaminated": True, **where}
    for result in results:
        fields = vars(result)
        if (result.metric, result.model) == (metric, model) and all(
            fields[key] == value for key, value in wanted.items()
        ):
            return result
    return None


def print_table(results: Sequence[Result], models: Sequence[str], title: str) -> None:
    """One row a figure, one column a model; categories are left to the file.

    Figures without contaminated prompts only where they are of the win rate or score. What no
    model wrote comes in tables of its own, and so do the people who judged.
    """
    chosen = [r for r in results if r.subset is None and _worth_a_row(r)]
    console = plain_console()
    console.print(_table(chosen, models, title, "value [95% interval]"))
    whole = [r for r in chosen if r.with_contaminated and r.model not in (*models, PEOPLE)]
    for name, metrics in TO_BEAT.items():
        kept = [r for r in whole if r.metric in metrics]
        others = list(dict.fromkeys(r.model for r in kept))
        columns = list(dict.fromkeys(row_label(r) for r in kept))
        for start in range(0, len(columns), MAX_COLUMNS):
            shown = columns[start : start + MAX_COLUMNS]
            part = [r for r in kept if row_label(r) in shown]
            console.print(_table(part, others, name, None, across=False))
    if any(r.model == PEOPLE for r in chosen):
        console.print(_table(chosen, [PEOPLE], "Those who judged", None))


def _table(
    chosen: Sequence[Result],
    models: Sequence[str],
    title: str,
    caption: str | None,
    *,
    across: bool = True,
) -> Table:
    """Figures down and models across; or models down, where there are many of them."""
    labels = [row_label(r) for r in chosen if r.model in models]
    labels = list(dict.fromkeys(labels))
    cells = {(row_label(r), r.model): r for r in chosen}
    table = Table(title=title, title_justify="left", caption=caption)
    table.add_column("figure" if across else "", overflow="fold")
    for name in models if across else labels:
        table.add_column(name, justify="right", no_wrap=across, overflow="fold")
    for name in labels if across else models:
        keys = [(name, model) for model in models] if across else [(x, name) for x in labels]
        table.add_row(name, *(cell_text(cells.get(key)) for key in keys))
    return table


def _worth_a_row(result: Result) -> bool:
    if not result.with_contaminated:
        return result.metric in ("win_rate", "score")
    return result.metric not in ("distinct_1", "distinct_3", "length_p10", "length_p90")


def row_label(result: Result) -> str:
    """What a figure is, in a few words: `win rate against sft (gold)`."""
    parts = [result.axis or result.metric.replace("_", " ")]
    if result.baseline:
        parts.append(f"against {result.baseline}")
    if result.judge:
        source = f": {result.judge_source}" if result.judge_source else ""
        parts.append(f"({result.judge}{source})")
    if result.precision:
        parts.append(f"({result.precision})")
    if not result.with_contaminated:
        parts.append("without contaminated")
    return " ".join(parts)


def cell_text(result: Result | None) -> str:
    """`0.73 [0.70,0.76]`, or a dash where the model has no such figure."""
    if result is None:
        return "–"
    return f"{number(result.value)} [{number(result.low)},{number(result.high)}]"


def number(value: float) -> str:
    """Two decimals below 10, one below 100, none above."""
    return f"{value:.{2 if abs(value) < 10 else 1 if abs(value) < 100 else 0}f}"
