"""Reward models on files of human rankings, compared with length and a bag of words.

    pip install scikit-learn
    python benchmarks/reward_models.py --models data/pocket/model ../shared/models/stories260K
    python benchmarks/reward_models.py --data pandalm --variants plain weights \\
        --poison random:0.05 random:0.2 reversed:0.05 reversed:0.2

    python benchmarks/reward_models.py --data runs/pocket/labels/rankings_train.jsonl \\
        --eval_data runs/pocket/labels/rankings_heldout.jsonl --models runs/pocket/sft \\
        --max_length 128 --max_rankings 1000 --splits 1 --variants plain weights \\
        --poison reversed:0.2

Each file is split by prompt five times; a fifth is held out. A cell is the mean held-out accuracy
over the splits with a 95% confidence interval. Every line of --output is one training run.
"""

import argparse
import json
import math
import random
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import torch
from scipy.special import stdtrit

ROOT = Path(__file__).resolve().parents[1]
sys.path.append(str(ROOT))

from rlhf.data.config import DataConfig  # noqa: E402
from rlhf.data.convert import convert  # noqa: E402
from rlhf.data.held_out import TrainAndHeldOut  # noqa: E402
from rlhf.data.rows.bad_rows import BadRows  # noqa: E402
from rlhf.data.rows.load import load_rankings  # noqa: E402
from rlhf.data.rows.split import split_by_prompt  # noqa: E402
from rlhf.data.tokenization.tokenizer import ChatTokenizer, load_tokenizer  # noqa: E402
from rlhf.errors import ConfigError  # noqa: E402
from rlhf.models.config import ModelConfig, use_bf16  # noqa: E402
from rlhf.models.reward_init import load_model  # noqa: E402
from rlhf.models.scorer import Scorer, score_ids  # noqa: E402
from rlhf.ops.accuracy import pairs_in_order  # noqa: E402
from rlhf.runtime.distributed import start_processes  # noqa: E402
from rlhf.runtime.printing import quiet_logs  # noqa: E402
from rlhf.runtime.run_folder import RunConfig  # noqa: E402
from rlhf.training.reward.config import RewardModelConfig  # noqa: E402
from rlhf.training.reward.cross_fit import weigh_annotators  # noqa: E402
from rlhf.training.reward.data import tokenize  # noqa: E402
from rlhf.training.reward.loop import train_reward_model  # noqa: E402
from rlhf.training.reward.scores import Scores  # noqa: E402
from rlhf.training.reward.setup import RewardSetup  # noqa: E402
from rlhf.types import Ranking  # noqa: E402

SHARED = ROOT.parent / "shared" / "data"
FILES = {  # name -> file, format of `rlhf data convert`
    "helpful": (SHARED / "preferences/hh-helpful-base.jsonl.gz", "hh"),
    "harmless": (SHARED / "preferences/hh-harmless-base.jsonl.gz", "hh"),
    "pandalm": (SHARED / "preferences/pandalm-3-annotators.json.gz", "pandalm"),
    "oasst": (SHARED / "rankings/oasst_rankings.jsonl", "oasst"),
    "summeval": (SHARED / "rankings/summeval.jsonl.gz", "summeval"),
}
VARIANTS: dict[str, dict[str, Any]] = {
    "plain": {},
    "one-pair": {},  # one random pair of each ranking instead of all
    "ties-half": {"ties": "half"},
    "rao-kupper": {"ties": "rao_kupper"},
    "plackett-luce": {"loss_type": "plackett_luce"},
    "smoothing": {"label_smoothing": 0.1},
    "agreement": {"annotator_weights": "agreement"},
    "weights": {"annotator_weights": "model"},
    "heads": {"num_heads": 4},
}
HELD_OUT = 0.2


def main() -> None:
    """Train every variant of every model on every file and split, and print the table."""
    args = arguments()
    start_processes(args.cpu_threads)
    quiet_logs()
    accuracies: dict[tuple[str, str], list[float]] = {}
    for name in args.data:
        for split in range(args.splits):
            for method, value, counts in evaluate_split(name, split, args):
                accuracies.setdefault((method, name), []).append(value)
                line = {"data": name, "split": split, "method": method, "accuracy": value, **counts}
                with Path(args.output).open("a", encoding="utf-8") as file:
                    file.write(json.dumps(line) + "\n")
    print(table(accuracies, args.data))


def evaluate_split(
    name: str, split: int, args: argparse.Namespace
) -> Iterator[tuple[str, float, dict[str, int]]]:
    """(method, held-out accuracy, number of rankings) of each method on one split."""
    for model in args.models:
        chat = load_tokenizer(model, args.chat_template, judges=True)
        rows = read_rankings(name, chat, args.max_length)[: args.max_rankings]
        if args.eval_data:
            train, held_out = rows, read_rankings(args.eval_data, chat, args.max_length)
        else:
            train, held_out = split_by_prompt(rows, HELD_OUT, split)
        held_out = [row for row in held_out if len(set(row.ranks)) > 1]
        counts = {"train": len(train), "held_out": len(held_out)}
        if model == args.models[0]:  # these do not depend on the model
            lengths = [[len(text) for text in row.responses] for row in held_out]
            yield "longer", accuracy(lengths, held_out), counts
            yield "bag of words", bag_of_words(train, held_out), counts
        for poison in [None, *args.poison]:
            for variant in args.variants:
                rankings, keys = poison_labels(train, poison, split), VARIANTS[variant]
                rankings = one_pair(rankings, split) if variant == "one-pair" else rankings
                try:
                    value = reward_model(model, chat, rankings, held_out, keys, split, args)
                except ConfigError as error:  # the file has no ties or no annotators
                    print(f"{name}, {variant}: {error}")
                    continue
                parts = [Path(model).name, variant, *([poison] if poison else [])]
                yield " ".join(parts), value, counts


def read_rankings(name: str, chat: ChatTokenizer, max_length: int) -> list[Ranking]:
    """The rankings of a file that fit into `max_length`, including fully tied ones."""
    with tempfile.TemporaryDirectory() as folder, BadRows(drop=True) as bad_rows:
        path = name
        if name in FILES:
            rows = convert(str(FILES[name][0]), FILES[name][1], dropping=True).rows
            file = Path(folder) / f"{name}.jsonl"
            lines = "".join(json.dumps(row) + "\n" for row in rows)
            file.write_text(lines, encoding="utf-8")
            path = str(file)
        loaded = load_rankings(
            path, chat=chat, max_length=max_length, bad_rows=bad_rows, keep_tied=True
        )
    return list(loaded.rows)


def reward_model(
    model: str,
    chat: ChatTokenizer,
    train: Sequence[Ranking],
    held_out: Sequence[Ranking],
    keys: dict[str, Any],
    seed: int,
    args: argparse.Namespace,
) -> float:
    """Train one reward model; returns its held-out accuracy.

    Args:
        model: folder or hub id of the model to start from.
        chat: its tokenizer.
        train: training rankings.
        held_out: rankings to measure the accuracy on.
        keys: keys of the variant.
        seed: seed of the run.
        args: the command line.
    """
    config = RewardModelConfig(
        **{
            "learning_rate": args.learning_rate,
            "num_train_epochs": args.epochs,
            "max_steps": args.max_steps,
            "save_steps": 10**9,
            **keys,
        }
    )
    if config.ties == "out":
        train = [row for row in train if len(set(row.ranks)) > 1]
    with tempfile.TemporaryDirectory() as folder:
        model_config = ModelConfig(model_name_or_path=model)
        setup = RewardSetup(
            run=RunConfig(output_dir=folder, seed=seed),
            model=model_config,
            data=DataConfig(train_data=["rows"]),
            config=config,
            world_size=1,
            bf16=use_bf16(model_config),
            chat=chat,
            rows=TrainAndHeldOut(train=train, held_out=[], uses=[]),
        )
        rankings = weigh_annotators(tokenize(chat, train), setup, resuming=False)
        trained = load_model(model_config, seed, config.num_heads)
        model_scores = Scores(Scorer(trained, bf16=setup.bf16), chat.pad_token_id)
        train_reward_model(model_scores, rankings, [], setup, resume=None)
    ids = [ids_of_response for row in tokenize(chat, held_out) for ids_of_response in row.ids]
    scores = iter(score_ids(Scorer(trained, bf16=False), ids, chat.pad_token_id).tolist())
    return accuracy([[next(scores) for _ in row.ranks] for row in held_out], held_out)


def accuracy(scores: Sequence[Sequence[float]], rankings: Sequence[Ranking]) -> float:
    """Share of the ordered pairs that the scores order correctly; equal scores count half."""
    num_correct = total_pairs = 0.0
    for values, ranking in zip(scores, rankings, strict=True):
        row_scores = torch.tensor([float(value) for value in values])
        group = torch.zeros(len(values), dtype=torch.long)
        correct, num_pairs = pairs_in_order(row_scores, torch.tensor(list(ranking.ranks)), group)
        num_correct += float(correct)
        total_pairs += float(num_pairs)
    return num_correct / total_pairs


def bag_of_words(train: Sequence[Ranking], held_out: Sequence[Ranking]) -> float:
    """Held-out accuracy of logistic regression on words and bigrams.

    The features are differences between two responses, each with 1 + log(count), normalised to
    length 1. The better response is alternately the first and the second of its pair.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression

    vectorizer = TfidfVectorizer(ngram_range=(1, 2), min_df=2, sublinear_tf=True, use_idf=False)
    vectorizer.fit([text for row in train for text in row.responses])
    better, worse = [], []
    for row in train:
        for i, rank in enumerate(row.ranks):
            for j, other in enumerate(row.ranks):
                if rank < other:
                    better.append(row.responses[i])
                    worse.append(row.responses[j])
    difference = vectorizer.transform(better) - vectorizer.transform(worse)
    sides = [1 if number % 2 else -1 for number in range(len(better))]
    signs = torch.tensor(sides, dtype=torch.float64).numpy()[:, None]
    model = LogisticRegression(fit_intercept=False, max_iter=1000)
    model.fit(difference.multiply(signs).tocsr(), sides)
    scores = [model.decision_function(vectorizer.transform(row.responses)) for row in held_out]
    return accuracy(scores, held_out)


def one_pair(rankings: Sequence[Ranking], seed: int) -> list[Ranking]:
    """One random ordered pair of each ranking, the usual input of pairwise trainers."""
    rng, selected = random.Random(seed), []
    for row in rankings:
        pairs = [
            (i, j)
            for i, rank in enumerate(row.ranks)
            for j, other in enumerate(row.ranks)
            if rank < other and row.responses[i] != row.responses[j]
        ]
        if pairs:
            i, j = rng.choice(pairs)
            selected.append(
                replace(row, responses=[row.responses[i], row.responses[j]], ranks=[1, 2])
            )
    return selected


def poison_labels(rankings: Sequence[Ranking], poison: str | None, seed: int) -> list[Ranking]:
    """Replace a share of the rankings by those of an annotator X.

    `random:0.2` makes a fifth of the rankings random; `reversed:0.2` reverses a fifth of them.
    """
    if poison is None:
        return list(rankings)
    kind, share = poison.split(":")
    rng, selected = random.Random(7 + seed), []
    for row in rankings:
        if rng.random() >= float(share):
            selected.append(row)
        elif kind == "random":
            random_ranks = rng.sample(range(1, len(row.ranks) + 1), len(row.ranks))
            selected.append(replace(row, ranks=random_ranks, annotator="X"))
        else:
            reversed_ranks = [max(row.ranks) + 1 - rank for rank in row.ranks]
            selected.append(replace(row, ranks=reversed_ranks, annotator="X"))
    return selected


def table(accuracies: dict[tuple[str, str], list[float]], data: Sequence[str]) -> str:
    """Markdown: one row per method, one column per file."""
    lines = ["| method | " + " | ".join(data) + " |", "|---|" + "---:|" * len(data)]
    for method in dict.fromkeys(method for method, _ in accuracies):
        cells = [format_cell(accuracies.get((method, name), [])) for name in data]
        lines.append(f"| {method} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def format_cell(values: Sequence[float]) -> str:
    """Mean over the splits and its confidence interval, corrected for the rows they share.

    Nadeau and Bengio 2003 (https://doi.org/10.1023/A:1024068626366): variance of the mean is
    (1/J + held-out rows/training rows) s², Student's t with J - 1 degrees of freedom.
    """
    if len(values) < 2:
        return f"{values[0]:.3f}" if values else "–"
    error = math.sqrt(1 / len(values) + HELD_OUT / (1 - HELD_OUT)) * stdev(values)
    half = float(stdtrit(len(values) - 1, 0.975)) * error
    return f"{mean(values):.3f} [{mean(values) - half:.3f}, {mean(values) + half:.3f}]"


def arguments() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", nargs="+", default=["data/pocket/model"])
    parser.add_argument(
        "--data", nargs="+", default=list(FILES), help=f"{', '.join(FILES)}, or files of rankings"
    )
    parser.add_argument("--eval_data", help="file of held-out rankings, instead of splitting")
    parser.add_argument(
        "--variants",
        nargs="*",
        choices=VARIANTS,
        default=["plain"],
        help="kinds of training; none after it: only length and the bag of words",
    )
    parser.add_argument("--poison", nargs="+", default=[], help="KIND:SHARE, e.g. reversed:0.2")
    parser.add_argument("--splits", type=int, choices=(1, 2, 3, 4, 5, 10), default=5)
    parser.add_argument("--epochs", type=float, default=1.0)
    parser.add_argument("--max_steps", type=int)
    parser.add_argument("--max_rankings", type=int, help="use only the first rankings of a file")
    parser.add_argument("--chat_template", default="auto", help="auto, none or a Jinja file")
    parser.add_argument(
        "--max_length", type=int, default=512, help="in tokens; longer rankings are dropped"
    )
    parser.add_argument("--learning_rate", type=float, default=1e-3)
    parser.add_argument("--output", default="reward_models.jsonl", help="one line per training run")
    parser.add_argument("--cpu_threads", type=int)
    return parser.parse_args()


if __name__ == "__main__":
    main()
