"""Draw the results of few_labels.py.

    python recipes/toy_tasks/draw_few_labels.py runs/toy_tasks/few_labels/results.jsonl \\
        --output docs/images/few-labels.svg

Left: efficiency against the number of pairs, medians over worlds with quartiles. Right: at 2,500
pairs, the mean difference of each change from the plain reward model in the same world, with a 95%
interval.
"""

import argparse
import math
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median, quantiles

from markupsafe import Markup

ROOT = Path(__file__).resolve().parents[2]
sys.path.append(str(ROOT))

from recipes.seed_results import mean_of, read_numbers  # noqa: E402
from recipes.toy_tasks.few_labels_found import (  # noqa: E402
    BASE,
    LAST,
    Learner,
    Worlds,
    base_of,
    differences,
    found_in,
)
from rlhf.report.comparison_chart import CSS, NAME_SIZE  # noqa: E402
from rlhf.report.label_places import disk_box, least_overlap, name_places  # noqa: E402
from rlhf.report.svg_parts import line, path, words  # noqa: E402

WIDTH, LEFT, TOP, PLOT, HEIGHT = 940, 58, 84, 420, 400  # of the left plot: width and height
LIST, CHANGES, ROW = 720, 150, 22  # of the right plot: x of its scale, width, height of a row
NETWORK, DPO = "reward model", "implicit reward of DPO"
CURVES = {
    "Bayes": "knows the family",
    "right features": "knows the features",
    NETWORK: NETWORK,
    DPO: DPO,
    "SFT features": "linear, SFT states",
    "neighbours": "bag of words",
}
BASE_PAIRS = 2500


def curves_of(worlds: Worlds) -> dict[str, dict[int, list[float]]]:
    """Learner -> number of pairs -> efficiency in every world."""
    curves: dict[str, dict[int, list[float]]] = {name: {} for name in CURVES}
    for learner, values in found_in(worlds).items():
        name = curve_name(learner)
        if name in curves and learner.choices == 2:
            curves[name][learner.pairs] = list(values.values())
    return {name: dict(sorted(points.items())) for name, points in curves.items() if points}


def curve_name(learner: Learner) -> str | None:
    """The curve that a learner belongs to, if any."""
    if learner.experiment == "linear":
        return learner.learner
    plain, of_dpo = (f"{learner.pairs} pairs", f"{DPO}, {learner.pairs} pairs")
    names = {BASE: NETWORK, plain: NETWORK, DPO: DPO, of_dpo: DPO}
    return names.get(learner.experiment) if learner.learner == LAST else None


def changes_of(worlds: Worlds) -> dict[str, list[float]]:
    """Change -> difference from the plain reward model in every world, at 2,500 pairs."""
    found = found_in(worlds)
    base = base_of(found)
    return {
        change_name(learner.experiment, learner.learner): differences(values, base)
        for learner, values in found.items()
        if learner.pairs == BASE_PAIRS
        and learner.experiment != "linear"
        and learner[:2] != (BASE, LAST)
    }


def change_name(experiment: str, learner: str) -> str:
    """`rankings of 4`, or with another learner `base, last`."""
    return experiment if learner == LAST else f"{experiment}: {learner}"


def picture(worlds: Worlds, shown: Sequence[str]) -> Markup:
    """The SVG of both plots; shown: names of the changes, in their order."""
    curves, changes = curves_of(worlds), changes_of(worlds)
    height = max(TOP + HEIGHT + 62, TOP + ROW * len(shown) + 30)
    parts = [
        Markup("<style>{}</style>").format(Markup(CSS.read_text(encoding="utf-8"))),
        Markup('<rect class="page" width="{}" height="{}" rx="8"/>').format(WIDTH, height),
        words(20, 30, "What a reward model from few labels lets a policy reach", "title"),
        words(20, 50, f"{len(worlds)} drawn worlds · share of the best gain at 2 nats", "dim"),
        _grid(),
        *(_curve(points, _hue(name)) for name, points in curves.items()),
        _names(curves),
        _changes({name: changes[name] for name in shown}),
    ]
    return Markup(
        '<svg xmlns="http://www.w3.org/2000/svg" class="methods" viewBox="0 0 {} {}" role="img">'
        "<title>Efficiency of reward models against the number of labels</title>{}</svg>\n"
    ).format(WIDTH, height, Markup("\n").join(parts))


def x_of(pairs: int) -> float:
    """Place of a number of pairs, from 250 to 10,000 on a log scale."""
    return LEFT + math.log(pairs / 250) / math.log(40) * (PLOT - 90)


def y_of(efficiency: float) -> float:
    """Place of an efficiency from 0 to 1."""
    return TOP + (1 - efficiency) * HEIGHT


def _hue(name: str) -> int:
    return list(CURVES).index(name)


def _grid() -> Markup:
    parts = [words(LEFT, TOP - 12, "efficiency, median and quartiles over worlds", "dim")]
    for tenth in range(0, 11, 2):
        y = y_of(tenth / 10)
        parts += [line(LEFT, y, LEFT + PLOT - 60, y, "grid")]
        parts += [words(LEFT - 8, y + 4, f"{tenth / 10:g}", "dim end")]
    for pairs in (250, 500, 1000, 2500, 5000, 10000):
        x = x_of(pairs)
        parts += [line(x, TOP + HEIGHT, x, TOP + HEIGHT + 5, "tick")]
        parts += [words(x, TOP + HEIGHT + 19, f"{pairs:,}", "dim middle")]
    parts.append(words(LEFT + (PLOT - 90) / 2, TOP + HEIGHT + 40, "labelled pairs", "dim middle"))
    return Markup("").join(parts)


def _curve(points: Mapping[int, Sequence[float]], hue: int) -> Markup:
    places = [(x_of(pairs), y_of(median(values))) for pairs, values in points.items()]
    parts = [path(places, f"curve m{hue}")]
    for (x, y), values in zip(places, points.values(), strict=True):
        if len(values) > 3:
            low, _, high = quantiles(values, n=4)
            parts.append(line(x, y_of(low), x, y_of(high), f"whisker m{hue}"))
        disk = Markup('<circle class="disk m{}" cx="{:.1f}" cy="{:.1f}" r="4"/>')
        parts.append(disk.format(hue, x, y))
    return Markup("").join(parts)


def _names(curves: Mapping[str, Mapping[int, Sequence[float]]]) -> Markup:
    ends = {
        name: (x_of(max(points)), y_of(median(points[max(points)])))
        for name, points in curves.items()
    }
    choices = [name_places(*place, CURVES[name], NAME_SIZE) for name, place in ends.items()]
    disks = [disk_box(*place) for place in ends.values()]
    labels = least_overlap(choices, disks, top=TOP, right=LEFT + PLOT + 80)
    tones = [f"name m{_hue(name)}" for name in ends]
    return Markup("").join(label.draw(tone) for label, tone in zip(labels, tones, strict=True))


def _changes(changes: Mapping[str, Sequence[float]]) -> Markup:
    """The right plot: a row for each change."""
    means = {name: mean_of(values) for name, values in changes.items()}
    most = max((max(abs(m.low), abs(m.high)) for m in means.values()), default=0.1)
    middle = LIST + CHANGES / 2

    def x(value: float) -> float:
        return middle + max(-1.0, min(1.0, value / most)) * CHANGES / 2

    parts = [words(middle, TOP - 12, "change at 2,500 pairs, same world", "dim middle")]
    parts.append(line(middle, TOP, middle, TOP + ROW * len(means), "even"))
    disk = Markup('<circle class="disk m{}" cx="{:.1f}" cy="{:.1f}" r="4"/>')
    for index, (name, found) in enumerate(means.items()):
        y = TOP + ROW * (index + 0.5)
        parts += [words(LIST - 8, y + 4, name, "dim small end")]
        parts += [line(x(found.low), y, x(found.high), y, "whisker m2")]
        parts += [disk.format(2, x(found.value), y)]
        parts += [words(LIST + CHANGES + 50, y + 4, f"{found.value:+.3f}", "figure end")]
    return Markup("").join(parts)


def main() -> None:
    """Draw the figure."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("results", type=Path, help="results.jsonl of few_labels.py")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--changes", nargs="*", help="changes to show; default: all")
    args = parser.parse_args()
    worlds = read_numbers(args.results)
    shown = list(changes_of(worlds)) if args.changes is None else args.changes
    args.output.write_text(picture(worlds, shown), encoding="utf-8")


if __name__ == "__main__":
    main()
