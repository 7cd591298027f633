"""Rollouts one iteration ahead: does a policy learn as much from each sample, and in less time?

    python recipes/pocket/lag.py --seeds 0 1 2 3 4

GRPO from the SFT model, rewarded by the gold scorer, with `rollout_lag` 0 and 1; one thread for
training and one for sampling. Both runs of a seed have the same prompts, and the score is that of
408 held-out prompts. With --results FILE seeds in that file are not run, and others are added.
"""

import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from statistics import median

import torch
import yaml

ROOT = Path(__file__).resolve().parents[2]
sys.path.append(str(ROOT))

from recipes.seed_results import Metrics, Numbers, interval, mean_of  # noqa: E402
from recipes.seed_runs import run_missing, seed_parser  # noqa: E402
from rlhf import PPOConfig, PPOTrainer  # noqa: E402

POCKET = ROOT / "recipes" / "pocket"
PROMPTS, HELD_OUT = (ROOT / "data/pocket" / f"prompts_{name}.jsonl" for name in ("ppo", "heldout"))
OF_THE_CRITIC = ("value_learning_rate", "critic_warmup_steps")
EVALUATED = (20, 40)  # iterations
# Over ppo.yaml, and not tuned.
KEYS = {
    "advantage": "grpo",
    "num_generations": 4,
    "kl_coef": 0.05,
    "max_steps": EVALUATED[-1],
    "eval_steps": EVALUATED[0],
    "num_eval_prompts": 408,
}
LAGS = (0, 1)
PHASES = ("seconds_rollout", "seconds_score", "seconds_update")


def make_sft(folder: Path) -> Path:
    """The SFT model of the pocket pipeline, trained unless it is there."""
    if not (folder / "manifest.json").exists():
        command = [sys.executable, "-m", "rlhf.cli", "sft", "--config", str(POCKET / "sft.yaml")]
        command += ["--output_dir", str(folder), "--overwrite", "true"]
        subprocess.run(command, cwd=ROOT, check=True)
    return folder


def run(folder: Path, sft: Path, seed: int) -> Metrics:
    """Train with both lags; returns held-out score and KL, and seconds of an iteration."""
    metrics: Metrics = {}
    for lag in LAGS:
        trainer = PPOTrainer(
            str(sft),
            str(PROMPTS),
            f"{POCKET / 'gold.py'}:score",
            config=config_of(lag),
            eval_prompts=str(HELD_OUT),
            output_dir=folder / f"lag-{lag}",
            seed=seed,
            overwrite=True,
        )
        trainer.train()
        lines = {line["step"]: line for line in trainer.metrics}
        for step in EVALUATED:
            metrics[f"lag {lag}: gold after {step}"] = number(lines[step], "eval_score")
        metrics[f"lag {lag}: KL"] = number(lines[EVALUATED[-1]], "eval_kl")
        metrics[f"lag {lag}: seconds"] = median(
            sum(number(line, phase) for phase in PHASES) for step, line in lines.items() if step
        )
    return metrics


def number(line: Mapping[str, float | None], name: str) -> float:
    """A metric of a line, which is finite."""
    value = line[name]
    assert value is not None, name
    return value


def config_of(lag: int) -> PPOConfig:
    """The keys of ppo.yaml, without those of the critic, and KEYS."""
    content = yaml.safe_load((POCKET / "ppo.yaml").read_text(encoding="utf-8"))
    known = {field.name for field in fields(PPOConfig)}.difference(OF_THE_CRITIC)
    keys = {key: value for key, value in content.items() if key in known}
    return PPOConfig(**{**keys, **KEYS, "rollout_lag": lag})


def as_table(seeds: list[Numbers]) -> str:
    """Markdown: means over seeds, and the mean differences of lag 1, with 95% intervals."""
    lines = ["| | lag 0 | lag 1 | difference |", "|---|---:|---:|---:|"]
    for name in (metric.removeprefix("lag 0: ") for metric in seeds[0] if metric[:5] == "lag 0"):
        values = [[seed[f"lag {lag}: {name}"] for seed in seeds] for lag in LAGS]
        differences = [one - zero for zero, one in zip(*values, strict=True)]
        cells = [interval(mean_of(each)) for each in (*values, differences)]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def run_seed(folder: Path, seed: int) -> Metrics:
    """`run` on one thread, from an SFT model that all seeds share."""
    sft = make_sft(folder.parent / "sft")
    os.environ["OMP_NUM_THREADS"] = "1"  # without it a trainer takes all cores
    torch.set_num_threads(1)
    return run(folder, sft, seed)


def main() -> None:
    """Run the missing seeds and print the table."""
    args = seed_parser(__doc__ or "", "runs/pocket-lag", range(5)).parse_args()
    folder = Path(args.output_dir).resolve()
    print(as_table([*run_missing(args, folder, run_seed, threads=1).values()]))


if __name__ == "__main__":
    main()
