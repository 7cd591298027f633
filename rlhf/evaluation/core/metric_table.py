"""The table of the metrics of one model: a row for each, with what it detects."""

from collections.abc import Iterable

from rich.table import Table

from rlhf.evaluation.core.results import Result, detects_text, number

HEADS = ("value [95%]", "detects (80% power)", "prompts")


def metric_table(results: Iterable[Result], title: str, head: str = "") -> Table:
    """A row for each result: its label, value, minimal detectable effect and prompts.

    head: of the column of labels.
    """
    table = Table(head, *HEADS, title=title, title_justify="left")
    for result in results:
        cell = f"{number(result.value)} [{number(result.low)}, {number(result.high)}]"
        table.add_row(label_of(result), cell, detects_text(result.mde), str(result.n))
    return table


def label_of(result: Result) -> str:
    """`accuracy, annotator Ann`, `demonstrations above: shuffled words`."""
    label = result.metric.replace("_", " ")
    label = f"{label}: {result.axis}" if result.axis else label
    return f"{label}, {result.subset}" if result.subset else label
