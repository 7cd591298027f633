"""Draw the figure of docs/research/toy-tasks.md from the run folders of the toy tasks.

    python recipes/toy_tasks/draw.py runs/toy_tasks --output docs/images/toy-tasks.png

Needs matplotlib (`pip install 'rlhf[eval]'`).
"""

import argparse
import json
import sys
from pathlib import Path
from statistics import mean
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.append(str(ROOT))

from recipes.seed_results import read_numbers  # noqa: E402

TICKS = {"glance": "sum\nalone", "steps": "every\nsum", "both": "either", "ppo": "PPO from\neither"}
ARMS = ("0% flipped", "25% flipped", "200 labels", "50% flipped", "100% flipped")


def load(path: Path) -> Any:
    """The content of a JSON file."""
    return json.loads(path.read_text(encoding="utf-8"))


def frontier(axes: Any, folder: Path) -> None:
    """Plot the gain in gold score over the best possible gain at the same KL."""
    for seed, metrics in read_numbers(folder / "frontier" / "results.jsonl").items():
        start = metrics["gold of the reference, exact"]
        for index, coef in enumerate(("0.1", "0.3", "1.0")):
            best = metrics[f"kl_coef {coef}: best gold at that KL"] - start
            gained = metrics[f"kl_coef {coef}: gold"] - start
            label = f"kl_coef {coef}" if seed == 0 else None
            axes.plot(best, gained, "o", color=f"C{index}", label=label)
    highest = axes.get_xlim()[1]
    axes.plot([0, highest], [0, highest], color="grey", linewidth=1)
    axes.set(title="exact frontier", xlabel="best gain at that KL", ylabel="gain in gold")
    axes.legend()


def dose(axes: Any, folder: Path) -> None:
    """Plot the win rates of every arm."""
    seeds = read_numbers(folder / "dose" / "results.jsonl").values()
    for index, arm in enumerate(ARMS):
        wins = [metrics[f"{arm}: win rate"] for metrics in seeds]
        axes.plot([index] * len(wins), wins, "o", color="C0")
    axes.axhline(0.5, color="grey", linewidth=1)
    axes.set(title="dose and controls", ylabel="win rate against SFT", ylim=(0, 1))
    axes.set_xticks(range(len(ARMS)), [arm.replace(" ", "\n") for arm in ARMS])


def over_optimization(axes: Any, folder: Path) -> None:
    """Plot proxy and gold score of every checkpoint over its distance from the SFT model."""
    for path in sorted(folder.glob("over_optimization/seed-*/frontier/evaluation.json")):
        points = load(path)["frontier"]["points"]
        distances = [max(0.0, point["kl"]["value"]) ** 0.5 for point in points]
        for index, (judge, name) in enumerate({"proxy": "reward", "held_out": "gold"}.items()):
            values = [point[judge]["value"] for point in points]
            label = name if path.parts[-3] == "seed-0" else None
            axes.plot(distances, values, color=f"C{index}", linewidth=1, label=label)
    axes.set(title="over-optimisation", xlabel="√KL", ylabel="reward, gold")
    axes.legend()


def brackets_by_depth(axes: Any, folder: Path) -> None:
    """Plot the share of unbalanced responses by the number of brackets the prompt leaves open."""
    _unbalanced(axes, folder, "depth")
    axes.axvspan(6.5, 9.5, color="grey", alpha=0.15)
    axes.set(title="parentheses (grey: deeper than in training)", xlabel="open brackets")


def brackets_by_length(axes: Any, folder: Path) -> None:
    """Plot the share of unbalanced responses by the prompt's length."""
    _unbalanced(axes, folder, "length")
    axes.set(title="parentheses, by length", xlabel="symbols in the prompt")


def _unbalanced(axes: Any, folder: Path, by: str) -> None:
    """Plot the mean over the seeds that have such prompts."""
    seeds = [load(path) for path in sorted(folder.glob("parentheses/seed-*/errors.json"))]
    for index, model in enumerate(("sft", "ppo")):
        groups = [seed[model][by] for seed in seeds]
        keys = sorted({int(key) for group in groups for key in group})
        shares = [mean(g[str(key)] for g in groups if str(key) in g) for key in keys]
        axes.plot(keys, shares, "o-", color=f"C{index}", label=model)
    axes.set(ylabel="unbalanced responses", ylim=(0, 1))
    axes.legend()


def steps(axes: Any, folder: Path) -> None:
    """Plot how often the sum is right, for each kind of demonstrations and after PPO."""
    seeds = read_numbers(folder / "steps" / "results.jsonl").values()
    for index, model in enumerate(TICKS):
        axes.plot([index] * len(seeds), [metrics[f"{model}: right"] for metrics in seeds], "o")
    axes.axhline(0.1, color="grey", linewidth=1)
    axes.set(title="step by step (grey: chance)", ylabel="right", ylim=(0, 1.05))
    axes.set_xticks(range(len(TICKS)), TICKS.values())


def main() -> None:
    """Draw the six panels into one file."""
    import matplotlib.pyplot as plt

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, help="folder with the runs of every task")
    parser.add_argument("--output", type=Path, required=True)
    args = parser.parse_args()
    figure, panels = plt.subplots(2, 3, figsize=(13, 7), layout="constrained")
    drawings = (frontier, dose, over_optimization, brackets_by_depth, brackets_by_length, steps)
    for axes, draw in zip(panels.flat, drawings, strict=True):
        draw(axes, args.folder)
    figure.savefig(args.output)


if __name__ == "__main__":
    main()
