"""Parentheses: brackets that half of the demonstrations leave unbalanced, and what RLHF mends.

    python recipes/toy_tasks/parentheses.py --seeds 0 1 2 3 4 5 6 7 8 9

The whole chain of recipes/align.py: SFT on demonstrations half of which are wrong, four answers to
each of 2,000 prompts, simulated people who rank them, a reward model, PPO, evaluation; on prompts
as deep as those of training and on deeper ones than any there, where a lookup has nothing.

The lookup of recipes/evaluate.py copies what the training files hold up as good, and half of the
demonstrations are wrong; what a lookup among the right ones comes to stands beside it.
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
    PROOFS,
    Figures,
    answers_of,
    figure,
    run_seeds,
    verdict,
    write_rows,
)
from recipes.toy_tasks.tiny_model import make_model  # noqa: E402
from rlhf.evaluation.core.contamination import TrainingPrompt  # noqa: E402
from rlhf.evaluation.core.nearest_prompt import NearestPrompt  # noqa: E402
from rlhf.manifest import write_atomically  # noqa: E402

Row = Mapping[str, str]


def run(folder: Path, seed: int, jobs: int) -> Figures:
    """The chain in one world; how often its answers are balanced."""
    make_model(folder / "base", SYMBOLS, seed=seed)
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
    held = {name: list(of) for name, of in files.items()}
    given = {name: write_rows(folder / f"{name}.jsonl", of) for name, of in held.items()}
    chain = folder / "chain"
    command = [sys.executable, str(ROOT / "recipes" / "align.py")]
    command += ["--config", str(PROOFS / "brackets" / "align.yaml"), "--output_dir", str(chain)]
    command += ["--model_name_or_path", str(folder / "base"), "--seed", str(seed)]
    command += ["--demonstrations", given["demonstrations"], "--ppo_prompts", given["ppo"]]
    command += ["--ranking_prompts", given["ranking"], "--heldout_prompts", given["heldout"]]
    status = subprocess.run(command, cwd=ROOT, check=False).returncode
    if status:
        sys.exit(f"recipes/align.py ended with status {status}; see above.")
    write_errors(chain / "evaluation", folder / "errors.json")
    return figures(chain) | copied(held["heldout"], held["demonstrations"])


def figures(chain: Path) -> Figures:
    """Shares of balanced answers, and whether the text is still alive."""
    evaluation = chain / "evaluation"
    found: Figures = {"gate": verdict(chain / "reward_model")}
    for model in ("sft", "ppo", "lookup"):
        answers = answers_of(evaluation, model)
        for kind in (SEEN, DEEPER):
            found[f"{model}: balanced, {kind}"] = mean(
                row["axes"]["balanced"] for row in answers if depth_of(row) in DEPTHS[kind]
            )
    for model in ("sft", "ppo"):
        for metric in ("self_bleu", "length"):
            found[f"{model}: {metric}"] = figure(evaluation, metric, model)
    content = json.loads((evaluation / "evaluation.json").read_text(encoding="utf-8"))
    share = content["contaminated_prompts"] / content["prompts"]
    return {
        **found,
        "prompts flagged as contaminated": share,
        "KL": figure(evaluation, "kl", "ppo"),
    }


def copied(heldout: Sequence[Row], shown: Sequence[Row]) -> Figures:
    """Shares of balanced answers where the nearest prompt's right demonstrations are copied."""
    right = NearestPrompt(
        [
            TrainingPrompt(prompt=row["prompt"], responses=[row["completion"]])
            for row in shown
            if axes(row["prompt"], row["completion"])["balanced"]
        ]
    )
    found: Figures = {}
    for kind in (SEEN, DEEPER):
        asked = [row["prompt"] for row in heldout if row["category"] == kind]
        found[f"lookup among right demonstrations: balanced, {kind}"] = mean(
            axes(prompt, answer)["balanced"]
            for prompt in asked
            for answer in right.find(prompt).responses
        )
    return found


def depth_of(answer: dict[str, Any]) -> int:
    """How many brackets are open at the end of its prompt."""
    return depths(answer["prompt"].split())[-1]


def write_errors(evaluation: Path, path: Path) -> None:
    """Share of unbalanced answers by the depth at the prompt's end, and by the prompt's length."""
    found: dict[str, dict[str, dict[int, float]]] = {}
    for model in ("sft", "ppo"):
        wrong: dict[str, dict[int, list[float]]] = {
            "depth": defaultdict(list),
            "length": defaultdict(list),
        }
        for row in answers_of(evaluation, model):
            error = 1.0 - row["axes"]["balanced"]
            wrong["depth"][depth_of(row)].append(error)
            wrong["length"][len(row["prompt"].split())].append(error)
        found[model] = {
            by: {key: mean(values) for key, values in sorted(groups.items())}
            for by, groups in wrong.items()
        }
    write_atomically(path, json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    run_seeds("parentheses", __doc__, run)
