"""What compare.py found, over worlds: its points, the frontier, and the tables of the page."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import mean

import numpy as np

from recipes.seed_results import Mean, Numbers, interval, mean_of

BOUND = "best_of_n"  # its KL is an upper bound
POINT = re.compile(r"(\S+) (\S+) ([\d.e+-]+): efficiency")
AT = 1.0  # nats, which every method reaches
BASELINE = "ppo"  # of the differences


@dataclass(frozen=True, kw_only=True)
class Point:
    """A method at one strength."""

    method: str
    key: str
    value: str
    kl: Mean
    gain: Mean
    efficiency: Mean

    @property
    def name(self) -> str:
        """The beginning of its metrics' names."""
        return f"{self.method} {self.key} {self.value}"

    @property
    def is_bound(self) -> bool:
        """Whether the KL is an upper bound, and the efficiency a lower one."""
        return self.method == BOUND


def points_of(worlds: Sequence[Numbers]) -> list[Point]:
    """The points of all methods in their order."""
    points = []
    for match in filter(None, map(POINT.fullmatch, worlds[0])):
        method, key, value = match.groups()
        name = f"{method} {key} {value}"
        kl, gain, efficiency = (
            mean_of([world[f"{name}: {metric}"] for world in worlds])
            for metric in ("KL", "gain", "efficiency")
        )
        points.append(
            Point(method=method, key=key, value=value, kl=kl, gain=gain, efficiency=efficiency)
        )
    return points


def frontier_of(worlds: Sequence[Numbers]) -> list[tuple[float, float]]:
    """KL in nats and the mean over worlds of the best gain at it."""
    kls = [name.split()[1].rstrip(":") for name in worlds[0] if name.startswith("frontier ")]
    gains = [mean(world[f"frontier {kl}: gain"] for world in worlds) for kl in kls]
    return [(0.0, 0.0), *zip(map(float, kls), gains, strict=True)]


def efficiency_at(world: Numbers, points: Sequence[Point], kl: float) -> float:
    """A method's efficiency at this KL in one world, between its strengths linear in √KL.

    Beyond its strengths it is that of the nearest one.
    """
    places = sorted(
        (math.sqrt(max(0.0, world[f"{point.name}: KL"])), world[f"{point.name}: efficiency"])
        for point in points
    )
    roots, shares = zip(*places, strict=True)
    return float(np.interp(math.sqrt(kl), roots, shares))


def table_of_points(worlds: Sequence[Numbers]) -> str:
    """Markdown: every point with its means and intervals over worlds, and what it cost."""
    lines = [
        "| method | strength | efficiency | KL, nats | gain in gold | win rate | sampled | "
        "trained on |",
        "|---|---|---:|---:|---:|---:|---:|---:|",
    ]
    for point in points_of(worlds):
        win_rate = mean_of([world[f"{point.name}: win rate"] for world in worlds])
        least, most = ("≥ ", "≤ ") if point.is_bound else ("", "")
        cells = [
            point.method,
            f"`{point.key}` {point.value}",
            least + interval(point.efficiency),
            most + interval(point.kl),
            interval(point.gain),
            interval(win_rate, 3),
            *(_count(worlds, f"{point.name}: {name}") for name in ("responses", "tokens")),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def table_of_methods(worlds: Sequence[Numbers]) -> str:
    """Markdown: each method's efficiency at AT nats, and its difference from PPO by world."""
    by_method: dict[str, list[Point]] = {}
    for point in points_of(worlds):
        by_method.setdefault(point.method, []).append(point)
    found = {
        method: [efficiency_at(world, points, AT) for world in worlds]
        for method, points in by_method.items()
    }
    lines = [
        f"| method | efficiency at {AT:g} nat | minus {BASELINE} in the same world |",
        "|---|---:|---:|",
    ]
    for method, values in found.items():
        least = "≥ " if method == BOUND else ""
        pairs = zip(values, found[BASELINE], strict=True)
        difference = mean_of([value - other for value, other in pairs])
        cells = [method, least + interval(mean_of(values)), least + interval(difference)]
        lines.append(f"| {' | '.join(cells if method != BASELINE else [*cells[:2], ''])} |")
    return "\n".join(lines)


def _count(worlds: Sequence[Numbers], name: str) -> str:
    """The mean number of responses or tokens, or nothing where the method has none."""
    return f"{mean(world[name] for world in worlds):,.0f}" if name in worlds[0] else ""
