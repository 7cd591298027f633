"""The table of a model's metrics."""

from rich.console import Console

from rlhf.evaluation.core.metric_table import metric_table
from rlhf.evaluation.core.results import Result


def test_rows_have_labels_intervals_and_what_they_detect():
    of = {"model": "m", "low": 0.5, "high": 0.75, "n": 40}
    results = [
        Result(metric="accuracy", value=0.625, mde=0.1786, subset="annotator Ann", **of),
        Result(metric="demonstrations_above", value=0.6, axis="shuffled words", **of),
    ]
    console = Console(record=True, width=100)
    console.print(metric_table(results, "title", "metric"))
    lines = [[cell.strip() for cell in line.split("│")[1:-1]]
             for line in console.export_text().splitlines() if line.startswith("│")]  # fmt: skip
    assert lines == [
        ["accuracy, annotator Ann", "0.62 [0.50, 0.75]", "± 0.18", "40"],
        ["demonstrations above: shuffled words", "0.60 [0.50, 0.75]", "–", "40"],
    ]
