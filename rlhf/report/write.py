"""`rlhf report RUN_DIR`: report.html, one file, from the run folder alone."""

import argparse
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from jinja2 import Environment, PackageLoader
from markupsafe import Markup

from rlhf.errors import CheckpointError, ConfigError
from rlhf.manifest import write_atomically
from rlhf.report.charts import Bar, Dot, Series, forest_plot, line_chart, scatter
from rlhf.report.frontier import frontier_view
from rlhf.report.health import health
from rlhf.report.labels import label_view
from rlhf.report.plateau import Plateau, plateau
from rlhf.report.prompt_map import prompt_map
from rlhf.report.read import Row, RunView, StageView, read_run
from rlhf.report.samples import plain, sample_sets
from rlhf.report.settings import settings
from rlhf.report.token_map import heat_maps
from rlhf.report.verdict import verdict

REPORT = "report.html"
# Of a run folder and of a chain's: what a page can change for.
WATCHED = tuple(
    f"{below}{name}"
    for below in ("", "*/")
    for name in ("*.json", "metrics.jsonl", "config.yaml", "samples/*")
)
MAX_SPOTS = 400  # of the chart of length against score
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
    parser.add_argument("--watch", action="store_true", help="Draw again as the folder grows.")
    parser.add_argument("--interval", type=float, default=5.0, help="Seconds between looks.")
    given = parser.parse_args(argv)
    if given.watch:
        watch(Path(given.run_dir), seconds=given.interval, say=print)
    else:
        print(write_report(Path(given.run_dir)))
    return 0


def watch(
    run_dir: Path,
    *,
    seconds: float,
    say: Callable[[str], object],
    sleep: Callable[[float], object] = time.sleep,
) -> None:
    """Draw the report again whenever a file below the folder changed, until Ctrl-C.

    A folder without a run yet is waited for. The page asks the browser to load it again as often.

    Raises:
        ConfigError: seconds that are none.
    """
    if not seconds > 0:
        raise ConfigError(f"interval={seconds}: give more than 0 seconds.")
    seen: Mapping[Path, tuple[int, int]] | None = None
    drawn = False
    say(f"watching {run_dir}; Ctrl-C ends it")
    try:
        while True:
            now = _stamps(run_dir)
            if now != seen:
                seen = now
                try:
                    path = write_report(run_dir, refresh=max(1, round(seconds)))
                    drawn = True
                    say(f"{time.strftime('%H:%M:%S')} {path}")
                except CheckpointError:
                    say(f"{time.strftime('%H:%M:%S')} {run_dir} holds no run yet")
            sleep(seconds)
    except KeyboardInterrupt:
        if drawn:
            write_report(run_dir)  # without the wish to be loaded again


def _stamps(run_dir: Path) -> dict[Path, tuple[int, int]]:
    """Size and time of what the report is made from; weights and the page itself are not."""
    found = {}
    for pattern in WATCHED:
        for path in run_dir.glob(pattern):
            try:
                stat = path.stat()
            except OSError:  # replaced between the two calls
                continue
            found[path] = (stat.st_size, stat.st_mtime_ns)
    return found


def write_report(run_dir: Path, *, refresh: int | None = None) -> Path:
    """Write `run_dir/report.html` and return its path.

    refresh: seconds after which a browser loads it again; None never.

    Raises:
        CheckpointError: the folder holds no run.
    """
    run = read_run(run_dir)
    path = run_dir / REPORT
    write_atomically(path, render(run, refresh=refresh))
    return path


def render(run: RunView, *, refresh: int | None = None) -> str:
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
    named = dict.fromkeys(str(r["model"]) for r in results)
    models = list(evaluation.get("models", {})) or list(named)
    others = [name for name in named if name not in models]
    return environment.get_template("report.html.j2").render(
        title=run.folder.resolve().name,
        lights=verdict(run),
        refresh=refresh,
        models=models,
        others=others,
        baselines=table(results, others, only=("win_rate", "score", "bradley_terry", "kl_bound")),
        scatter=length_and_score(judged, models),
        frontier=frontier_view(evaluation),
        labels=next((view for s in run.stages if (view := label_view(s.label_stats))), None),
        heats={s.name: heat_maps(s.samples.get("tokens", [])) for s in run.stages},
        maps={s.name: prompt_map(s.embeddings) for s in run.stages},
        contamination=evaluation.get("contamination", []),
        settings=[(s.name, settings(s.config)) for s in run.stages if s.config],
        figures=table(results, models),
        by_category=table(results, models, by_category=True),
        forest=forest(results, models[-1] if models else ""),
        stages=run.stages,
        speaking=sorted(run.stages, key=lambda stage: not stage.evaluation),
        health=next((drawn for stage in run.stages if (drawn := health(stage.health))), None),
        curves={stage.name: curves(stage) for stage in run.stages},
        samples={stage.name: sample_sets(stage) for stage in run.stages},
        manifests=[stage for stage in run.stages if stage.manifest],
        config=run.config,
        command=command(run),
        contaminated=evaluation.get("contaminated_prompts", 0),
        num_prompts=evaluation.get("prompts", 0),
    )


def table(
    results: Sequence[Row],
    models: Sequence[str],
    *,
    by_category: bool = False,
    only: Sequence[str] = (),
) -> list[tuple[str, list[str]]]:
    """(label, one cell a model) of the figures over all prompts, or of those by category."""
    chosen = [r for r in results if ("subset" in r) == by_category and r["model"] in models]
    chosen = [r for r in chosen if not only or r["metric"] in only]
    if only:
        chosen = [r for r in chosen if r.get("with_contaminated", True)]
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
    if result.get("precision"):
        parts.append(f"({result['precision']})")
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


def forest(results: Sequence[Row], model: str) -> Markup:
    """Win rates over all prompts, then those of `model` by category, by its best judge alone.

    Categories of a few prompts stay in the table: their intervals are not worth a line.
    """
    wins = [r for r in results if r["metric"] == "win_rate" and r.get("with_contaminated", True)]
    overall = [r for r in wins if "subset" not in r]
    last = [r for r in overall if r["model"] == model]
    judges = [r["judge"] for r in last][:1]  # evaluate.py names the most trustworthy judge first
    by_category = [
        r
        for r in wins
        if "subset" in r and r["model"] == model and r["judge"] in judges and r["n"] >= MIN_PROMPTS
    ]
    bars = [
        Bar(
            label=_line_label(r),
            value=r["value"],
            low=r["low"],
            high=r["high"],
        )
        for r in overall + by_category
    ]
    return forest_plot(bars) if bars else Markup("")


def _line_label(result: Row) -> str:
    """`ppo against sft, stories (gold)`."""
    subset = f", {result['subset']}" if "subset" in result else ""
    return f"{result['model']} against {result['baseline']}{subset} ({judge_name(result)})"


def length_and_score(stage: StageView | None, models: Sequence[str]) -> Markup:
    """Length of the last model's answers against their score by the first judge."""
    if stage is None or not models:
        return Markup("")
    rows = [r for r in stage.answers if r.get("model") == models[-1] and r.get("scores")]
    rows = rows[:: max(1, -(-len(rows) // MAX_SPOTS))]
    dots = []
    for row in rows:
        judge, score = next(iter(row["scores"].items()))
        tip = f"{score:.2f} ({judge}): {plain(row.get('text', ''))[:200]}"
        dots.append(Dot(x=float(row["num_tokens"]), y=float(score), shade="c0", tip=tip))
    return scatter(dots, x_label="tokens", y_label="score")


@dataclass(frozen=True, kw_only=True)
class Curve:
    """A chart of what a stage logged."""

    title: str
    chart: Markup
    names: Sequence[str]  # of its lines
    says: str  # of a loss: where it is flat, and whether more steps would pay


def curves(stage: StageView) -> list[Curve]:
    """Every figure that the stage logged."""
    found: list[Curve] = []
    for title, names in CURVES:
        lines = [line for name in names if (line := _series(stage.metrics, name)).xs]
        if not lines:
            continue
        said = _plateau(lines) if title == "loss" else None
        chart = line_chart(lines, mark=said.step if said else None)
        found.append(
            Curve(
                title=title,
                chart=chart,
                names=[line.name for line in lines],
                says=f"{said.says}." if said else "",
            )
        )
    return found


def _plateau(lines: Sequence[Series]) -> Plateau | None:
    """Of the held-out loss where there are points enough, else of the training loss."""
    by_name = {line.name: line for line in lines}
    for name in ("eval_loss", "loss"):
        if name in by_name:
            line = by_name[name]
            if said := plateau(line.xs, line.ys, held_out=name == "eval_loss"):
                return replace(said, says=f"{name.replace('_', ' ')}: {said.says}")
    return None


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
