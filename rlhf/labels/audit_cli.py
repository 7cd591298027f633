"""`rlhf label audit | erase | retain`: what people did in a store, and how to delete it."""

import argparse
import json
import time
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table

from rlhf.errors import ConfigError
from rlhf.labels.audit import (
    AuditEntry,
    AuditFilter,
    as_row,
    entries,
    record_command,
    since_days,
)
from rlhf.labels.erase import Erasure, erase_older, erase_person
from rlhf.labels.formats import as_jsonl
from rlhf.labels.participants_cli import forget_older, forget_participant
from rlhf.labels.records import normalized_name
from rlhf.labels.store import LabelStore
from rlhf.manifest import write_atomically
from rlhf.runtime.paths import check_output_file
from rlhf.runtime.printing import counted, plain_console


def audit(args: argparse.Namespace, console: Console) -> None:
    """`rlhf label audit`: print the newest entries, or write all of them."""
    if args.output:
        check_output_file(Path(args.output))
    if args.days < 0 or args.limit < 1:
        raise ConfigError(
            f"days={args.days:g}, limit={args.limit}: use at least 0 days and a limit of 1.",
            code="bad-value",
        )
    since = since_days(args.days, now=time.time())
    wanted = AuditFilter(who=normalized_name(args.who), item_id=args.item, since=since)
    with LabelStore(args.store, create=False) as store, store.read() as connection:
        found = list(entries(connection, wanted))
    if args.output:
        text = as_jsonl([as_row(one) for one in found])
        write_atomically(Path(args.output), text, private=True)
        console.print(f"{counted(len(found), 'entry', 'entries')} in {args.output}")
        return
    shown = found[-args.limit :]
    for one in shown:
        console.print(_line(one))
    console.print(f"{len(shown)} of {counted(len(found), 'entry', 'entries')}; --output has all")


def _line(one: AuditEntry) -> str:
    moment = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(one.at))
    role = "" if one.role is None else f" ({one.role})"
    item = "" if one.item_id is None else f", item {one.item_id}"
    details = json.dumps(one.details, ensure_ascii=False) if one.details else ""
    return f"{moment}  {one.who}{role}: {one.action}{item} {details}".rstrip()


def erase(args: argparse.Namespace, console: Console) -> None:
    """`rlhf label erase`: delete a person's data and print a report."""
    with LabelStore(args.store, create=False) as store:
        erasure = erase_person(store, args.name, dry_run=args.dry_run)
        if not args.dry_run:
            _record(store, "erase", {}, erasure)
            forget_participant(args.store, args.name)
    print_report(erasure, console, dry_run=args.dry_run)


def retain(args: argparse.Namespace, console: Console) -> None:
    """`rlhf label retain`: delete what is older and print a report."""
    with LabelStore(args.store, create=False) as store:
        before = since_days(args.days, now=time.time())
        erasure = erase_older(store, args.days, dry_run=args.dry_run)
        if not args.dry_run:
            _record(store, "retain", {"days": args.days}, erasure)
        forgotten = forget_older(store, args.store, before, dry_run=args.dry_run)
    print_report(erasure, console, dry_run=args.dry_run)
    if forgotten:
        verb = "would be removed" if args.dry_run else "removed"
        console.print(f"platform ids of {counted(forgotten, 'participant')} {verb}")


def _record(store: LabelStore, command: str, details: dict[str, object], erasure: Erasure) -> None:
    """Record the command without the name of an erased person."""
    with store.write() as connection:
        record_command(connection, command, {**details, "removed": dict(erasure.removed)})


def print_report(erasure: Erasure, console: Console, *, dry_run: bool) -> None:
    """Print what was removed and what stays, in rows by table."""
    table = Table("table", box=box.SIMPLE)
    heads = ("would be removed", "would lose the name") if dry_run else ("removed", "name removed")
    for head in (*heads, "stay"):
        table.add_column(head, justify="right")
    for name, left in erasure.left.items():
        counts = (erasure.removed.get(name, 0), erasure.renamed.get(name, 0), left)
        table.add_row(name, *map(str, counts))
    plain_console().print(table)
    console.print(f"{counted(erasure.labels, 'label')} among the removed events.")
    after = [(erasure.places, "place of an item", "places of items", "free again")]
    after += [(erasure.retired, "item", "items", "retired, which the queue hands out no more")]
    for number, one, many, state in after:
        if number:
            verb = "would be" if dry_run else "is" if number == 1 else "are"
            console.print(f"{counted(number, one, many)} {verb} {state}.")
    console.print(
        "Not in the store, and not changed: earlier exports, backups, events that webhooks have "
        "sent, and texts of others that name the person. Export again."
    )
