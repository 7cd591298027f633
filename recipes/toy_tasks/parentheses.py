"""Parentheses: RLHF repairs brackets that half of the demonstrations leave unbalanced.

    python recipes/toy_tasks/parentheses.py --seeds 0 1 2 3 4 5 6 7 8 9

This runs the whole pipeline of recipes/align.py: SFT on demonstrations half of which are wrong,
four responses to each of 2,000 prompts, simulated annotators that rank them, a reward model, PPO,
and evaluation. The held-out prompts are as deep as those in training, or deeper than any of them.
A lookup cannot know the deeper ones.

The lookup baseline of recipes/evaluate.py copies responses from the training files, where half of
the demonstrations are wrong. A lookup among the right demonstrations is reported as well.
"""

import json
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from statistics import mean
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.append(str(ROOT))

from recipes.toy_tasks.brackets.grammar import (  # noqa: E402
    DEEPER,
    DEPTHS,
    SEEN,
    SYMBOLS,
    axes,
    demonstrations,
    depths,
    prompts,
    rows,
)
from recipes.toy_tasks.stage_runs import (  # noqa: E402
    TOY_TASKS,
    Metrics,
    gate_verdict,
    metric_value,
    read_responses,
    run_seeds,
    write_rows,
)
from recipes.toy_tasks.tiny_model import make_model, make_tokenizer  # noqa: E402
from rlhf.evaluation.core.contamination import TrainingPrompt  # noqa: E402
from rlhf.evaluation.core.nearest_prompt import NearestPrompt  # noqa: E402
from rlhf.manifest import write_atomically  # noqa: E402

Row = Mapping[str, str]


def run(folder: Path, seed: int, jobs: int) -> Metrics:
    """Run the pipeline in one world; returns the shares of balanced responses and more."""
    make_model(folder / "base", make_tokenizer(SYMBOLS), seed=seed)
    files: dict[str, Iterable[Row]] = {
        "demonstrations": demonstrations(
            seed, prompts(seed, "demonstrations", SEEN, 2000, held_out=False), each=4
        ),
        "ranking": rows(seed, "ranking", SEEN, 2000, held_out=False),
        "ppo": rows(seed, "ppo", SEEN, 2000, held_out=False),
        "heldout": [
            row
            for kind in (SEEN, DEEPER)
            for row in rows(seed, "held-out", kind, 300, held_out=True)
        ],
    }
    rows_by_file = {name: list(file_rows) for name, file_rows in files.items()}
    paths = {
        name: write_rows(folder / f"{name}.jsonl", file_rows)
        for name, file_rows in rows_by_file.items()
    }
    run_folder = folder / "chain"
    command = [sys.executable, str(ROOT / "recipes" / "align.py")]
    command += ["--config", str(TOY_TASKS / "brackets" / "align.yaml")]
    command += ["--output_dir", str(run_folder)]
    command += ["--model_name_or_path", str(folder / "base"), "--seed", str(seed)]
    command += ["--demonstrations", paths["demonstrations"], "--ppo_prompts", paths["ppo"]]
    command += ["--ranking_prompts", paths["ranking"], "--heldout_prompts", paths["heldout"]]
    status = subprocess.run(command, cwd=ROOT, check=False).returncode
    if status:
        sys.exit(f"recipes/align.py exited with status {status}; see above.")
    write_errors(run_folder / "evaluation", folder / "errors.json")
    heldout, trained = rows_by_file["heldout"], rows_by_file["demonstrations"]
    return chain_metrics(run_folder) | lookup_metrics(heldout, trained)


def chain_metrics(run_folder: Path) -> Metrics:
    """Shares of balanced responses, KL, and metrics of the diversity of the text."""
    evaluation = run_folder / "evaluation"
    metrics: Metrics = {"gate": gate_verdict(run_folder / "reward_model")}
    for model in ("sft", "ppo", "lookup"):
        responses = read_responses(evaluation, model)
        for kind in (SEEN, DEEPER):
            metrics[f"{model}: balanced, {kind}"] = mean(
                row["axes"]["balanced"] for row in responses if prompt_depth(row) in DEPTHS[kind]
            )
    for model in ("sft", "ppo"):
        for metric in ("self_bleu", "length"):
            metrics[f"{model}: {metric}"] = metric_value(evaluation, metric, model)
    content = json.loads((evaluation / "evaluation.json").read_text(encoding="utf-8"))
    share = content["contaminated_prompts"] / content["prompts"]
    return {
        **metrics,
        "prompts flagged as contaminated": share,
        "KL": metric_value(evaluation, "kl", "ppo"),
    }


def lookup_metrics(heldout: Sequence[Row], trained: Sequence[Row]) -> Metrics:
    """Shares of balanced responses when the nearest prompt's right demonstrations are copied."""
    lookup = NearestPrompt(
        [
            TrainingPrompt(prompt=row["prompt"], responses=[row["completion"]])
            for row in trained
            if axes(row["prompt"], row["completion"])["balanced"]
        ]
    )
    metrics: Metrics = {}
    for kind in (SEEN, DEEPER):
        prompts_of_kind = [row["prompt"] for row in heldout if row["category"] == kind]
        metrics[f"lookup among right demonstrations: balanced, {kind}"] = mean(
            axes(prompt, response)["balanced"]
            for prompt in prompts_of_kind
            for response in lookup.find(prompt).responses
        )
    return metrics


def prompt_depth(response: dict[str, Any]) -> int:
    """Number of brackets that are open at the end of the prompt."""
    return depths(response["prompt"].split())[-1]


def write_errors(evaluation: Path, path: Path) -> None:
    """Write the share of unbalanced responses by the prompt's final depth and by its length."""
    shares: dict[str, dict[str, dict[int, float]]] = {}
    for model in ("sft", "ppo"):
        wrong: dict[str, dict[int, list[float]]] = {
            "depth": defaultdict(list),
            "length": defaultdict(list),
        }
        for row in read_responses(evaluation, model):
            error = 1.0 - row["axes"]["balanced"]
            wrong["depth"][prompt_depth(row)].append(error)
            wrong["length"][len(row["prompt"].split())].append(error)
        shares[model] = {
            by: {key: mean(values) for key, values in sorted(groups.items())}
            for by, groups in wrong.items()
        }
    write_atomically(path, json.dumps(shares, indent=1) + "\n")


if __name__ == "__main__":
    run_seeds("parentheses", __doc__, run)
