"""Labels that adaptive overlap saves at equal accuracy of a reward model; simulated annotators.

python benchmarks/adaptive_overlap.py [--seeds 5]

Each item has two responses with a feature vector each; their true qualities are linear in the
features, and an annotator's decision is Bradley-Terry (`rlhf label simulate` has the same noise).
Annotators differ: some decide nearly at random. Every plan labels items one after the other; an
item's labels become one by majority, without ties. A linear reward model is fitted to them by
logistic regression. Its accuracy is the share of held-out pairs that it orders as the true quality
does.

Plans: one, two or three annotators per item, and two with a third only where the two disagree.
For each plan the number of items grows. The labels that a plan needs for an accuracy are read off
its curve by linear interpolation in the logarithm of the labels.
"""

import argparse
import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rlhf.labels.disagreement import disagreement

Array = NDArray[np.float64]
FEATURES = 24
ITEMS = (30, 45, 70, 100, 150, 220, 330, 500, 750, 1100, 1650, 2500)
HELD_OUT = 4000
NOISES = (0.5, 0.5, 0.7, 0.7, 1.0, 1.0, 1.5, 4.0)  # of the annotators, in units of quality
RIDGE = 1.0
TARGETS = (0.84, 0.87, 0.9, 0.92)


@dataclass(frozen=True)
class World:
    """Pairs of responses, and what annotators decide about them."""

    differences: Array  # [N, F] features of the first response minus those of the second
    true: Array  # [N] difference of quality
    decisions: NDArray[np.bool_]  # [N, 3] three annotators: the first response is better


def make_world(seed: int, items: int) -> World:
    """`items` pairs with the decisions of three different annotators each."""
    rng = np.random.default_rng(seed)
    weights = rng.normal(size=FEATURES) / math.sqrt(FEATURES)
    differences = rng.normal(size=(items, FEATURES)) * math.sqrt(2)
    true = differences @ weights
    annotators = np.argsort(rng.random((items, len(NOISES))), axis=1)[:, :3]
    noise = np.array(NOISES)[annotators]
    chance = 1 / (1 + np.exp(-true[:, None] / noise))
    return World(differences, true, rng.random((items, 3)) < chance)


def fixed(count: int) -> Callable[[NDArray[np.bool_]], Sequence[bool]]:
    """A plan of `count` annotators for every item."""
    return lambda decisions: [bool(one) for one in decisions[:count]]


def adaptive(decisions: NDArray[np.bool_]) -> Sequence[bool]:
    """Two annotators, and a third where their disagreement is above 0.4, the default."""
    rankings = [(1, 2) if first else (2, 1) for first in decisions[:2]]
    count = 3 if (disagreement(rankings) or 0.0) > 0.4 else 2
    return [bool(one) for one in decisions[:count]]


PLANS = {"1": fixed(1), "2": fixed(2), "3": fixed(3), "2, then 3": adaptive}


def curve(
    world: World, held_out: World, plan: Callable[[NDArray[np.bool_]], Sequence[bool]]
) -> list[tuple[int, float]]:
    """(labels, accuracy of the reward model) for each number of items."""
    points = []
    for items in ITEMS:
        labels = [plan(decisions) for decisions in world.decisions[:items]]
        shares = np.array([sum(of_item) / len(of_item) for of_item in labels])
        decided = shares != 0.5
        weights = fit(world.differences[:items][decided], shares[decided] > 0.5)
        correct = (held_out.differences @ weights > 0) == (held_out.true > 0)
        points.append((sum(map(len, labels)), float(correct.mean())))
    return points


def fit(differences: Array, first_better: NDArray[np.bool_]) -> Array:
    """[F] weights of a linear reward model: Bradley-Terry by Newton's method, with a ridge."""
    weights = np.zeros(differences.shape[1])
    for _ in range(30):
        p = 1 / (1 + np.exp(-differences @ weights))
        gradient = differences.T @ (first_better - p) - RIDGE * weights
        hessian = (differences * (p * (1 - p))[:, None]).T @ differences
        step = np.linalg.solve(hessian + RIDGE * np.eye(len(weights)), gradient)
        weights += step
        if np.abs(step).max() < 1e-8:
            break
    return weights


def labels_for(points: Sequence[tuple[int, float]], accuracy: float) -> float:
    """Labels that reach the accuracy; NaN if the curve does not."""
    for (labels, low), (more, high) in itertools.pairwise(points):
        if low < accuracy <= high:
            share = (accuracy - low) / (high - low)
            return math.exp(math.log(labels) + share * (math.log(more) - math.log(labels)))
    return math.nan


def main() -> None:
    """Print the labels that each plan needs, by accuracy: mean and range over the seeds."""
    parser = argparse.ArgumentParser(description="Labels that adaptive overlap saves.")
    parser.add_argument("--seeds", type=int, default=5, help="Number of seeds.")
    seeds = range(parser.parse_args().seeds)
    curves: dict[str, list[list[tuple[int, float]]]] = {name: [] for name in PLANS}
    for seed in seeds:
        both = make_world(seed, max(ITEMS) + HELD_OUT)
        size = max(ITEMS)
        world = World(both.differences[:size], both.true[:size], both.decisions[:size])
        held_out = World(both.differences[size:], both.true[size:], both.decisions[size:])
        for name, plan in PLANS.items():
            curves[name].append(curve(world, held_out, plan))
    print("| accuracy | " + " | ".join(PLANS) + " | saved against 3 |")
    print("|---" * (len(PLANS) + 2) + "|")
    for target in TARGETS:
        needed = {
            name: [labels_for(points, target) for points in of] for name, of in curves.items()
        }
        saved = [1 - a / b for a, b in zip(needed["2, then 3"], needed["3"], strict=True)]
        cells = [f"{np.nanmean(values):.0f}" for values in needed.values()]
        spread = f"{np.nanmean(saved):.0%} ({np.nanmin(saved):.0%} to {np.nanmax(saved):.0%})"
        print(f"| {target} | " + " | ".join(cells) + f" | {spread} |")


if __name__ == "__main__":
    main()
