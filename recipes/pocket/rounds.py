"""Two experiments on rounds of the pipeline, over seeds.

    python recipes/pocket/rounds.py drift --seeds 0 1 2
    python recipes/pocket/rounds.py fresh --seeds 0 1 2

drift: from round 2 on, the annotators want shorter responses (taste.py). Does round 2 follow them,
and where does round 1 end up?

fresh: the same number of labels, all at once on responses of the SFT model, or in three rounds,
each on responses of the newest policy. PPO has a small KL penalty, so that it exploits its reward
model. Is the gap between the proxy's win rate and gold's smaller with fresh labels?

Keys of `rlhf align` may follow after `--`. Complete stages are not run again. With --results FILE
seeds in that file are not run, and others are added to it.
"""

import argparse
import json
import random
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.append(str(ROOT))

from recipes.pocket.gold import score  # noqa: E402
from recipes.pocket.taste import shorter  # noqa: E402
from recipes.seed_results import Metrics, Numbers, interval, mean_of  # noqa: E402
from recipes.seed_runs import run_missing, seed_parser  # noqa: E402
from rlhf.evaluation.core.results import find, read_results  # noqa: E402

CONFIG = "recipes/pocket/align.yaml"
PROMPTS = ROOT / "data" / "pocket" / "prompts_ranking.jsonl"
ROUNDS = 3  # of the experiment `fresh`
MODELS = ("sft", "round-1", "round-2")

Table = Mapping[str, Sequence[float]]  # row -> a value per column


def align(folder: Path, seed: int, keys: Sequence[str]) -> None:
    """Run the pipeline in `folder`; complete stages are skipped."""
    command = [sys.executable, "-m", "rlhf.cli", "align", "--config", CONFIG]
    command += ["--seed", str(seed), "--output_dir", str(folder), *keys]
    status = subprocess.run(command, cwd=ROOT).returncode
    if status:
        sys.exit(f"{folder}: rlhf align exited with status {status}; see above.")


def drift(folder: Path, seed: int, keys: Sequence[str], per_round: int) -> Table:
    """Points of SFT and both rounds by the first and by the second taste, and words."""
    changed = ["--rounds", "2", "--round_patience", "0", "--round_decay", "0.3"]
    changed += ["--prompts_per_round", str(per_round)]
    changed += ["--round_keys", "2.gold=recipes/pocket/taste.py:shorter"]
    align(folder, seed, [*changed, *keys])
    path = folder / "round-2" / "evaluation" / "answers.jsonl"
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line]
    return taste_table(rows)


def taste_table(rows: Sequence[Mapping[str, Any]]) -> Table:
    """Means over the responses of each model: points by both tastes, and words."""
    by_model = {name: [row for row in rows if row["model"] == name] for name in MODELS}
    table: dict[str, list[float]] = {"first taste": [], "second taste": [], "words": []}
    for of_model in by_model.values():
        prompts, texts = [r["prompt"] for r in of_model], [r["text"] for r in of_model]
        table["first taste"].append(mean(score(prompts, texts)))
        table["second taste"].append(mean(shorter(prompts, texts)))
        table["words"].append(mean(len(text.split()) for text in texts))
    return table


def fresh(folder: Path, seed: int, keys: Sequence[str], per_round: int) -> Table:
    """Win rates by proxy and gold and their gap: all labels at once, and after each round."""
    files = prompt_files(folder, seed, per_round)
    shared = ["--round_patience", "0", *keys]
    at_once = folder / "at-once"
    align(at_once, seed, ["--ranking_prompts", files["all"], *shared])
    later = [f"{n}.ranking_prompts={files[str(n)]}" for n in range(2, ROUNDS + 1)]
    in_rounds = folder / "in-rounds"
    first = ["--ranking_prompts", files["1"], "--rounds", str(ROUNDS), "--round_keys", *later]
    align(in_rounds, seed, [*first, *shared])
    rounds = json.loads((in_rounds / "rounds.json").read_text(encoding="utf-8"))["rounds"]
    columns = [single_round(at_once), *(values_of(each) for each in rounds)]
    return {name: [column[name] for column in columns] for name in columns[0]}


def prompt_files(folder: Path, seed: int, per_round: int) -> dict[str, str]:
    """Files of prompts: one per round, without overlap, and one of all of them."""
    lines = PROMPTS.read_text(encoding="utf-8").splitlines(keepends=True)
    drawn = random.Random(seed).sample(lines, ROUNDS * per_round)
    parts = {str(n + 1): drawn[n * per_round :][:per_round] for n in range(ROUNDS)}
    folder.mkdir(parents=True, exist_ok=True)
    files = {}
    for name, part in {**parts, "all": drawn}.items():
        path = folder / f"prompts-{name}.jsonl"
        path.write_text("".join(part), encoding="utf-8")
        files[name] = str(path)
    return files


def single_round(folder: Path) -> dict[str, float]:
    """The measurements of a pipeline without further rounds."""
    results = read_results(folder / "evaluation")
    values = {}
    for name, judge in (("proxy", "reward_model"), ("gold", "gold")):
        result = find(results, "win_rate", "ppo", baseline="sft", judge=judge)
        assert result is not None  # the pocket pipeline has both judges
        values[name] = result.value
    kl = find(results, "kl", "ppo")
    assert kl is not None
    return {**values, "gap": values["proxy"] - values["gold"], "KL": kl.value}


def values_of(of_round: Mapping[str, Any]) -> dict[str, float]:
    """The measurements of one round of rounds.json."""
    values = {name: float(of_round[name]["value"]) for name in ("proxy", "gold")}
    return {**values, "gap": values["proxy"] - values["gold"], "KL": float(of_round["kl"]["value"])}


def as_metrics(table: Table, columns: Sequence[str]) -> Metrics:
    """The table as one number per name: `gap, round 1`."""
    return {
        f"{name}, {column}": value
        for name, values in table.items()
        for column, value in zip(columns, values, strict=True)
    }


def as_markdown(columns: Sequence[str], seeds: Mapping[int, Numbers]) -> str:
    """One row per measurement and seed, and the mean over seeds with its 95% interval."""
    lines = ["| | seed | " + " | ".join(columns) + " |", "|---|---:|" + "---:|" * len(columns)]
    metrics = next(iter(seeds.values()))
    for name in dict.fromkeys(metric.rpartition(", ")[0] for metric in metrics):
        rows = {
            str(seed): [f"{numbers[f'{name}, {column}']:.2f}" for column in columns]
            for seed, numbers in seeds.items()
        }
        means = [
            mean_of([numbers[f"{name}, {column}"] for numbers in seeds.values()])
            for column in columns
        ]
        rows["mean"] = [interval(mean) for mean in means]
        lines += [f"| {name} | {seed} | {' | '.join(cells)} |" for seed, cells in rows.items()]
    return "\n".join(lines)


def parse(words: Sequence[str]) -> argparse.Namespace:
    """The options, with the keys of `rlhf align` after `--` as `keys`."""
    end = words.index("--") if "--" in words else len(words)
    parser = seed_parser(__doc__ or "", "runs/rounds", range(3))
    parser.add_argument("experiment", choices=["drift", "fresh"])
    parser.add_argument("--per_round", type=int, default=500, help="prompts to rank per round")
    parser.add_argument("--kl_coef", type=float, default=0.05, help="of PPO in `fresh`")
    parser.add_argument("--ppo_keys", nargs="*", default=[], help="further keys of PPO")
    args = parser.parse_args(words[:end])
    args.keys = list(words[end + 1 :])
    return args


def main() -> None:
    """Run the missing seeds and print the table."""
    args = parse(sys.argv[1:])
    ppo = [f"kl_coef={args.kl_coef}"] if args.experiment == "fresh" else []
    ppo_keys = [*ppo, *args.ppo_keys]
    keys = [*args.keys, *(["--ppo_keys", *ppo_keys] if ppo_keys else [])]
    columns = list(MODELS)
    if args.experiment == "fresh":
        columns = ["at once", *(f"round {number}" for number in range(1, ROUNDS + 1))]

    def run(folder: Path, seed: int) -> Metrics:
        table = experiment(folder, seed, keys, args.per_round)
        return as_metrics(table, columns)

    experiment = drift if args.experiment == "drift" else fresh
    folder = Path(args.output_dir).resolve() / args.experiment
    print(as_markdown(columns, run_missing(args, folder, run, threads=None)))


if __name__ == "__main__":
    main()
