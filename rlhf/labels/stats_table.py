"""The tables of `rlhf label stats`."""

from collections.abc import Mapping, Sequence

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from rlhf.evaluation.stats.bootstrap import Estimate
from rlhf.evaluation.stats.bradley_terry import MIN_PROMPTS
from rlhf.evaluation.stats.parts import LEVEL
from rlhf.labels.answer_stats import AnswerStats
from rlhf.labels.model_results import ModelResults
from rlhf.labels.pre_label_effect import PreLabelEffect
from rlhf.labels.shares import Share
from rlhf.labels.stats import StoreStats
from rlhf.runtime.printing import counted


def print_stats(console: Console, stats: StoreStats, *, with_gold: bool) -> None:
    """Print counts, agreement, a row per annotator, and concerns."""
    gold = f"; with the gold score on {stats.gold_agreement}" if with_gold else ""
    console.print(
        f"{counted(stats.labels, 'label')} on {stats.labelled_items} of "
        f"{counted(stats.items, 'item')}; annotators agree on {stats.agreement} of the pairs that "
        f"both annotators ordered{gold}"
    )
    console.print(
        f"Krippendorff's alpha of the ranks: {stats.alpha}; "
        f"{counted(stats.skips, 'skip')}, {counted(stats.late, 'late label')}"
    )
    if stats.visitors_votes:
        console.print(
            f"{counted(stats.visitors_votes, 'vote')} of the arena's visitors, in the results of "
            "the models only"
        )
    console.print(_annotator_table(stats, with_gold=with_gold))
    if len(stats.names) > 1:
        console.print(_agreement_table(stats))
    if stats.pre_labels is not None:
        console.print(_pre_label_table(stats.pre_labels))
    if stats.answers.criteria:
        console.print(_answer_table(stats.answers))
    if stats.answers.unknown:
        console.print(
            f"{counted(stats.answers.unknown, 'label')} with answers in an unknown form, not "
            "counted: older than version 6 of the store, or imported before `rlhf label import "
            "--form FORM`"
        )
    for concern in stats.concerns:
        console.print(f"check {concern.annotator}: {concern.reason}", markup=False)


def _pre_label_table(effect: PreLabelEffect) -> Table:
    table = Table(
        box=box.SIMPLE,
        padding=(0, 1, 0, 0),
        caption=f"effect of pre-labels: {effect.changed} of the labels changed after the model's "
        f"ranks were shown, {effect.towards_model} of these towards the model; first choices "
        f"agreed with it on {effect.first_with_model} of pairs",
    )
    table.add_column("model's ranks")
    for name in ("labels", "with the model", "with others", "gold items"):
        table.add_column(name, justify="right")
    for name, group in (("shown", effect.shown), ("held out", effect.held_out)):
        shares = (group.with_model, group.with_others, group.gold)
        table.add_row(name, str(group.labels), *map(str, shares))
    return table


def _answer_table(answers: AnswerStats) -> Table:
    table = Table(
        box=box.SIMPLE,
        padding=(0, 1, 0, 0),
        caption="answers to the form: how often each was given; Krippendorff's alpha, ordinal for "
        "ratings and nominal for the others",
    )
    table.add_column("criterion", overflow="fold")
    table.add_column("answers", justify="right")
    table.add_column("given", overflow="fold")
    table.add_column("alpha", justify="right")
    for one in answers.criteria:
        given = ", ".join(f"{value}: {count}" for value, count in one.counts.items())
        mean = "" if one.mean is None else f"; mean {one.mean:.2f}"
        alpha = f"{one.alpha.value:.2f} (n={one.alpha.n})" if one.alpha.n else "-"
        table.add_row(Text(one.name), str(one.answers), Text(given + mean), alpha)
    return table


def print_model_results(console: Console, results: ModelResults) -> None:
    """Print which model annotators preferred; nothing if no label compares two models."""
    if not results.models:
        return
    table = Table(
        box=box.SIMPLE,
        padding=(0, 1, 0, 0),
        caption=f"which model won: {counted(results.games, 'comparison')} at "
        f"{counted(results.prompts, 'prompt')}; 95% intervals resample prompts; detects: smallest "
        "true difference found with 80% power; strength: Bradley-Terry, in nats, without an "
        f"interval of a model with fewer than {MIN_PROMPTS} prompts",
    )
    table.add_column("model", overflow="fold")
    for name in ("strength", "win rate", "comparisons"):
        table.add_column(name, justify="right")
    for one in results.models:
        _add_rows(table, one.model, [one.strength, one.win_rate], str(one.games))
    console.print(table)
    for title, groups, q in (
        ("category", results.by_category, results.q_by_category),
        ("annotator", results.by_annotator, results.q_by_annotator),
    ):
        if len(groups) > 1:
            console.print(_group_table(title, groups, q, [one.model for one in results.models]))


def _group_table(
    title: str,
    groups: Mapping[str, Mapping[str, Estimate]],
    q: Mapping[str, Mapping[str, float]],
    models: Sequence[str],
) -> Table:
    table = Table(
        box=box.SIMPLE,
        padding=(0, 1, 0, 0),
        caption=f"win rates by {title}, 95% intervals; *: differs from the rest (q below "
        f"{LEVEL:.0%}, corrected for the number of rows)",
    )
    table.add_column(title)
    for model in models:
        table.add_column(model, justify="right", overflow="fold")
    for name, rates in groups.items():
        cells = [
            _interval(rates.get(model)) + ("*" if q.get(name, {}).get(model, 1.0) < LEVEL else "")
            for model in models
        ]
        table.add_row(name or "(none)", *cells)
        table.add_row("  detects", *(_detects(rates.get(model)) for model in models))
    return table


def _add_rows(table: Table, label: str, figures: Sequence[Estimate], *cells: str) -> None:
    """Add a row of figures with intervals and further cells, and one of what they detect."""
    table.add_row(label, *map(_interval, figures), *cells)
    table.add_row("  detects", *map(_detects, figures), *("" for _ in cells))


def _interval(one: Estimate | None) -> str:
    if one is None:
        return "-"
    return f"{one.value:.2f}" + (f" [{one.low:.2f}, {one.high:.2f}]" if one.has_interval else "")


def _detects(one: Estimate | None) -> str:
    return "-" if one is None or one.mde is None else f"± {one.mde:.2f}"


def _annotator_table(stats: StoreStats, *, with_gold: bool) -> Table:
    table = Table(
        box=box.SIMPLE,
        padding=(0, 1, 0, 0),  # fits into 80 columns
        caption="pairs: pairs of responses that the annotator did not tie; "
        "first, longer: share of pairs won by the response shown first, by the longer one; "
        "gold items: share right; self: same decision on repeats",
    )
    table.add_column("annotator", no_wrap=True)
    names = ["labels", "pairs", "tied", "agree", "first", "longer", "gold items", "self", "seconds"]
    for name in [*names, "gold score"] if with_gold else names:
        table.add_column(name, justify="right")
    for one in stats.annotators:
        shares = [one.ties, one.agreement, one.first_shown, one.longer]
        shares += [one.gold_items, one.self_agreement]
        cells = [one.name, str(one.labels), str(one.decided), *map(_cell, shares)]
        cells.append("-" if one.seconds is None else f"{one.seconds:.0f}")
        table.add_row(*cells, *([_cell(one.gold_agreement)] if with_gold else []))
    return table


def _agreement_table(stats: StoreStats) -> Table:
    table = Table(box=box.SIMPLE, padding=(0, 1, 0, 0), caption="pairwise agreement of annotators")
    table.add_column("", no_wrap=True)
    for name in stats.names:
        table.add_column(name, justify="right")
    for name in stats.names:
        row = [stats.matrix[name].get(other) for other in stats.names]
        table.add_row(name, *("·" if share is None else _cell(share) for share in row))
    return table


def _cell(share: Share) -> str:
    return f"{share.value:.2f}" if share.n else "-"
