"""Methods on the labels of the pocket pipeline, over seeds of everything: SFT, labels, training.

    python recipes/pocket/compare_seeds.py --seeds 0 1 2 3 4

Each seed runs the pipeline (as seeds.py does) and then `rlhf compare` with compare.yaml, its SFT
model and its labels. With --results FILE seeds in that file are not run, and others are added to
it. Complete stages are not run again.
"""

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.append(str(ROOT))

from recipes.pocket.seeds import run_chain  # noqa: E402
from recipes.seed_results import Numbers, interval, mean_of  # noqa: E402
from recipes.seed_runs import run_missing, seed_parser  # noqa: E402

ALIGN, COMPARE = "recipes/pocket/align.yaml", "recipes/pocket/compare.yaml"
ESTIMATES = {"win_rate": "win rate", "kl": "KL", "reward": "reward", "score": "gold"}
COSTS = ("responses", "tokens", "seconds")


def run(folder: Path, seed: int) -> dict[str, float]:
    """Run the pipeline and the comparison of one seed; returns its metrics."""
    run_chain(folder / "pipeline", ALIGN, seed, [])
    keys = {
        "model_name_or_path": folder / "pipeline" / "sft",
        "labels": folder / "pipeline" / "labels" / "rankings.jsonl",
        "seeds": seed,
        "seed": seed,
        "output_dir": folder / "compare",
    }
    command = [sys.executable, "-m", "rlhf.cli", "compare", "--config", COMPARE]
    command += [word for key, value in keys.items() for word in (f"--{key}", str(value))]
    status = subprocess.run(command, cwd=ROOT).returncode
    if status:
        sys.exit(f"seed {seed}: rlhf compare exited with status {status}; see above.")
    return metrics_of((folder / "compare" / "compare.json").read_text(encoding="utf-8"))


def metrics_of(text: str) -> dict[str, float]:
    """Estimates and cost of each point of a compare.json with one seed."""
    metrics = {}
    points: Sequence[Mapping[str, Any]] = json.loads(text)["points"]
    for point in points:
        name = f"{point['method']} {point['key']} {point['value']:g}"
        for key, metric in ESTIMATES.items():
            metrics[f"{name}: {metric}"] = float(point[key]["value"])
        for run_of_point in point["runs"]:
            metrics |= {f"{name}: {cost}": float(run_of_point[cost]) for cost in COSTS}
    return metrics


def as_table(seeds: Sequence[Numbers]) -> str:
    """Markdown: means over seeds with 95% intervals, a row for each method and strength."""
    lines = [
        "| method and strength | win rate | KL, nats | gold | sampled |",
        f"|---|{'---:|' * 4}",
    ]
    suffix = ": win rate"
    for name in (metric.removesuffix(suffix) for metric in seeds[0] if metric.endswith(suffix)):
        cells = [
            interval(mean_of([seed[f"{name}: {metric}"] for seed in seeds]), digits)
            for metric, digits in (("win rate", 3), ("KL", 2), ("gold", 2))
        ]
        sampled = f"{name}: responses"
        cells.append(f"{seeds[0][sampled]:,.0f}" if sampled in seeds[0] else "")
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    """Run the missing seeds and print the table."""
    args = seed_parser(__doc__ or "", "runs/pocket-compare-seeds", range(5)).parse_args()
    folder = Path(args.output_dir).resolve()
    print(as_table([*run_missing(args, folder, run, threads=None).values()]))


if __name__ == "__main__":
    main()
