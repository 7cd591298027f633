"""Metrics on held-out prompts: tables, forest plots, length against score."""

from collections.abc import Sequence

from markupsafe import Markup

from rlhf.report.charts import Dot, forest_plot, scatter
from rlhf.report.interval import bar_of, edge_of, interval_text
from rlhf.report.read import Row, StageView
from rlhf.report.samples import plain

MAX_DOTS = 400  # of the chart of length against score
LENGTH = {
    "length_controlled_win_rate": ", length-controlled",
    "equal_length_win_rate": ", at equal length",
}
MIN_PROMPTS = 10  # of a category, for a bar in the forest plot


def table(
    results: Sequence[Row],
    models: Sequence[str],
    *,
    by_category: bool = False,
    contaminated: bool = True,
    only: Sequence[str] = (),
) -> list[tuple[str, list[str]]]:
    """Rows of a table: a label, and one cell per model.

    Args:
        results: rows of evaluation.json.
        models: the columns.
        by_category: metrics by category, or over all prompts.
        contaminated: with the prompts that occur in the training data, or without them.
        only: the metrics to show; all if empty.
    """
    chosen = [r for r in results if ("subset" in r) == by_category and r["model"] in models]
    chosen = [r for r in chosen if not only or r["metric"] in only]
    chosen = [r for r in chosen if r.get("with_contaminated", True) == contaminated]
    if by_category:
        chosen = [r for r in chosen if r["metric"] in ("win_rate", "score")]
    labels = dict.fromkeys(label_of(r) for r in chosen)
    cells = {(label_of(r), r["model"]): cell(r) for r in chosen}
    return [(label, [cells.get((label, model), "–") for model in models]) for label in labels]


def label_of(result: Row) -> str:
    """A short description of a metric."""
    parts = [str(result.get("axis") or result["metric"]).replace("_", " ")]
    if "subset" in result:
        parts.insert(0, f"{result['subset']}:")
    if result.get("baseline"):
        parts.append(f"against {result['baseline']}")
    if result.get("judge"):
        parts.append(f"({judge_name(result)})")
    if result.get("precision"):
        parts.append(f"({result['precision']})")
    return " ".join(parts)


def judge_name(result: Row) -> str:
    """`gold`, or `reward model: NAME` if there are several."""
    source = f": {result['judge_source']}" if result.get("judge_source") else ""
    return str(result["judge"]).replace("_", " ") + source


def cell(result: Row) -> str:
    """The figure with its interval and what it detects, and q of a part."""
    text = interval_text(result)
    return f"{text}, q = {float(result['q']):.2g}" if result.get("q") is not None else text


def forest(results: Sequence[Row], model: str) -> Markup:
    """Win rates of `model`: over all prompts, length-controlled, by category; then the others'.

    Categories are by the most trusted judge alone. Small categories appear only in the table:
    their intervals are too wide to be useful here.
    """
    wins = [r for r in results if r["metric"] == "win_rate" and r.get("with_contaminated", True)]
    overall = [r for r in wins if "subset" not in r]
    own = [r for r in overall if r["model"] == model]
    controlled = [
        r
        for r in results
        if r["metric"] in LENGTH and r["model"] == model and r.get("with_contaminated", True)
    ]
    judges = [r["judge"] for r in own][:1]  # the evaluation lists the most trusted judge first
    by_category = [
        r
        for r in wins
        if "subset" in r and r["model"] == model and r["judge"] in judges and r["n"] >= MIN_PROMPTS
    ]
    bars = [
        bar_of(_bar_label(r), r)
        for r in own + controlled + by_category + [r for r in overall if r["model"] != model]
    ]
    return forest_plot(bars) if bars else Markup("")


def _bar_label(result: Row) -> str:
    """`ppo against sft, stories (gold)`."""
    subset = f", {result['subset']}" if "subset" in result else ""
    subset += LENGTH.get(str(result["metric"]), "")
    return f"{result['model']} against {result['baseline']}{subset} ({judge_name(result)})"


def strengths(results: Sequence[Row]) -> list[tuple[str, Markup]]:
    """(judge, forest plot) of each judge's Bradley-Terry ranking, the strongest model first."""
    rankings = [r for r in results if r["metric"] == "bradley_terry" and "subset" not in r]
    rankings = [r for r in rankings if r.get("with_contaminated", True)]
    plots = []
    for judge in dict.fromkeys(judge_name(r) for r in rankings):
        ranked = sorted((r for r in rankings if judge_name(r) == judge), key=lambda r: -r["value"])
        bars = [bar_of(str(r["model"]), r, detects=True) for r in ranked]
        edge = edge_of(bars)
        plots.append((judge, forest_plot(bars, middle=0.0, ends=(-edge, edge))))
    return plots


def length_and_score(stage: StageView | None, models: Sequence[str]) -> Markup:
    """Length of the last model's responses against their score by the first judge."""
    if stage is None or not models:
        return Markup("")
    rows = [r for r in stage.responses if r.get("model") == models[-1] and r.get("scores")]
    rows = rows[:: max(1, -(-len(rows) // MAX_DOTS))]
    dots = []
    for row in rows:
        judge, score = next(iter(row["scores"].items()))
        tip = f"{score:.2f} ({judge}): {plain(row.get('text', ''))[:200]}"
        dots.append(Dot(x=float(row["num_tokens"]), y=float(score), shade="c0", tip=tip))
    return scatter(dots, x_label="tokens", y_label="score")
