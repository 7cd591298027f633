"""What methods.py found, over worlds: the measures of each method, and the table of the page."""

from collections.abc import Sequence

from recipes.seed_results import Mean, Numbers, interval, mean_of

EFFICIENCY, KL, ITERATIONS = "efficiency", "KL", "iterations to 90% of its gain"
MEASURES = (EFFICIENCY, KL, ITERATIONS)
BASELINE = "grpo"  # of the differences
Found = dict[str, dict[str, Mean]]  # method -> measure -> mean


def measures_of(worlds: Sequence[Numbers]) -> Found:
    """Every measure of each method that all worlds have, in the order of the first world."""
    suffix = f": {EFFICIENCY}"
    names = [name.removesuffix(suffix) for name in worlds[0] if name.endswith(suffix)]
    return {
        name: {
            measure: mean_of([world[f"{name}: {measure}"] for world in worlds])
            for measure in MEASURES
        }
        for name in names
        if all(f"{name}{suffix}" in world for world in worlds)
    }


def difference(worlds: Sequence[Numbers], method: str) -> Mean:
    """Efficiency of the method minus that of GRPO in the same world."""
    return mean_of(
        [world[f"{method}: {EFFICIENCY}"] - world[f"{BASELINE}: {EFFICIENCY}"] for world in worlds]
    )


def table_of_methods(worlds: Sequence[Numbers]) -> str:
    """Markdown: a row for each method with its means and intervals over worlds."""
    lines = [
        f"| method | efficiency | minus `{BASELINE}` in the same world | KL, nats | "
        "iterations to 90% of its gain |",
        "|---|---:|---:|---:|---:|",
    ]
    methods = measures_of(worlds)
    for name, found in methods.items():
        compared = BASELINE in methods and name != BASELINE
        cells = [
            name,
            interval(found[EFFICIENCY], 3),
            interval(difference(worlds, name), 3) if compared else "",
            interval(found[KL], 1),
            interval(found[ITERATIONS], 0),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)
