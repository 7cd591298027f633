"""What the worlds share: recipes as stages that are skipped when done, seeds, figures, tables."""

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

from rlhf.evaluation.core.records import RECORDS_FILE  # noqa: E402
from rlhf.evaluation.core.results import find, read_results  # noqa: E402
from rlhf.manifest import write_atomically  # noqa: E402
from rlhf.pipeline.commands import stop_on_sigterm  # noqa: E402
from rlhf.pipeline.recipe_stage import RecipeStage, recipe_stage  # noqa: E402
from rlhf.pipeline.runner import read_stage, run_stage  # noqa: E402
from rlhf.runtime.distributed import print_once  # noqa: E402
from rlhf.runtime.run_folder import make_folder  # noqa: E402
from rlhf.runtime.run_lock import locked  # noqa: E402

Figures = dict[str, float | str]
PROOFS = Path(__file__).resolve().parent


def run_recipe(folder: Path, recipe: str, config: str, **keys: Any) -> Path:
    """Bring `recipes/RECIPE.py` to its end in `folder` and return that; nothing where it is done.

    config: a YAML file, counted from recipes/toy_tasks/.
    """
    what = RecipeStage(
        name=str(Path(*folder.parts[-2:])),
        folder=folder,
        recipe=recipe,
        config=str(PROOFS / config),
        keys=keys,
        num_processes=1,
        makes=("evaluation.json" if recipe == "evaluate" else "manifest.json",),
        per_device=recipe in ("sft", "reward_model"),
    )
    run_stage(recipe_stage(what), print_once)
    return folder


def write_rows(path: Path, rows: Iterable[Mapping[str, Any]]) -> str:
    """Write a JSON line a row; the path as the keys of recipes want it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, "".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def figure(folder: Path, metric: str, model: str, **where: Any) -> float:
    """One figure of the evaluation in `folder`."""
    found = find(read_results(folder), metric, model, **where)
    if found is None:
        sys.exit(f"{folder} has no {metric} of {model} {where}; was the seed cut short?")
    return found.value


def answers_of(folder: Path, model: str) -> list[dict[str, Any]]:
    """The rows of `folder/answers.jsonl` that are this model's."""
    lines = (folder / RECORDS_FILE).read_text(encoding="utf-8").splitlines()
    return [row for row in map(json.loads, lines) if row["model"] == model]


def slug(arm: str) -> str:
    """The name of an arm as a folder has it."""
    return arm.replace("% ", "-").replace(" ", "-")


def verdict(reward_model: Path) -> str:
    """What the gate says of a reward model: pass, warn or fail."""
    return str(json.loads((reward_model / "gate.json").read_text(encoding="utf-8"))["verdict"])


def minutes(folder: Path) -> float:
    """What the stages below `folder` took together, one after the other."""
    kept = [path.parent for path in folder.rglob("stage.json") if ".old-" not in path.parent.name]
    records = map(read_stage, kept)
    return sum(sum(record.done.values()) for record in records if record is not None) / 60


def side_by_side(jobs: int, makers: Mapping[str, Callable[[], Path]]) -> dict[str, Path]:
    """What each makes, by name; at most `jobs` of them at work at once.

    What interrupts one, or this, ends the stages that are at work; those that wait do not begin.
    """
    with ThreadPoolExecutor(jobs) as pool:
        found = {name: pool.submit(make) for name, make in makers.items()}
        try:
            return {name: future.result() for name, future in found.items()}
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            for child in psutil.Process().children():
                child.terminate()  # writes a checkpoint first; the pool waits for it
            raise


def run_seeds(name: str, description: str, run: Callable[[Path, int, int], Figures]) -> None:
    """The command line of a world: what is missing is run, then the table over seeds.

    Leaves figures.json beside the seeds' folders: every figure of every seed.
    """
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument(
        "--output_dir", default=f"runs/toy_tasks/{name}", help="seed-N folders go here"
    )
    parser.add_argument("--jobs", type=int, default=2, help="stages at once, on a thread each")
    given = parser.parse_args()
    stop_on_sigterm()
    folder = Path(given.output_dir).resolve()
    found = {}
    for seed in given.seeds:
        make_folder(folder / f"seed-{seed}")
        with locked(folder / f"seed-{seed}"):
            figures = run(folder / f"seed-{seed}", seed, given.jobs)
        found[seed] = figures | {"minutes of one thread": minutes(folder / f"seed-{seed}")}
    write_atomically(folder / "figures.json", json.dumps(found, indent=1) + "\n")
    print(as_table(found))


def as_table(found: Mapping[int, Figures]) -> str:
    """Markdown: a row a figure; the median, lowest and highest over seeds, and each seed."""
    lines = [
        f"| figure, {len(found)} seeds | median | lowest | highest | each |",
        "|---|---:|---:|---:|---|",
    ]
    for name in next(iter(found.values())):
        values = [figures[name] for figures in found.values()]
        numbers = [value for value in values if not isinstance(value, str)]
        summary = [f"{f(numbers):.2f}" if numbers else "" for f in (median, min, max)]
        each = " ".join(str(v) if isinstance(v, str) else f"{v:.2f}" for v in values)
        lines.append(f"| {name} | {' | '.join(summary)} | {each} |")
    return "\n".join(lines)
