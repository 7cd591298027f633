"""`rlhf report RUN_DIR`: report.html, one file, from the run folder alone."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from jinja2 import Environment, PackageLoader
from markupsafe import Markup

from rlhf.manifest import write_atomically
from rlhf.report.charts import Bar, Series, forest_plot, line_chart
from rlhf.report.health import health
from rlhf.report.read import Row, RunView, StageView, read_run
from rlhf.report.samples import sample_sets
from rlhf.report.verdict import verdict

REPORT = "report.html"
MIN_PROMPTS = 10  # of a category, for a line in the forest plot
# One chart each, in this order; names of one line share the axes.
CURVES = (
    ("loss", ("loss", "eval_loss")),
    ("held-out accuracy", ("eval_accuracy",)),
    ("score", ("score", "eval_score")),
    ("KL, nats per answer", ("kl", "kl_k3", "eval_kl")),
    ("answer length, tokens", ("response_length",)),
    ("share that ends with EOS", ("eos_rate",)),
    ("entropy, nats per token", ("entropy",)),
    ("clip fraction", ("clip_fraction", "value_clip_fraction")),
    ("explained variance", ("explained_variance",)),
    ("value loss", ("value_loss",)),
    ("gradient norm", ("grad_norm", "value_grad_norm")),
    ("KL coefficient", ("kl_coef",)),
    ("learning rate", ("learning_rate",)),
    ("seconds per step", ("seconds_rollout", "seconds_score", "seconds_update")),
)


def main(argv: Sequence[str]) -> int:
    """`rlhf report`."""
    parser = argparse.ArgumentParser(
        prog="rlhf report", description="One HTML file from a run folder.", allow_abbrev=False
    )
    parser.add_argument("run_dir", help="A chain's folder, or that of one recipe.")
    print(write_report(Path(parser.parse_args(argv).run_dir)))
    return 0


def write_report(run_dir: Path) -> Path:
    """Write `run_dir/report.html` and return its path.

    Raises:
        CheckpointError: the folder holds no run.
    """
    run = read_run(run_dir)
    path = run_dir / REPORT
    write_atomically(path, render(run))
    return path


def render(run: RunView) -> str:
    """The page. Jinja escapes every text; only the charts come as markup, escaped by themselves."""
    environment = Environment(
        loader=PackageLoader("rlhf.report", ""),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    judged = next((stage for stage in run.stages if stage.evaluation), None)
    evaluation: Row = judged.evaluation if judged else {}
    results: list[Row] = list(evaluation.get("results", []))
    named = dict.fromkeys([*evaluation.get("models", {}), *(str(r["model"]) for r in results)])
    models = list(named)
    return environment.get_template("report.html.j2").render(
        title=run.folder.resolve().name,
        lights=verdict(run),
        models=models,
        figures=table(results, models),
        by_category=table(results, models, by_category=True),
        forest=forest(results),
        stages=run.stages,
        speaking=sorted(run.stages, key=lambda stage: not stage.evaluation),
        health=next((drawn for stage in run.stages if (drawn := health(stage.health))), None),
        curves={stage.name: curves(stage) for stage in run.stages},
        samples={stage.name: sample_sets(stage) for stage in run.stages},
        manifests=[stage for stage in run.stages if stage.manifest],
        config=run.config or next((s.config for s in run.stages if s.config), ""),
        command=command(run),
        contaminated=evaluation.get("contaminated_prompts", 0),
        num_prompts=evaluation.get("prompts", 0),
    )


def table(
    results: Sequence[Row], models: Sequence[str], *, by_category: bool = False
) -> list[tuple[str, list[str]]]:
    """(label, one cell a model) of the figures over all prompts, or of those by category."""
    chosen = [r for r in results if ("subset" in r) == by_category]
    if by_category:
        chosen = [r for r in chosen if r["metric"] in ("win_rate", "score")]
    labels = dict.fromkeys(label_of(r) for r in chosen)
    cells = {(label_of(r), r["model"]): cell(r) for r in chosen}
    return [(label, [cells.get((label, model), "–") for model in models]) for label in labels]


def label_of(result: Row) -> str:
    """What a figure is, in a few words."""
    parts = [str(result.get("axis") or result["metric"]).replace("_", " ")]
    if "subset" in result:
        parts.insert(0, f"{result['subset']}:")
    if result.get("baseline"):
        parts.append(f"against {result['baseline']}")
    if result.get("judge"):
        parts.append(f"({judge_name(result)})")
    if not result.get("with_contaminated", True):
        parts.append("without contaminated prompts")
    return " ".join(parts)


def judge_name(result: Row) -> str:
    """`gold`, or `reward model: NAME` where there are several."""
    source = f": {result['judge_source']}" if result.get("judge_source") else ""
    return str(result["judge"]).replace("_", " ") + source


def cell(result: Row) -> str:
    """`0.73 [0.70, 0.76]`."""
    value, low, high = (f"{float(result[key]):.3g}" for key in ("value", "low", "high"))
    return f"{value} [{low}, {high}]"


def forest(results: Sequence[Row]) -> Markup:
    """Win rates over all prompts, then the last model's by category, by its best judge alone.

    Categories of a few prompts stay in the table: their intervals are not worth a line.
    """
    wins = [r for r in results if r["metric"] == "win_rate" and r.get("with_contaminated", True)]
    overall = [r for r in wins if "subset" not in r]
    last = [r for r in overall if r["model"] == overall[-1]["model"]]
    judges = [r["judge"] for r in last][:1]  # evaluate.py names the most trustworthy judge first
    by_category = [
        r
        for r in wins
        if "subset" in r
        and r["model"] == last[0]["model"]
        and r["judge"] in judges
        and r["n"] >= MIN_PROMPTS
    ]
    bars = [
        Bar(
            label=f"{r['model']}, {r.get('subset', 'all prompts')} ({judge_name(r)})",
            value=r["value"],
            low=r["low"],
            high=r["high"],
        )
        for r in overall + by_category
    ]
    return forest_plot(bars) if bars else Markup("")


def curves(stage: StageView) -> list[tuple[str, Markup, list[str]]]:
    """(title, chart, names of its lines) of every figure that the stage logged."""
    found = []
    for title, names in CURVES:
        lines = [line for name in names if (line := _series(stage.metrics, name)).xs]
        if lines:
            found.append((title, line_chart(lines), [line.name for line in lines]))
    return found


def command(run: RunView) -> str:
    """How to make this run again from its own config.yaml."""
    recipe = {"evaluation": "evaluate"}.get(run.stages[0].name, run.stages[0].name)
    if len(run.stages) > 1:
        recipe = "align"
    return f"rlhf launch recipes/{recipe}.py --config {run.folder}/config.yaml"


def _series(metrics: Sequence[Row], name: str) -> Series:
    points = [
        (float(row["step"]), float(row[name]))
        for row in metrics
        if isinstance(row.get(name), int | float) and isinstance(row.get("step"), int | float)
    ]
    return Series(name=name, xs=[x for x, _ in points], ys=[y for _, y in points])
