"""What few_labels.py found: efficiencies by learner, number of labels and world, and tables."""

from collections.abc import Iterable, Mapping
from statistics import median
from typing import NamedTuple

from recipes.seed_results import Numbers, interval, mean_of

HEADLINE = "2 nats"
BASE, LAST = "base", "last"  # the plain reward model, and the weights of its last step
Worlds = Mapping[int, Numbers]
ByWorld = dict[int, float]


class Learner(NamedTuple):
    """A way to learn from so many labels."""

    experiment: str
    learner: str
    pairs: int  # of the same cost
    choices: int  # responses of a ranking

    def metric(self, measure: str) -> str:
        """The name of a metric in the file of results."""
        parts = (
            self.experiment,
            self.learner,
            f"{self.pairs} pairs",
            f"rankings of {self.choices}",
        )
        return f"{' | '.join(parts)}: {measure}"


def learner_of(metric: str) -> tuple[Learner, str] | None:
    """The learner and the measure of a metric; None for metrics of an experiment as a whole."""
    name, _, measure = metric.rpartition(": ")
    parts = name.split(" | ")
    if len(parts) != 4:
        return None
    pairs, choices = (int(word) for part in parts[2:] for word in part.split() if word.isdigit())
    return Learner(parts[0], parts[1], pairs, choices), measure


def found_in(worlds: Worlds, measure: str = HEADLINE) -> dict[Learner, ByWorld]:
    """This measure of every learner in each world."""
    found: dict[Learner, ByWorld] = {}
    for world, metrics in worlds.items():
        for metric, value in metrics.items():
            match = learner_of(metric)
            if match is not None and match[1] == measure:
                found.setdefault(match[0], {})[world] = value
    return found


def base_of(found: Mapping[Learner, ByWorld]) -> ByWorld:
    """The plain reward model's measure in each world; empty if it was not run."""
    bases = [learner for learner in found if learner[:2] == (BASE, LAST)]
    return found[bases[0]] if bases else {}


def differences(values: ByWorld, others: ByWorld) -> list[float]:
    """Differences in the worlds that have both."""
    return [value - others[world] for world, value in values.items() if world in others]


def as_table(worlds: Worlds, shown: Iterable[int]) -> str:
    """Markdown: every learner over the worlds to show, and its difference from the reward model."""
    chosen = {number: worlds[number] for number in shown if number in worlds}
    by_measure = {
        measure: found_in(chosen, measure)
        for measure in ("0.5 nats", HEADLINE, "4 nats", "correlation")
    }
    base = base_of(by_measure[HEADLINE])
    rows = [
        "| experiment | learner | pairs | K | mean [95%] | median | lowest | highest | "
        f"minus {BASE} | at 0.5 nats | at 4 nats | correlation | worlds |",
        f"|---|---|{'---:|' * 11}",
    ]
    for learner, of_world in by_measure[HEADLINE].items():
        values, changes = list(of_world.values()), differences(of_world, base)
        summary = [f"{f(values):.3f}" for f in (median, min, max)]
        others = [
            f"{median(by_measure[measure][learner].values()):.3f}"
            for measure in ("0.5 nats", "4 nats", "correlation")
        ]
        cells = [
            *(learner.experiment, learner.learner, f"{learner.pairs:,}", str(learner.choices)),
            *(interval(mean_of(values), 3), *summary),
            interval(mean_of(changes), 3) if changes else "",
            *others,
        ]
        rows.append(f"| {' | '.join(cells)} | {len(values)} |")
    return "\n".join(rows)
