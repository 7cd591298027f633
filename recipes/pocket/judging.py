"""How well the embedded model and its reward model judge answers, beside the gold scorer.

    python recipes/pocket/judging.py --run runs/pocket

First of the pretrained model: how well the probability of "right" after "That is" tells right
answers to fresh questions from wrong ones. Then of a finished chain: on its held-out labels, how
often the reward model agrees with the label, with the gold score, and the gold score with the label
(the labels' own noise ceiling), by kind of request, by what the two answers differ in, and by how
much.
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
STEPS = (0.0, 0.5, 1.0, 2.0, 3.0, 4.5, 8.0)  # gold points between two answers, upper bounds


@dataclass(frozen=True, kw_only=True)
class JudgedPair:
    """Two answers of a prompt, of which the label puts the first above the second."""

    kind: str  # of the request
    axes: tuple[str, ...]  # those of the gold scorer in which they differ
    points: float  # gold, the first less the second
    scores: float  # the reward model's, likewise

    @property
    def gold_right(self) -> float:
        """1 where the gold score agrees with the label, a half where it ties."""
        return (self.points > 0) + (self.points == 0) / 2

    @property
    def model_right(self) -> float:
        """1 where the reward model agrees with the label."""
        return float(self.scores > 0)

    @property
    def model_gold(self) -> float:
        """1 where the reward model agrees with the gold score, which must not tie."""
        return float((self.scores > 0) == (self.points > 0))


def remark_logits(folder: Path, texts: Sequence[str]) -> list[float]:
    """The log-odds of " right" after each text and "That is", of the model in `folder`."""
    tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(folder)
    model: PreTrainedModel = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    right = tokenizer("That is right")["input_ids"][-1]
    found = []
    with torch.no_grad():
        for text in texts:
            ids = torch.tensor([tokenizer(f"{text}\nThat is")["input_ids"]])
            chance = model(input_ids=ids).logits[0, -1].softmax(-1)[right]
            found.append(torch.logit(chance).item())
    return found


def auc(right: Sequence[float], wrong: Sequence[float]) -> float:
    """How often a right answer's figure is above a wrong one's; a tie is half."""
    return mean((one > other) + (one == other) / 2 for one in right for other in wrong)


def remarks(folder: Path, *, items: int = 150) -> dict[str, float]:
    """AUCs of the base's remarks on answers to grounded and to unknown questions."""
    rng = Random(7)
    grounded = [grounded_item(rng, lost=0.0) for _ in range(items)]
    unknown = [unknown_item(rng) for _ in range(items)]
    texts = {
        "right": [f"{item.prompt}\n{item.right}" for item in grounded],
        "wrong": [f"{item.prompt}\n{item.wrong}" for item in grounded],
        "needless": [f"{item.prompt}\n{IGNORANCE}" for item in grounded],
        "honest": [f"{item.prompt}\n{IGNORANCE}" for item in unknown],
        "made up": [f"{item.prompt}\n{item.wrong}" for item in unknown],
    }
    of = {name: remark_logits(folder, rows) for name, rows in texts.items()}
    return {
        "grounded: right above wrong": auc(of["right"], of["wrong"]),
        "grounded: right above needless ignorance": auc(of["right"], of["needless"]),
        "unknown: ignorance above what is made up": auc(of["honest"], of["made up"]),
        "all of them": auc(
            of["right"] + of["honest"], of["wrong"] + of["needless"] + of["made up"]
        ),
    }


def judged_pairs(model: RewardModel, rankings: Path) -> Iterator[JudgedPair]:
    """All ordered pairs of the held-out labels, with the gold scorer's and the model's views."""
    for row in load_rankings(str(rankings), keep_tied=True).rows:
        assert isinstance(row.prompt, str)
        scores = model.score([row.prompt] * len(row.responses), row.responses)
        views = [axes(row.prompt, text) for text in row.responses]
        points = [{name: POINTS[name] * (view[name] or 0) for name in POINTS} for view in views]
        for one, other in permutations(range(len(scores)), 2):
            if row.ranks[one] < row.ranks[other]:
                ours, theirs = points[one], points[other]
                yield JudgedPair(
                    kind=read(row.prompt).kind,
                    axes=tuple(name for name in POINTS if ours[name] != theirs[name]),
                    points=sum(ours.values()) - sum(theirs.values()),
                    scores=scores[one] - scores[other],
                )


def show(title: str, pairs: Sequence[JudgedPair], key: Callable[[JudgedPair], str]) -> None:
    """A table of the groups with at least a hundredth of the pairs: their share, the agreements."""
    groups: dict[str, list[JudgedPair]] = defaultdict(list)
    for pair in pairs:
        groups[key(pair)].append(pair)
    print(f"\n{title:34} share  model=label  gold=label  model=gold")
    for name, rows in sorted(groups.items(), key=lambda group: -len(group[1])):
        if 100 * len(rows) < len(pairs):
            continue
        views = (
            [len(rows) / len(pairs)],
            [pair.model_right for pair in rows],
            [pair.gold_right for pair in rows],
            [pair.model_gold for pair in rows if pair.points],
        )
        means = [f"{mean(view):.3f}" if view else "-" for view in views]
        print(f"{name:34} {means[0]} {means[1]:>11} {means[2]:>11} {means[3]:>11}")


def step_of(pair: JudgedPair) -> str:
    """How far apart the two are by the gold score."""
    bound = next(step for step in STEPS if abs(pair.points) <= step)
    return f"up to {bound:g} points apart"


def main() -> None:
    """Print the base's AUCs and the reward model's agreement."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--base", type=Path, default=ROOT / "data" / "pocket" / "model")
    parser.add_argument("--run", type=Path, default=ROOT / "runs" / "pocket")
    given = parser.parse_args()
    heldout = given.run / "labels" / "rankings_heldout.jsonl"
    if not heldout.exists():
        sys.exit(f"--run {given.run}: there is no {heldout}; it takes a finished chain's folder.")
    for name, value in remarks(given.base).items():
        print(f"AUC, {name:42} {value:.3f}")
    pairs = list(judged_pairs(RewardModel(given.run / "reward_model"), heldout))
    show("all", pairs, lambda pair: "all pairs")
    show("kind of request", pairs, lambda pair: pair.kind)
    show("differ in", pairs, lambda pair: " ".join(pair.axes) or "nothing")
    show("distance", pairs, step_of)


if __name__ == "__main__":
    main()
