"""`rlhf label serve | import | export | stats | simulate | prioritize | invite | erase`."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from rlhf.data.rows.bad_rows import REJECTS, BadRows
from rlhf.errors import ConfigError, DataError
from rlhf.labels.database import shown
from rlhf.labels.selection import QueueConfig
from rlhf.labels.stats import Share, StoreStats, label_stats
from rlhf.labels.store import LabelStore
from rlhf.runtime.printing import plain_console

# What loads torch is imported by the command that needs it: `serve` is to start at once.


def main(argv: Sequence[str]) -> int:
    """`rlhf label`."""
    given = _parser().parse_args(argv)
    console = plain_console()
    match given.command:
        case "serve":
            _serve(given)
        case "import":
            _import(given, console)
        case "export":
            _export(given, console)
        case "simulate":
            _simulate(given, console)
        case "stats":
            _stats(given, console)
        case "prioritize":
            _prioritize(given, console)
        case "invite":
            _invite(given, console)
        case "erase":
            _erase(given, console)
    return 0


def _serve(given: argparse.Namespace) -> None:
    try:
        from rlhf.labels.web.config import LabelServerConfig
        from rlhf.labels.web.serve import serve
    except ImportError as error:
        raise ConfigError(
            f"the web app needs {error.name}; install it with pip install -e '.[labels]'."
        ) from error
    config = LabelServerConfig(
        store=given.store,
        host=given.host,
        port=given.port,
        public=given.public,
        allowed_hosts=given.allowed_hosts,
        https=given.https,
        annotators=given.annotators,
        form=given.form,
        new_admin_token=given.new_admin_token,
        models=given.model,
        num_responses=given.num_responses,
        max_new_tokens=given.max_new_tokens,
        until=given.until,
    )
    queue = QueueConfig(
        overlap=given.overlap,
        seed=given.seed,
        gold_rate=given.gold_rate,
        repeat_rate=given.repeat_rate,
        active_floor=given.active_floor,
        lease_seconds=60 * given.lease_minutes,
    )
    serve(config, queue)


def _import(given: argparse.Namespace, console: Console) -> None:
    from rlhf.labels.importing import import_file

    with LabelStore(given.store, create=True) as store:
        if given.guideline:
            version = store.add_guideline(_read_text(given.guideline))
            console.print(f"guideline version {version}: {given.guideline}")
        for source in given.files:
            rejects = _folder_of(given.store) / f"{Path(source).name}.{REJECTS}"
            done = import_file(
                store,
                source,
                bad_rows=BadRows(drop=given.drop_bad_rows, reject_file=rejects),
                as_gold=given.as_gold,
                as_candidates=given.as_candidates,
            )
            console.print(
                f"{source}: {done.rows} rows, {done.items} new items, {done.labels} new labels; "
                f"{done.blank} empty answers and {done.left_out} rows with fewer than two left "
                f"out, {done.dropped} bad rows dropped"
                + (f" into {rejects}" if done.dropped else "")
            )


def _folder_of(store: str) -> Path:
    """The folder of a store that is a file; the current one where a server has it."""
    return Path() if "://" in store else Path(store).parent


def _export(given: argparse.Namespace, console: Console) -> None:
    from rlhf.labels.export import export

    with LabelStore(given.store) as store:
        made = export(store, given.output, given.kind)
    console.print(f"{len(made.rows)} {given.kind} in {given.output}")
    for reason, count in made.left_out.items():
        console.print(f"left out: {count} {reason}")


def _read_text(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"guideline {path} cannot be read: {error}") from error


def _simulate(given: argparse.Namespace, console: Console) -> None:
    from rlhf.labels.simulate import load_annotators, simulate_labels
    from rlhf.rewards.reward import load_reward

    annotators = load_annotators(given.annotators)
    gold = load_reward([given.gold])
    with LabelStore(given.store) as store:
        count = simulate_labels(store, annotators, gold, seed=given.seed, overlap=given.overlap)
    console.print(f"{count} new labels of {len(annotators)} annotators in {shown(given.store)}")


def _prioritize(given: argparse.Namespace, console: Console) -> None:
    from rlhf.labels.priorities import prioritize

    with LabelStore(given.store) as store:
        count = prioritize(store, given.reward_model)
    console.print(
        f"{count} items have a priority; `rlhf label serve --active_floor 0.2` draws by it"
    )


def _invite(given: argparse.Namespace, console: Console) -> None:
    from rlhf.labels.access import invite

    with LabelStore(given.store) as store:
        for name in given.names:
            console.print(f"{name}: {given.address}/login#{invite(store, name)}", soft_wrap=True)


def _erase(given: argparse.Namespace, console: Console) -> None:
    with LabelStore(given.store) as store:
        count = store.erase(given.annotator)
    console.print(
        f"{count} events deleted and a tombstone left. Files that were exported before still hold "
        "them: export again."
    )


def _stats(given: argparse.Namespace, console: Console) -> None:
    with LabelStore(given.store) as store:
        points = None
        if given.gold:
            from rlhf.labels.simulate import gold_points
            from rlhf.rewards.reward import load_reward

            items = store.items()
            scores = gold_points(items, load_reward([given.gold]))
            points = {item.id: row for item, row in zip(items, scores, strict=True)}
        stats = label_stats(store, points)
    console.print(
        f"{stats.labels} labels on {stats.labelled_items} of {stats.items} items; annotators "
        f"agree on {stats.agreement} of the pairs that both decide"
        + (f", with gold on {stats.gold_agreement}" if points is not None else "")
    )
    console.print(
        f"Krippendorff's alpha of the ranks: {stats.alpha}; {stats.skips} skips, "
        f"{stats.late} labels too late"
    )
    console.print(_table(stats, with_gold=points is not None))
    if len(stats.names) > 1:
        console.print(_matrix_table(stats))
    for concern in stats.concerns:
        console.print(f"look at {concern.annotator}: {concern.reason}", markup=False)


def _matrix_table(stats: StoreStats) -> Table:
    table = Table(box=box.SIMPLE, padding=(0, 1, 0, 0), caption="who agrees with whom, on pairs")
    table.add_column("", no_wrap=True)
    for name in stats.names:
        table.add_column(name, justify="right")
    for name in stats.names:
        row = [stats.matrix[name].get(other) for other in stats.names]
        table.add_row(name, *("·" if share is None else _cell(share) for share in row))
    return table


def _table(stats: StoreStats, *, with_gold: bool) -> Table:
    table = Table(
        box=box.SIMPLE,
        padding=(0, 1, 0, 0),  # 80 columns hold it
        caption="pairs: of answers, that the annotator did not tie; "
        "first, longer: the share of them that the one shown first, the longer one won; "
        "checks: right on gold items; self: the same on repeats",
    )
    table.add_column("annotator", no_wrap=True)
    names = ["labels", "pairs", "tied", "agree", "first", "longer", "checks", "self", "seconds"]
    for name in [*names, "gold"] if with_gold else names:
        table.add_column(name, justify="right")
    for one in stats.annotators:
        shares = [one.ties, one.agreement, one.first_shown, one.longer]
        shares += [one.gold_items, one.self_agreement]
        cells = [one.name, str(one.labels), str(one.decided), *map(_cell, shares)]
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

    add = command("serve", "Open the page on which people rank answers.")
    add("--host", default="127.0.0.1", help="Address to bind; another needs --public.")
    add("--port", type=int, default=8000, help="Port to bind; 0 takes a free one.")
    add("--public", action="store_true", help="Allow an address that others can reach.")
    add("--allowed_hosts", nargs="*", default=[], help="Host names that browsers may use.")
    add("--https", action="store_true", help="Behind a proxy with HTTPS: cookies are Secure.")
    add("--annotators", nargs="*", default=[], help="Print an invite link for each new name.")
    add("--form", help="YAML file: flags, skip_reasons, overall, comment, rewrite.")
    add("--new_admin_token", action="store_true", help="Replace the researcher's link.")
    add("--overlap", type=int, default=1, help="Annotators that label each item.")
    add("--seed", type=int, default=0, help="Seed of the order in which answers are shown.")
    add("--gold_rate", type=float, default=0.0, help="Share of gold items mixed in.")
    add("--repeat_rate", type=float, default=0.0, help="Share of repeated items mixed in.")
    add("--active_floor", type=float, help="Draw by priority, this share at random.")
    add("--lease_minutes", type=float, default=15.0, help="Until an item left alone is free.")
    add("--until", help="Stop by itself when that many labels stand, or `all` that are wanted.")
    add("--model", nargs="*", default=[], help="Models that answer what annotators ask.")
    add("--num_responses", type=int, default=4, help="Answers of these models to a question.")
    add("--max_new_tokens", type=int, default=128, help="Longest of these answers, in tokens.")
    add = command("invite", "Make a link for each annotator; their old links end.")
    add("names", nargs="+", help="Names, as they stand in the exported rows.")
    add("--address", default="http://127.0.0.1:8000", help="Where the page is served.")
    add = command("erase", "Delete all that an annotator said; a tombstone stays.")
    add("annotator", help="Name of the annotator.")
    add = command("prioritize", "Give items that reward models are unsure of a higher priority.")
    add("--reward_model", nargs="+", required=True, help="One (its margin) or several (variance).")
    add = command("import", "Put candidates, rankings or pairs into the store.")
    add("files", nargs="+", help="JSONL, JSON, Parquet or CSV files, or hub ids.")
    add("--guideline", help="Text file that annotators go by; a new text is a new version.")
    add("--drop_bad_rows", action="store_true", help="Leave bad rows out instead of stopping.")
    add("--as_gold", action="store_true", help="The rows' ranks are known: they measure people.")
    add("--as_candidates", action="store_true", help="Leave the rows' own ranks out.")
    add = command("export", "Write the labels as rows for training.")
    add("--output", required=True, help="File to write: .jsonl, .csv or .parquet.")
    kinds = ("rankings", "pairs", "demonstrations", "thumbs")
    add("--kind", choices=kinds, default="rankings", help="Rows to write; rankings lose nothing.")
    add = command("stats", "Counts, agreement and biases of each annotator.")
    add("--gold", help="Gold score to compare with: file.py:function or a reward model.")
    add = command("simulate", "Have simulated annotators label the items.")
    add("--annotators", required=True, help="YAML file: who they are and how they err.")
    add("--gold", required=True, help="What they see through noise: file.py:function.")
    add("--overlap", type=int, default=1, help="Annotators that label each item.")
    add("--seed", type=int, default=0, help="Seed of their slips.")
    return parser
