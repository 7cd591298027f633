"""`rlhf report RUN_DIR`: report.html, one file, from the run folder alone."""

import argparse
import shlex
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from jinja2 import Environment, PackageLoader

from rlhf.errors import CheckpointError, ConfigError, RLHFError
from rlhf.manifest import write_atomically
from rlhf.report.curves import curves
from rlhf.report.diagnostics import health
from rlhf.report.frontier import frontier_view
from rlhf.report.labels import label_view
from rlhf.report.metrics import forest, length_and_score, strengths, table
from rlhf.report.prompt_map import prompt_map
from rlhf.report.read import Row, RunView, read_run
from rlhf.report.samples import sample_sets
from rlhf.report.settings import settings
from rlhf.report.token_map import heat_maps
from rlhf.report.verdict import verdict
from rlhf.runtime.run_folder import CONFIG

REPORT = "report.html"
# Recipe -> a key that its config.yaml alone has: a run that still goes on has no manifest yet.
RECIPES = {
    "align": "labels",
    "evaluate": "bootstrap_samples",
    "ppo": "rollout_batch_size",
    "reward_model": "center_rewards_coefficient",
    "sft": "packing",
}
TO_BEAT = ("win_rate", "score", "bradley_terry", "kl_bound")
PEOPLE = "people"  # stands as the model of figures that are of the human judges
# Of a run folder and of a chain's: what a page can change for.
WATCHED = tuple(
    f"{below}{name}"
    for below in ("", "*/")
    for name in ("*.json", "metrics.jsonl", "config.yaml", "samples/*")
)


def main(argv: Sequence[str]) -> int:
    """`rlhf report`."""
    parser = argparse.ArgumentParser(
        prog="rlhf report", description="One HTML file from a run folder.", allow_abbrev=False
    )
    parser.add_argument("run_dir", help="A chain's folder, or that of one recipe.")
    parser.add_argument("--watch", action="store_true", help="Draw again as the folder grows.")
    parser.add_argument("--interval", type=float, default=5.0, help="Seconds between looks.")
    parser.add_argument("--output", help="The page; default RUN_DIR/report.html.")
    given = parser.parse_args(argv)
    run_dir = Path(given.run_dir)
    output = Path(given.output) if given.output else run_dir / REPORT
    try:
        if given.watch:
            watch(run_dir, output, seconds=given.interval, say=print)
        else:
            print(write_report(run_dir, output))
    except OSError as error:
        if isinstance(error, RLHFError):
            raise
        raise ConfigError(
            f"{output} cannot be written: {error.strerror}; name another file with --output FILE."
        ) from error
    return 0


def watch(
    run_dir: Path,
    output: Path | None = None,
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
                    path = write_report(run_dir, output, refresh=max(1, round(seconds)))
                    drawn = True
                    say(f"{time.strftime('%H:%M:%S')} {path}")
                except CheckpointError:
                    say(f"{time.strftime('%H:%M:%S')} {run_dir} holds no run yet")
            sleep(seconds)
    except KeyboardInterrupt:
        if drawn:
            write_report(run_dir, output)  # without the wish to be loaded again


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


def write_report(run_dir: Path, output: Path | None = None, *, refresh: int | None = None) -> Path:
    """Write the page, `run_dir/report.html` by default, and return its path.

    refresh: seconds after which a browser loads it again; None never.

    Raises:
        CheckpointError: the folder holds no run.
    """
    run = read_run(run_dir)
    path = output or run_dir / REPORT
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
    others = [name for name in named if name not in (*models, PEOPLE)]
    return environment.get_template("report.html.j2").render(
        title=run.folder.resolve().name,
        lights=verdict(run),
        refresh=refresh,
        models=models,
        others=others,
        baselines=table(results, others, only=TO_BEAT),
        beside_models=table(results, others),
        beside_models_clean=table(results, others, contaminated=False),
        people=table(results, [PEOPLE]),
        strengths=strengths(results),
        data=evaluation.get("data") or {},
        int8=(evaluation.get("tax") or {}).get("int8_share"),
        scatter=length_and_score(judged, models),
        frontier=frontier_view(evaluation),
        labels=next((view for s in run.stages if (view := label_view(s.label_stats))), None),
        heats={s.name: heat_maps(s.samples.get("tokens", [])) for s in run.stages},
        maps={s.name: prompt_map(s.embeddings) for s in run.stages},
        contamination=evaluation.get("contamination", []),
        settings=[(s.name, settings(s.config)) for s in run.stages if s.config],
        figures=table(results, models),
        uncontaminated=table(results, models, contaminated=False),
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
        contaminated=evaluation.get("contaminated_prompts"),
        num_prompts=evaluation.get("prompts", 0),
    )


def command(run: RunView) -> str:
    """How to make this run again from its own config.yaml, beside it; "" where none tells."""
    keys = {line.partition(":")[0] for line in run.config.splitlines()}
    recipe = next((name for name, key in RECIPES.items() if key in keys), None)
    if recipe is None:
        return ""
    again = f"{run.folder}-again"  # a folder that holds a run is refused
    words = ["--config", str(run.folder / CONFIG), "--output_dir", again]
    return shlex.join(["rlhf", "launch", f"recipes/{recipe}.py", *words])
