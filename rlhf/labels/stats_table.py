"""The tables of `rlhf label stats`."""

from rich import box
from rich.console import Console
from rich.table import Table

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
    console.print(_annotator_table(stats, with_gold=with_gold))
    if len(stats.names) > 1:
        console.print(_agreement_table(stats))
    for concern in stats.concerns:
        console.print(f"check {concern.annotator}: {concern.reason}", markup=False)


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
