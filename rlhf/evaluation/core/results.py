"""Results of an evaluation: evaluation.json, and the tables that are printed."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.table import Table

from rlhf.errors import DataError
from rlhf.manifest import write_atomically
from rlhf.runtime.json_numbers import finite_or_null
from rlhf.runtime.printing import plain_console

if TYPE_CHECKING:  # it loads torch, and reading results needs none
    from rlhf.evaluation.stats.bootstrap import Estimate

EVALUATION = "evaluation.json"
ANNOTATORS = "people"  # the model name of results about the human judges
CAPTION = "value [95% interval]; detects: smallest true difference found with 80% power"
MAX_COLUMNS = 4  # of the tables of null baselines, in a terminal of 80 characters
# Tables of the null baselines; their other metrics are in the file and the report.
BASELINE_TABLES = {
    "Null baselines": ("win_rate", "bradley_terry", "score", "kl_bound"),
    "Null baselines, by axis": ("axis",),
}


@dataclass(frozen=True, kw_only=True)
class Result:
    """One metric with its 95% interval, and the fields that identify it."""

    metric: str  # win_rate, score, axis, kl, kl_per_token, length, eos_rate, distinct_2, …
    model: str
    value: float
    low: float  # -infinity if there are too few prompts for an interval; null in the file
    high: float  # infinity then; null in the file
    n: int  # prompts
    baseline: str | None = None
    judge: str | None = None  # gold, reward_model, llm, human
    judge_source: str | None = None  # name of the judge, if there are several of a kind
    se: float | None = None  # standard error, if it was computed
    axis: str | None = None  # name of one axis of the gold score, or of a benchmark's task
    precision: str | None = None  # fp32 or int8 weights, where both were measured
    subset: str | None = None  # value of the `category` column; None is all prompts
    with_contaminated: bool = True  # False: without prompts that occur in the training data
    q: float | None = None  # of a subset's difference from the rest, for all subsets together
    mde: float | None = None  # minimal detectable effect, see `Estimate`


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
    """The estimate as a result of `model` over all prompts; see `Result` for the arguments."""
    return Result(
        metric=metric,
        model=model,
        value=estimate.value,
        low=estimate.low,
        high=estimate.high,
        n=estimate.n,
        se=estimate.se,
        mde=estimate.mde,
        baseline=baseline,
        judge=judge,
        judge_source=judge_source,
        axis=axis,
        precision=precision,
    )


def write_results(
    folder: Path, results: Sequence[Result], provenance: Mapping[str, object] | None = None
) -> Path:
    """Write `folder/evaluation.json`, whole or not at all, and return its path.

    Empty fields of a result (no axis, no subset) are left out of its object, except `baseline` and
    `judge`, which are null.
    """
    content = {"results": [_object(result) for result in results], **(provenance or {})}
    path = folder / EVALUATION
    write_atomically(path, json.dumps(content, indent=1, ensure_ascii=False) + "\n")
    return path


def read_results(folder: Path) -> list[Result]:
    """The results in `folder/evaluation.json`.

    Raises:
        DataError: the file does not exist or has another format.
    """
    path = folder / EVALUATION
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return [_result(item) for item in content["results"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{path} cannot be read ({error}); run `rlhf evaluate` again.",
            code="unreadable-file",
        ) from error


def _object(result: Result) -> dict[str, object]:
    always = {"metric", "model", "value", "low", "high", "n", "baseline", "judge"}
    fields = finite_or_null(vars(result))
    return {k: v for k, v in fields.items() if k in always or not (v is None or v is True)}


def _result(item: dict[str, Any]) -> Result:
    ends = {"low": -math.inf, "high": math.inf}
    return Result(**item | {key: end for key, end in ends.items() if item[key] is None})


def find(results: Sequence[Result], metric: str, model: str, **where: object) -> Result | None:
    """The first result of this metric and model whose fields equal `where`; default all prompts."""
    wanted = {"axis": None, "subset": None, "with_contaminated": True, **where}
    for result in results:
        fields = vars(result)
        if (result.metric, result.model) == (metric, model) and all(
            fields[key] == value for key, value in wanted.items()
        ):
            return result
    return None


def print_table(results: Sequence[Result], models: Sequence[str], title: str) -> None:
    """Print the tables of `result_tables`."""
    console = plain_console()
    for table in result_tables(results, models, title):
        console.print(table)


def result_tables(results: Sequence[Result], models: Sequence[str], title: str) -> list[Table]:
    """A table with one row per metric and one column per model, without categories.

    Below each row is what its figures detect. Without contaminated prompts only the win rate and
    the score have a row. The null baselines have their own tables, and so have the human judges.
    """
    chosen = [r for r in results if r.subset is None and _is_in_tables(r)]
    tables = [_table(chosen, models, title, CAPTION)]
    others = [r for r in chosen if r.with_contaminated and r.model not in (*models, ANNOTATORS)]
    for name, metrics in BASELINE_TABLES.items():
        part = [r for r in others if r.metric in metrics]
        baselines = list(dict.fromkeys(r.model for r in part))
        columns = list(dict.fromkeys(row_label(r) for r in part))
        for start in range(0, len(columns), MAX_COLUMNS):
            labels = columns[start : start + MAX_COLUMNS]
            in_columns = [r for r in part if row_label(r) in labels]
            tables.append(_table(in_columns, baselines, name, None, models_across=False))
    if any(r.model == ANNOTATORS for r in chosen):
        tables.append(_table(chosen, [ANNOTATORS], "Human judges", None))
    return tables


def _table(
    chosen: Sequence[Result],
    models: Sequence[str],
    title: str,
    caption: str | None,
    *,
    models_across: bool = True,
) -> Table:
    """Metrics down and models across, or the other way round if there are many models."""
    labels = list(dict.fromkeys(row_label(r) for r in chosen if r.model in models))
    cells = {(row_label(r), r.model): r for r in chosen}
    table = Table(title=title, title_justify="left", caption=caption)
    table.add_column("metric" if models_across else "", overflow="fold")
    for name in models if models_across else labels:
        table.add_column(name, justify="right", no_wrap=models_across, overflow="fold")
    if models_across:
        for label in labels:
            add_rows(table, label, [cells.get((label, model)) for model in models])
    else:
        for model in models:
            add_rows(table, model, [cells.get((label, model)) for label in labels])
    return table


def add_rows(table: Table, label: str, results: Sequence[Result | None]) -> None:
    """Add a row of values with intervals and, if one is not exact, a row of what they detect."""
    table.add_row(label, *(cell_text(result) for result in results))
    if any(result is not None and result.mde is not None for result in results):
        effects = [None if result is None else result.mde for result in results]
        table.add_row("  detects", *map(detects_text, effects))


def _is_in_tables(result: Result) -> bool:
    if not result.with_contaminated:
        return result.metric in ("win_rate", "score")
    return result.metric not in ("distinct_1", "distinct_3", "length_p10", "length_p90")


def row_label(result: Result) -> str:
    """A short name of a result: `win rate against sft (gold)`."""
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
    """`0.73 [0.70,0.76]`, `0.73` without an interval, or a dash without such a result."""
    if result is None:
        return "–"
    if math.isinf(result.low):
        return number(result.value)
    return f"{number(result.value)} [{number(result.low)},{number(result.high)}]"


def detects_text(mde: float | None) -> str:
    """`± 0.05`, a minimal detectable effect; a dash for an exact value."""
    return "–" if mde is None else f"± {number(mde)}"


def number(value: float) -> str:
    """Two decimals below 10, one below 100, none above."""
    return f"{value:.{2 if abs(value) < 10 else 1 if abs(value) < 100 else 0}f}"
