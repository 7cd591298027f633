"""Methods on the same noisy labels against the exact frontier: which share of it do they reach?

    python recipes/toy_tasks/compare.py --seeds 0 1 2 3 4 5 6 7 8 9

The world is that of frontier.py. `rlhf compare` trains PPO, GRPO, DPO and rejection sampling at
several strengths on 2,500 noisy pairs (500 of them held out), and samples best of N. The efficiency
of a point is its gain in gold over the best gain that is possible at its KL. That of best of N is
at the bound of its KL, so it is a lower bound. draw_compare.py draws the result. With
--results FILE worlds in that file are not run, and others are added to it.
"""

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
sys.path.append(str(ROOT))

from recipes.seed_results import numbers_of  # noqa: E402
from recipes.toy_tasks.compare_points import table_of_methods, table_of_points  # noqa: E402
from recipes.toy_tasks.exact.best import (  # noqa: E402
    Reference,
    best_gold,
    efficiency,
    gold_of_reference,
)
from recipes.toy_tasks.exact.reference import reference_of_model  # noqa: E402
from recipes.toy_tasks.markov.chain import chain_of, pairs  # noqa: E402
from recipes.toy_tasks.pipeline import (  # noqa: E402
    DEMONSTRATIONS,
    HELD_OUT,
    PROMPTS,
    WORLD,
    make_sft,
)
from recipes.toy_tasks.stage_runs import (  # noqa: E402
    TOY_TASKS,
    Metrics,
    read_responses,
    run_seeds,
    write_rows,
)
from rlhf.pipeline.commands import as_arguments, run_module  # noqa: E402

CONFIG = TOY_TASKS / "markov" / "compare.yaml"
LABELS = 2500
FRONTIER = (0.1, 0.25, 0.5, 1, 2, 3, 4, 6, 8, 10, 12, 15, 20, 25, 35, 50, 75)  # nats


def run(folder: Path, seed: int, jobs: int) -> Metrics:
    """Compare the methods in one world; returns the efficiency of every point.

    jobs: not used; `rlhf compare` runs one training after the other, so that seconds compare.
    """
    make_sft(folder, seed)
    keys = {
        "model_name_or_path": folder / "sft",
        "labels": write_rows(folder / "labels.jsonl", pairs(seed, LABELS, part=0)),
        "prompts": folder / PROMPTS,
        "heldout_prompts": folder / HELD_OUT,
        "judge": f"{WORLD}:gold",
        "extra_rewards": [f"{WORLD}:complete"],
        "normalization_data": folder / DEMONSTRATIONS,
        "reward_model_config": TOY_TASKS / "markov" / "reward_model.yaml",
        "methods": json.dumps(methods()),
        "seeds": [seed],
        "seed": seed,
        "output_dir": folder / "compare",
    }
    status = run_module("rlhf.recipes.compare", [f"--config={CONFIG}", *as_arguments(keys)])
    if status:
        sys.exit(f"the comparison in {folder} ended with status {status}; see above.")
    rows = read_responses(folder / "compare" / "sft" / "evaluation", "sft")
    reference, _ = reference_of_model(
        folder / "sft",
        chain_of(seed),
        [row["prompt"] for row in rows],
        [row["text"] for row in rows],
    )
    content = json.loads((folder / "compare" / "compare.json").read_text(encoding="utf-8"))
    return point_metrics(content, reference)


def methods() -> Any:
    """The methods of the YAML file, with absolute paths of their files."""
    content = yaml.safe_load(CONFIG.read_text(encoding="utf-8"))["methods"]
    for method in content.values():
        if "config" in method:
            method["config"] = str(ROOT / method["config"])
    return content


def point_metrics(content: Any, reference: Reference) -> Metrics:
    """Efficiency, KL, gold, gain and cost of every point, and the frontier."""
    start = gold_of_reference(reference)
    metrics: Metrics = {
        f"frontier {kl:g}: gain": best_gold(reference, kl) - start for kl in FRONTIER
    }
    for point in content["points"]:
        name = f"{point['method']} {point['key']} {point['value']:g}"
        gold, kl = point["score"]["value"], point["kl"]["value"]
        metrics |= {
            f"{name}: efficiency": efficiency(reference, gold, kl),
            f"{name}: KL": kl,
            f"{name}: gold": gold,
            f"{name}: gain": gold - start,
            f"{name}: win rate": point["win_rate"]["value"],
        }
        for run_of_point in point["runs"]:
            for cost in ("responses", "tokens", "seconds"):
                metrics[f"{name}: {cost}"] = run_of_point[cost]
    return metrics


def tables(worlds: Mapping[int, Metrics]) -> str:
    """Markdown: the points, and the methods at the same KL."""
    numbers = [numbers_of(metrics) for metrics in worlds.values()]
    return f"{table_of_points(numbers)}\n\n{table_of_methods(numbers)}"


if __name__ == "__main__":
    run_seeds("compare", __doc__, run, table=tables)
