"""Run recipes as stages that are skipped when done, repeat them over seeds, and print tables."""

import argparse
import json
import sys
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median
from typing import Any

import psutil

ROOT = Path(__file__).resolve().parents[2]
if str(ROOT) not in sys.path:
    sys.path.append(str(ROOT))

from recipes.seed_results import Metrics as Metrics  # noqa: E402
from recipes.seed_results import add_seed, interval, mean_of, read_seeds  # noqa: E402
from rlhf.evaluation.core.records import RECORDS_FILE  # noqa: E402
from rlhf.evaluation.core.results import find, read_results  # noqa: E402
from rlhf.manifest import write_atomically  # noqa: E402
from rlhf.pipeline.commands import stop_on_sigterm  # noqa: E402
from rlhf.pipeline.recipe_stage import RecipeStage, recipe_stage  # noqa: E402
from rlhf.pipeline.runner import read_stage, run_stage  # noqa: E402
from rlhf.runtime.distributed import print_once  # noqa: E402
from rlhf.runtime.paths import make_folder  # noqa: E402
from rlhf.runtime.run_lock import locked  # noqa: E402

RESULTS = "results.jsonl"
TOY_TASKS = Path(__file__).resolve().parent


def run_recipe(folder: Path, recipe: str, config: str, **keys: Any) -> Path:
    """Run `recipes/RECIPE.py` in `folder`, unless it is finished there; returns the folder.

    config: a YAML file, relative to recipes/toy_tasks/.
    """
    stage = RecipeStage(
        name=str(Path(*folder.parts[-2:])),
        folder=folder,
        recipe=recipe,
        config=str(TOY_TASKS / config),
        keys=keys,
        num_processes=1,
        makes=("evaluation.json" if recipe == "evaluate" else "manifest.json",),
        per_device=recipe in ("sft", "reward_model"),
    )
    run_stage(recipe_stage(stage), print_once)
    return folder


def write_rows(path: Path, rows: Iterable[Mapping[str, Any]]) -> str:
    """Write one JSON line per row; returns the path as a string, for the keys of recipes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, "".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def metric_value(folder: Path, metric: str, model: str, **where: Any) -> float:
    """One metric of the evaluation in `folder`; exits if it has none."""
    result = find(read_results(folder), metric, model, **where)
    if result is None:
        sys.exit(f"{folder} has no {metric} of {model} {where}; was the seed interrupted?")
    return result.value


def read_responses(folder: Path, model: str) -> list[dict[str, Any]]:
    """The rows of this model in `folder/answers.jsonl`."""
    lines = (folder / RECORDS_FILE).read_text(encoding="utf-8").splitlines()
    return [row for row in map(json.loads, lines) if row["model"] == model]


def slug(arm: str) -> str:
    """The name of an arm as a folder name."""
    return arm.replace("% ", "-").replace(" ", "-")


def gate_verdict(reward_model: Path) -> str:
    """The gate's verdict on a reward model: pass, warn or fail."""
    return str(json.loads((reward_model / "gate.json").read_text(encoding="utf-8"))["verdict"])


def minutes(folder: Path) -> float:
    """Sum of the minutes of all stages below `folder`."""
    stages = [path.parent for path in folder.rglob("stage.json")]
    folders = [stage for stage in stages if ".old-" not in stage.name]
    records = map(read_stage, folders)
    return sum(sum(record.done.values()) for record in records if record is not None) / 60


def run_parallel(jobs: int, makers: Mapping[str, Callable[[], Path]]) -> dict[str, Path]:
    """The result of each function by name; at most `jobs` of them run at once.

    If one fails, or the process is interrupted, the running stages are stopped and the waiting
    ones do not start.
    """
    with ThreadPoolExecutor(jobs) as pool:
        futures = {name: pool.submit(make) for name, make in makers.items()}
        try:
            return {name: future.result() for name, future in futures.items()}
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            for child in psutil.Process().children():
                child.terminate()  # it writes a checkpoint first; the pool waits for it
            raise


def run_seeds(
    name: str,
    description: str,
    run: Callable[[Path, int, int], Metrics],
    *,
    is_complete: Callable[[Metrics], bool] = bool,
    table: Callable[[Mapping[int, Metrics]], str] | None = None,
) -> None:
    """The command line of a task: run the missing seeds, then print a table over all of them.

    Args:
        name: of the task, and of the folder of its runs.
        description: of the command line.
        run: runs a seed in its folder, with so many parallel stages, and returns its metrics.
        is_complete: whether a seed with these metrics in the file of --results is not run again.
        table: of the metrics by seed; default: `as_table`.
    """
    args = seed_arguments(name, description)
    stop_on_sigterm()
    folder = Path(args.output_dir).resolve()
    results = args.results or folder / RESULTS
    for seed in args.seeds:
        if args.results and is_complete(read_seeds(results).get(seed, {})):
            print(f"seed {seed}: its results are in {results}")
            continue
        make_folder(folder / f"seed-{seed}")
        with locked(folder / f"seed-{seed}"):
            metrics = run(folder / f"seed-{seed}", seed, args.jobs)
        metrics["minutes of one thread"] = minutes(folder / f"seed-{seed}")
        add_seed(results, seed, metrics, threads=1)
    metrics_by_seed = read_seeds(results)
    print((table or as_table)({seed: metrics_by_seed[seed] for seed in args.seeds}))


def seed_arguments(name: str, description: str) -> argparse.Namespace:
    """The options of a task."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument(
        "--output_dir", default=f"runs/toy_tasks/{name}", help="parent of the seed-N folders"
    )
    parser.add_argument("--jobs", type=int, default=2, help="parallel stages, one thread each")
    parser.add_argument(
        "--results",
        type=Path,
        help="file of results: seeds in it are not run, others are added to it "
        f"(default: {RESULTS} in the output folder, and every seed is checked again)",
    )
    return parser.parse_args()


def as_table(metrics_by_seed: Mapping[int, Metrics]) -> str:
    """Markdown: a row for each metric with its mean, its median and range, and every seed's."""
    lines = [
        f"| metric, {len(metrics_by_seed)} seeds | mean [95%] | median | lowest | highest | each |",
        "|---|---:|---:|---:|---:|---|",
    ]
    for name in dict.fromkeys(name for metrics in metrics_by_seed.values() for name in metrics):
        values = [metrics[name] for metrics in metrics_by_seed.values() if name in metrics]
        numbers = [value for value in values if not isinstance(value, str)]
        summary = [interval(mean_of(numbers)) if numbers else ""]
        summary += [f"{f(numbers):.2f}" if numbers else "" for f in (median, min, max)]
        each = " ".join(v if isinstance(v, str) else f"{v:.2f}" for v in values)
        lines.append(f"| {name} | {' | '.join(summary)} | {each} |")
    return "\n".join(lines)
