"""`rlhf label import | export | stats | simulate`."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from rlhf.errors import DataError
from rlhf.labels.export import export_rankings
from rlhf.labels.importing import import_file
from rlhf.labels.simulate import gold_points, load_annotators, simulate_labels
from rlhf.labels.stats import Share, StoreStats, label_stats
from rlhf.labels.store import LabelStore
from rlhf.rewards.reward import load_reward


def main(argv: Sequence[str]) -> int:
    """`rlhf label`."""
    given = _parser().parse_args(argv)
    console = Console(highlight=False)
    match given.command:
        case "import":
            _import(given, console)
        case "export":
            with LabelStore(given.store) as store:
                rows = export_rankings(store, given.output)
            console.print(f"{rows} rankings in {given.output}")
        case "simulate":
            _simulate(given, console)
        case "stats":
            _stats(given, console)
    return 0


def _import(given: argparse.Namespace, console: Console) -> None:
    with LabelStore(given.store, create=True) as store:
        if given.guideline:
            version = store.add_guideline(_read_text(given.guideline))
            console.print(f"guideline version {version}: {given.guideline}")
        for source in given.files:
            done = import_file(store, source, drop_bad_rows=given.drop_bad_rows)
            console.print(
                f"{source}: {done.rows} rows, {done.items} new items, {done.labels} new labels; "
                f"{done.blank} empty answers and {done.left_out} rows with fewer than two left "
                f"out, {done.dropped} bad rows dropped"
            )


def _read_text(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"guideline {path} cannot be read: {error}") from error


def _simulate(given: argparse.Namespace, console: Console) -> None:
    annotators = load_annotators(given.annotators)
    gold = load_reward([given.gold])
    with LabelStore(given.store) as store:
        count = simulate_labels(store, annotators, gold, seed=given.seed, overlap=given.overlap)
    console.print(f"{count} new labels of {len(annotators)} annotators in {given.store}")


def _stats(given: argparse.Namespace, console: Console) -> None:
    with LabelStore(given.store) as store:
        points = None
        if given.gold:
            items = store.items()
            scores = gold_points(items, load_reward([given.gold]))
            points = {item.id: row for item, row in zip(items, scores, strict=True)}
        stats = label_stats(store, points)
    console.print(
        f"{stats.labels} labels on {stats.labelled_items} of {stats.items} items; annotators "
        f"agree on {stats.agreement} of the pairs that both decide"
        + (f", with gold on {stats.gold_agreement}" if points is not None else "")
    )
    console.print(_table(stats, with_gold=points is not None))


def _table(stats: StoreStats, *, with_gold: bool) -> Table:
    table = Table(
        box=box.SIMPLE,
        padding=(0, 1, 0, 0),  # 80 columns hold it
        caption="pairs: of answers, that the annotator did not tie; "
        "first, longer: the share of them that the one shown first, the longer one won",
    )
    table.add_column("annotator", no_wrap=True)
    names = ["labels", "pairs", "tied", "agree", "first", "longer", "seconds"]
    for name in [*names, "gold"] if with_gold else names:
        table.add_column(name, justify="right")
    for one in stats.annotators:
        shares = [one.ties, one.agreement, one.first_shown, one.longer]
        cells = [one.name, str(one.labels), str(one.first_shown.n), *map(_cell, shares)]
        cells.append("-" if one.seconds is None else f"{one.seconds:.0f}")
        table.add_row(*cells, *([_cell(one.gold_agreement)] if with_gold else []))
    return table


def _cell(share: Share) -> str:
    return f"{share.value:.2f}" if share.n else "-"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="rlhf label", description="What people prefer, in one store.", allow_abbrev=False
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def command(name: str, sentence: str) -> Any:
        made = commands.add_parser(
            name,
            help=sentence,
            description=sentence,
            allow_abbrev=False,
            formatter_class=argparse.ArgumentDefaultsHelpFormatter,
        )
        made.add_argument("--store", required=True, help="SQLite file or database URL.")
        return made.add_argument

    add = command("import", "Put candidates, rankings or pairs into the store.")
    add("files", nargs="+", help="JSONL, JSON, Parquet or CSV files, or hub ids.")
    add("--guideline", help="Text file that annotators go by; a new text is a new version.")
    add("--drop_bad_rows", action="store_true", help="Leave bad rows out instead of stopping.")
    add = command("export", "Write every label as a row of rankings.")
    add("--output", required=True, help="JSONL file to write.")
    add = command("stats", "Counts, agreement and biases of each annotator.")
    add("--gold", help="Gold score to compare with: file.py:function or a reward model.")
    add = command("simulate", "Have simulated annotators label the items.")
    add("--annotators", required=True, help="YAML file: who they are and how they err.")
    add("--gold", required=True, help="What they see through noise: file.py:function.")
    add("--overlap", type=int, default=1, help="Annotators that label each item.")
    add("--seed", type=int, default=0, help="Seed of their slips.")
    return parser
