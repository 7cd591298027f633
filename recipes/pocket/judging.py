"""How well the bundled model and its reward model judge responses, compared with the gold score.

    python recipes/pocket/judging.py --run runs/pocket

The first part measures the pretrained model: how well the probability of "right" after "That is"
separates right responses to new questions from wrong ones. The second part uses the held-out labels
of a finished pipeline. It reports how often the reward model agrees with the label and with the
gold score, and how often the gold score agrees with the label (the noise ceiling of the labels): by
kind of request, by the axes in which the two responses differ, and by the size of the difference.
"""

import argparse
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import permutations
from pathlib import Path
from random import Random
from statistics import mean

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerBase
from transformers.modeling_utils import PreTrainedModel

ROOT = Path(__file__).resolve().parents[2]
sys.path.append(str(ROOT))

from recipes.pocket.gold import POINTS, axes  # noqa: E402
from recipes.pocket.world.reading import read  # noqa: E402
from recipes.pocket.world.scenes import grounded_item, unknown_item  # noqa: E402
from rlhf.data.rows.load import load_rankings  # noqa: E402
from rlhf.rewards.model import RewardModel  # noqa: E402

IGNORANCE = "I do not know."
GAPS = (0.0, 0.5, 1.0, 2.0, 3.0, 4.5, 8.0)  # upper bounds of gold differences


@dataclass(frozen=True, kw_only=True)
class JudgedPair:
    """Two responses to a prompt; the label prefers the first one."""

    kind: str  # of the request
    axes: tuple[str, ...]  # axes of the gold scorer in which they differ
    points: float  # gold score of the first minus the second
    scores: float  # reward model's score of the first minus the second

    @property
    def gold_right(self) -> float:
        """1 if the gold score agrees with the label, 0.5 if it is a tie, else 0."""
        return (self.points > 0) + (self.points == 0) / 2

    @property
    def model_right(self) -> float:
        """1 if the reward model agrees with the label, else 0."""
        return float(self.scores > 0)

    @property
    def model_gold(self) -> float:
        """1 if the reward model agrees with the gold score, else 0; not for gold ties."""
        return float((self.scores > 0) == (self.points > 0))


def remark_logits(folder: Path, texts: Sequence[str]) -> list[float]:
    """Log-odds of " right" after each text and "That is", from the model in `folder`."""
    tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(folder)
    model: PreTrainedModel = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    right = tokenizer("That is right")["input_ids"][-1]
    logits = []
    with torch.no_grad():
        for text in texts:
            ids = torch.tensor([tokenizer(f"{text}\nThat is")["input_ids"]])
            probability = model(input_ids=ids).logits[0, -1].softmax(-1)[right]
            logits.append(torch.logit(probability).item())
    return logits


def auc(right: Sequence[float], wrong: Sequence[float]) -> float:
    """Share of pairs in which the right response has the higher value; a tie counts half."""
    return mean((first > second) + (first == second) / 2 for first in right for second in wrong)


def remark_aucs(folder: Path, *, items: int = 150) -> dict[str, float]:
    """AUCs of the base model's remarks on responses to grounded and to unknown questions."""
    rng = Random(7)
    grounded = [grounded_item(rng, unknown_share=0.0) for _ in range(items)]
    unknown = [unknown_item(rng) for _ in range(items)]
    texts = {
        "right": [f"{item.prompt}\n{item.right}" for item in grounded],
        "wrong": [f"{item.prompt}\n{item.wrong}" for item in grounded],
        "needless": [f"{item.prompt}\n{IGNORANCE}" for item in grounded],
        "honest": [f"{item.prompt}\n{IGNORANCE}" for item in unknown],
        "made up": [f"{item.prompt}\n{item.wrong}" for item in unknown],
    }
    logits_of = {name: remark_logits(folder, rows) for name, rows in texts.items()}
    return {
        "grounded: right above wrong": auc(logits_of["right"], logits_of["wrong"]),
        "grounded: right above needless ignorance": auc(logits_of["right"], logits_of["needless"]),
        "unknown: ignorance above what is made up": auc(logits_of["honest"], logits_of["made up"]),
        "all of them": auc(
            logits_of["right"] + logits_of["honest"],
            logits_of["wrong"] + logits_of["needless"] + logits_of["made up"],
        ),
    }


def judged_pairs(model: RewardModel, rankings: Path) -> Iterator[JudgedPair]:
    """All ordered pairs of the held-out labels with their gold and reward-model differences."""
    for row in load_rankings(str(rankings), keep_tied=True).rows:
        assert isinstance(row.prompt, str)
        scores = model.score([row.prompt] * len(row.responses), row.responses)
        gold_axes = [axes(row.prompt, text) for text in row.responses]
        points = [{name: POINTS[name] * (row[name] or 0) for name in POINTS} for row in gold_axes]
        for first, second in permutations(range(len(scores)), 2):
            if row.ranks[first] < row.ranks[second]:
                better, worse = points[first], points[second]
                yield JudgedPair(
                    kind=read(row.prompt).kind,
                    axes=tuple(name for name in POINTS if better[name] != worse[name]),
                    points=sum(better.values()) - sum(worse.values()),
                    scores=scores[first] - scores[second],
                )


def print_agreement(
    title: str, pairs: Sequence[JudgedPair], key: Callable[[JudgedPair], str]
) -> None:
    """Print share and agreements of each group with at least 1% of the pairs."""
    groups: dict[str, list[JudgedPair]] = defaultdict(list)
    for pair in pairs:
        groups[key(pair)].append(pair)
    print(f"\n{title:34} share  model=label  gold=label  model=gold")
    for name, rows in sorted(groups.items(), key=lambda group: -len(group[1])):
        if 100 * len(rows) < len(pairs):
            continue
        columns = (
            [len(rows) / len(pairs)],
            [pair.model_right for pair in rows],
            [pair.gold_right for pair in rows],
            [pair.model_gold for pair in rows if pair.points],
        )
        means = [f"{mean(values):.3f}" if values else "-" for values in columns]
        print(f"{name:34} {means[0]} {means[1]:>11} {means[2]:>11} {means[3]:>11}")


def gap_label(pair: JudgedPair) -> str:
    """The range of the gold difference as text."""
    bound = next(gap for gap in GAPS if abs(pair.points) <= gap)
    return f"up to {bound:g} points apart"


def main() -> None:
    """Print the base model's AUCs and the reward model's agreement."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--base", type=Path, default=ROOT / "data" / "pocket" / "model")
    parser.add_argument("--run", type=Path, default=ROOT / "runs" / "pocket")
    args = parser.parse_args()
    rankings = args.run / "labels" / "rankings_heldout.jsonl"
    if not rankings.exists():
        sys.exit(f"--run: {rankings} is missing; pass the folder of a finished pipeline.")
    for name, value in remark_aucs(args.base).items():
        print(f"AUC, {name:42} {value:.3f}")
    pairs = list(judged_pairs(RewardModel(args.run / "reward_model"), rankings))
    print_agreement("all", pairs, lambda pair: "all pairs")
    print_agreement("kind of request", pairs, lambda pair: pair.kind)
    print_agreement("differ in", pairs, lambda pair: " ".join(pair.axes) or "nothing")
    print_agreement("distance", pairs, gap_label)


if __name__ == "__main__":
    main()
