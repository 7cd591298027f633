"""`rlhf label participants`, and the study of `rlhf label serve --crowd`."""

import argparse
import contextlib
import csv
import io
from collections import Counter
from dataclasses import asdict
from pathlib import Path

from rich.console import Console

from rlhf.errors import ConfigError, DataError
from rlhf.labels.crowd import CrowdConfig, Participants, participants_file
from rlhf.labels.log_queries import active_since
from rlhf.labels.records import LABEL
from rlhf.labels.store import LabelStore
from rlhf.manifest import write_atomically
from rlhf.runtime.printing import counted

COLUMNS = ("platform", "person", "study", "session", "annotator", "labels", "entered")


def crowd_of(args: argparse.Namespace) -> CrowdConfig | None:
    """The study that the options of `rlhf label serve` name.

    Raises:
        ConfigError: options that do not go together, or an unusable value.
    """
    if args.crowd is None:
        for name in ("completion_code", "labels_per_person"):
            if getattr(args, name) is not None:
                raise ConfigError(
                    f"--{name} needs --crowd prolific or mturk; add it, or leave the other out.",
                    code="key-conflict",
                )
        return None
    if args.completion_code is None:
        raise ConfigError(
            f"--crowd {args.crowd} needs --completion_code, which participants get at the end; "
            "copy it from the platform, or for mturk choose one.",
            code="missing-key",
        )
    return CrowdConfig(
        platform=args.crowd,
        completion_code=args.completion_code,
        labels_per_person=args.labels_per_person,
    )


def participants(args: argparse.Namespace, console: Console) -> None:
    """`rlhf label participants`: write the list."""
    with LabelStore(args.store, create=False) as store:
        count = write_participants(store, args.store, args.output)
    console.print(f"{counted(count, 'participant')} in {args.output}")


def write_participants(store: LabelStore, location: str, output: str) -> int:
    """Write the participants with their number of labels to a CSV file, mode 0600; their number.

    Args:
        store: the labels.
        location: of the store; the participants' file is next to it.
        output: the file to write.

    Raises:
        DataError: there is no participants' file, or the output cannot be written.
    """
    file = participants_file(location)
    if not file.is_file():
        raise DataError(
            f"{file}: no such file; `rlhf label serve --crowd` makes it when it starts.",
            code="missing-file",
        )
    with contextlib.closing(Participants(file)) as listed:
        everyone = listed.everyone()
    labels = Counter(label.annotator for label in store.labels() if label.purpose == LABEL)
    rows = [asdict(one) | {"labels": labels[one.annotator]} for one in everyone]
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS)  # no cell can be a formula: ids have letters and digits
    writer.writeheader()
    writer.writerows(rows)
    try:
        write_atomically(Path(output), text.getvalue(), private=True)
    except OSError as error:
        raise DataError(
            f"{output} cannot be written: {error.strerror}; name another --output.",
            code="unreadable-file",
        ) from error
    return len(rows)


def forget_participant(location: str, annotator: str) -> bool:
    """Delete a participant's ids; whether there were any."""
    file = participants_file(location)
    if not file.is_file():
        return False
    with contextlib.closing(Participants(file)) as listed:
        return listed.forget(annotator)


def forget_older(store: LabelStore, location: str, before: float, *, dry_run: bool) -> int:
    """Delete the ids of participants who came before a time and of whom nothing newer is stored.

    Args:
        store: the labels.
        location: of the store; the participants' file is next to it.
        before: in seconds since 1970.
        dry_run: only count.

    Returns:
        their number.
    """
    file = participants_file(location)
    if not file.is_file():
        return 0
    with store.read() as connection:
        newer = active_since(connection, before)
    with contextlib.closing(Participants(file)) as listed:
        old = [
            one.annotator
            for one in listed.everyone()
            if one.entered < before and one.annotator not in newer
        ]
        for name in [] if dry_run else old:
            listed.forget(name)
    return len(old)
