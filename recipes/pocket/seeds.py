"""Run the whole pipeline once per seed, and print the metrics side by side.

    python recipes/pocket/seeds.py --seeds 0 1 2 3 4
    python recipes/pocket/seeds.py --seeds 0 --output_dir runs/random -- \\
        --annotators recipes/pocket/annotators-random.yaml --skip_gate true

Arguments after `--` are passed to recipes/align.py. Finished seeds are not run again: a second call
prints their tables. Minutes are those of the call that finished the pipeline, so they cover all of
it unless it was interrupted. Memory is the highest total of its processes (resident; shared pages
count for each process).
"""

import argparse
import json
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import mean

import psutil

ROOT = Path(__file__).resolve().parents[2]
sys.path.append(str(ROOT))

from recipes.pocket.gold import score  # noqa: E402
from recipes.pocket.world.prompts import HELD_OUT_COUNTS  # noqa: E402
from rlhf.evaluation.core.results import Result, find, read_results  # noqa: E402

COST, HELD_OUT = "cost.json", "rankings_heldout.jsonl"
WINS = {"gold": "win rate against SFT, gold", "reward_model": "win rate against SFT, proxy"}
BEFORE_AND_AFTER: dict[str, tuple[str, dict[str, str]]] = {
    "right": ("axis", {"axis": "correct"}),
    "right, grounded": ("axis", {"axis": "correct", "subset": "grounded"}),
    "right, unknown": ("axis", {"axis": "correct", "subset": "unknown"}),
    "right, format": ("axis", {"axis": "correct", "subset": "format"}),
    "right, closed-book facts": ("axis", {"axis": "correct", "subset": "fact"}),
    "declined": ("axis", {"axis": "declined"}),
    "over-declined": ("axis", {"axis": "over_declined"}),
    "courtesy": ("axis", {"axis": "courtesy"}),
    "brief": ("axis", {"axis": "brief"}),
    "finished": ("axis", {"axis": "finished"}),
    "tokens": ("length", {}),
    "distinct-2": ("distinct_2", {}),
}

AXES = {"correct": "right", "courtesy": "courtesy", "brief": "brief"}


def peak_memory(process: psutil.Process, stop: threading.Event) -> float:
    """Peak memory of the process and its descendants in GiB, sampled twice a second."""
    peak = 0
    while not stop.wait(0.5):
        total = 0
        try:
            for member in [process, *process.children(recursive=True)]:
                total += member.memory_info().rss
        except psutil.NoSuchProcess:
            continue
        peak = max(peak, total)
    return peak / 2**30


def run_chain(folder: Path, config: str, seed: int, keys: Sequence[str]) -> None:
    """Run align.py in `folder` unless it is finished, and write its cost to cost.json."""
    if (folder / COST).exists():
        cost = json.loads((folder / COST).read_text(encoding="utf-8"))
        if cost["arguments"] != [config, *keys]:
            sys.exit(f"{folder} has a run with {cost['arguments']}; choose another --output_dir.")
        return
    if folder.exists():
        print(f"resuming {folder}: its minutes will cover only the remaining stages")
    command = [sys.executable, "-m", "rlhf.cli", "launch", "recipes/align.py", "--config", config]
    command += ["--seed", str(seed), "--output_dir", str(folder), *keys]
    started, stop, peaks = time.monotonic(), threading.Event(), []
    with subprocess.Popen(command, cwd=ROOT) as process:
        root = psutil.Process(process.pid)
        watch = threading.Thread(target=lambda: peaks.append(peak_memory(root, stop)))
        watch.start()
        status = process.wait()
        stop.set()
        watch.join()
    if status:
        sys.exit(f"seed {seed}: recipes/align.py exited with status {status}; see above.")
    minutes = (time.monotonic() - started) / 60
    cost = {"minutes": minutes, "memory_gib": peaks[0], "arguments": [config, *keys]}
    (folder / COST).write_text(json.dumps(cost), encoding="utf-8")


def gold_accuracy(rankings: Path) -> float:
    """How often the gold score agrees with the held-out labels, which is their noise ceiling.

    Over all pairs that the annotator did not tie; equal gold scores count half.
    """
    agreements = []
    for line in rankings.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        points = score([row["prompt"]] * len(row["ranks"]), row["responses"])
        ranked = list(zip(row["ranks"], points, strict=True))
        agreements += [
            (better > worse) + (better == worse) / 2
            for rank, better in ranked
            for other_rank, worse in ranked
            if rank < other_rank
        ]
    return mean(agreements)


def reward_accuracy(folder: Path) -> float:
    """The reward model's accuracy on the held-out labels at the end of its training."""
    lines = (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [row for row in map(json.loads, lines) if "eval_accuracy" in row]
    return float(rows[-1]["eval_accuracy"])


def metric_value(results: Sequence[Result], metric: str, model: str, **where: str) -> float:
    """One metric of the evaluation; exits if it has none."""
    result = find(results, metric, model, **where)
    if result is None:
        sys.exit(f"the evaluation has no {metric} of {model} {where}; was the seed interrupted?")
    return result.value


def seed_metrics(folder: Path) -> dict[str, tuple[float, ...]]:
    """Metrics of one seed of the demo: one number each, or one for SFT and one for PPO."""
    results = read_results(folder / "evaluation")
    win_rates = {
        judge: metric_value(results, "win_rate", "ppo", baseline="sft", judge=judge)
        for judge in WINS
    }
    before_and_after = {
        name: tuple(metric_value(results, metric, model, **where) for model in ("sft", "ppo"))
        for name, (metric, where) in BEFORE_AND_AFTER.items()
    }
    return {
        **{label: (win_rates[judge],) for judge, label in WINS.items()},
        **before_and_after,
        "KL from SFT, nats per response": (metric_value(results, "kl", "ppo"),),
        "reward model, accuracy": (reward_accuracy(folder / "reward_model"),),
        "the labels' noise ceiling": (gold_accuracy(folder / "labels" / HELD_OUT),),
    }


def cost_metrics(folder: Path) -> dict[str, tuple[float, ...]]:
    """Minutes and memory of a finished pipeline."""
    cost = json.loads((folder / COST).read_text(encoding="utf-8"))
    return {"minutes": (cost["minutes"],), "memory, GiB": (cost["memory_gib"],)}


def as_table(columns: dict[int, dict[str, tuple[float, ...]]]) -> str:
    """Markdown: one row per metric, one column per seed, and the mean."""
    names = [f"seed {seed}" for seed in columns] + ["mean"]
    lines = ["| metric | " + " | ".join(names) + " |", "|---|" + "---:|" * len(names)]
    for name in next(iter(columns.values())):
        values = [row[name] for row in columns.values()]
        values.append(tuple(map(mean, zip(*values, strict=True))))
        cells = [" → ".join(f"{number:.2f}" for number in cell) for cell in values]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def by_category(runs: Sequence[Sequence[Result]]) -> str:
    """Markdown: one row per category of held-out prompts; means of SFT and PPO over the runs."""
    lines = [
        "| category | " + " | ".join(AXES.values()) + " | win rate |",
        "|---|" + "---:|" * (len(AXES) + 1),
    ]
    for category in HELD_OUT_COUNTS:
        cells = []
        for axis in AXES:
            where = {"axis": axis, "subset": category}
            before, after = (
                mean(metric_value(run, "axis", model, **where) for run in runs)
                for model in ("sft", "ppo")
            )
            cells.append(f"{before:.2f} → {after:.2f}")
        win_rate = mean(
            metric_value(run, "win_rate", "ppo", baseline="sft", judge="gold", subset=category)
            for run in runs
        )
        lines.append(f"| {category} | " + " | ".join(cells) + f" | {win_rate:.2f} |")
    return "\n".join(lines)


def main() -> None:
    """Run the missing seeds and print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--config", default="recipes/pocket/align.yaml")
    parser.add_argument("--output_dir", default="runs/seeds", help="parent of the seed-N folders")
    parser.add_argument("keys", nargs="*", help="keys of recipes/align.py, after --")
    args = parser.parse_args()
    folders = {seed: Path(args.output_dir).resolve() / f"seed-{seed}" for seed in args.seeds}
    for seed, folder in folders.items():
        run_chain(folder, args.config, seed, args.keys)
    columns = {seed: seed_metrics(path) | cost_metrics(path) for seed, path in folders.items()}
    print(as_table(columns))
    print("\n" + by_category([read_results(folder / "evaluation") for folder in folders.values()]))


if __name__ == "__main__":
    main()
