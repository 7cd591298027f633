"""The picture of docs/research/toy-tasks.md, from the run folders that the worlds left.

    python recipes/toy_tasks/draw.py runs/toy_tasks --output docs/images/toy-tasks.png

Needs matplotlib (`pip install -e '.[eval]'`).
"""

import argparse
import json
from pathlib import Path
from statistics import mean
from typing import Any

WAYS = {"glance": "sum\nalone", "steps": "every\nsum", "both": "either", "ppo": "PPO from\neither"}
ARMS = ("0% flipped", "25% flipped", "200 labels", "50% flipped", "100% flipped")


def load(path: Path) -> Any:
    """What the file holds."""
    return json.loads(path.read_text(encoding="utf-8"))


def frontier(axes: Any, folder: Path) -> None:
    """Gold that was gained over gold that could have been, at the same KL."""
    for seed, found in load(folder / "frontier" / "figures.json").items():
        start = found["gold of the reference, exact"]
        for index, coef in enumerate(("0.1", "0.3", "1.0")):
            best = found[f"kl_coef {coef}: best gold at that KL"] - start
            gained = found[f"kl_coef {coef}: gold"] - start
            label = f"kl_coef {coef}" if seed == "0" else None
            axes.plot(best, gained, "o", color=f"C{index}", label=label)
    highest = axes.get_xlim()[1]
    axes.plot([0, highest], [0, highest], color="grey", linewidth=1)
    axes.set(title="exact frontier", xlabel="best gain at that KL", ylabel="gain in gold")
    axes.legend()


def dose(axes: Any, folder: Path) -> None:
    """Win rates of every arm."""
    seeds = load(folder / "dose" / "figures.json").values()
    for index, arm in enumerate(ARMS):
        wins = [found[f"{arm}: win rate"] for found in seeds]
        axes.plot([index] * len(wins), wins, "o", color="C0")
    axes.axhline(0.5, color="grey", linewidth=1)
    axes.set(title="dose and controls", ylabel="win rate against SFT", ylim=(0, 1))
    axes.set_xticks(range(len(ARMS)), [arm.replace(" ", "\n") for arm in ARMS])


def over_optimization(axes: Any, folder: Path) -> None:
    """Proxy and gold of every checkpoint over its distance from the SFT model."""
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
    """Share of unbalanced answers by how many brackets the prompt leaves open."""
    _unbalanced(axes, folder, "depth")
    axes.axvspan(6.5, 9.5, color="grey", alpha=0.15)
    axes.set(title="parentheses (grey: no prompt seen so deep)", xlabel="open brackets")


def brackets_by_length(axes: Any, folder: Path) -> None:
    """Share of unbalanced answers by the prompt's length."""
    _unbalanced(axes, folder, "length")
    axes.set(title="parentheses, by length", xlabel="symbols of the prompt")


def _unbalanced(axes: Any, folder: Path, by: str) -> None:
    """The mean over the seeds that have such prompts."""
    found = [load(path) for path in sorted(folder.glob("parentheses/seed-*/errors.json"))]
    for index, model in enumerate(("sft", "ppo")):
        groups = [seed[model][by] for seed in found]
        keys = sorted({int(key) for group in groups for key in group})
        shares = [mean(g[str(key)] for g in groups if str(key) in g) for key in keys]
        axes.plot(keys, shares, "o-", color=f"C{index}", label=model)
    axes.set(ylabel="unbalanced answers", ylim=(0, 1))
    axes.legend()


def steps(axes: Any, folder: Path) -> None:
    """How often the sum is right, by what was shown, and after PPO."""
    seeds = load(folder / "steps" / "figures.json").values()
    for index, way in enumerate(WAYS):
        axes.plot([index] * len(seeds), [found[f"{way}: right"] for found in seeds], "o")
    axes.axhline(0.1, color="grey", linewidth=1)
    axes.set(title="step by step (grey: chance)", ylabel="right", ylim=(0, 1.05))
    axes.set_xticks(range(len(WAYS)), WAYS.values())


def main() -> None:
    """Six panels."""
    import matplotlib.pyplot as plt

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, help="holds a folder of each world")
    parser.add_argument("--output", type=Path, required=True)
    given = parser.parse_args()
    figure, panels = plt.subplots(2, 3, figsize=(13, 7), layout="constrained")
    panes = (frontier, dose, over_optimization, brackets_by_depth, brackets_by_length, steps)
    for axes, draw in zip(panels.flat, panes, strict=True):
        draw(axes, given.folder)
    figure.savefig(given.output)


if __name__ == "__main__":
    main()
