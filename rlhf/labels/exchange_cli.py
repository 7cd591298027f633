"""`rlhf label import | export`: between files and the store."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from rlhf.data.rows.bad_rows import REJECTS, BadRows
from rlhf.errors import ConfigError, DataError
from rlhf.labels.consensus import REWARD_WEIGHTED
from rlhf.labels.consensus_rows import ConsensusOptions
from rlhf.labels.form_config import load_form
from rlhf.labels.form_versions import add_form
from rlhf.labels.scores import scores_by_item
from rlhf.labels.store import LabelStore
from rlhf.runtime.printing import counted

if TYPE_CHECKING:
    from rlhf.labels.importing import ImportResult

# Modules that load torch are imported by the command that needs them.


def import_files(args: argparse.Namespace, console: Console) -> None:
    """`rlhf label import`: files, a guideline and a form into the store."""
    from rlhf.labels.importing import import_file

    if not args.files and not args.guideline and not args.form:
        raise ConfigError(
            "import needs files, --guideline FILE or --form FORM.", code="missing-key"
        )
    form = load_form(args.form) if args.form else None
    with LabelStore(args.store, create=True) as store:
        if args.guideline:
            version = store.add_guideline(_read_text(args.guideline))
            console.print(f"guideline version {version}: {args.guideline}")
        if form is not None:
            with store.write() as connection:
                version = add_form(connection, form)
            console.print(f"form version {version}: {args.form}")
        for source in args.files:
            rejects = _folder_of(args.store) / f"{Path(source).name}.{REJECTS}"
            result = import_file(
                store,
                source,
                bad_rows=BadRows(drop=args.drop_bad_rows, reject_file=rejects),
                as_gold=args.as_gold,
                as_candidates=args.as_candidates,
                tag_columns=args.tag_columns,
            )
            console.print(_summary(source, result, rejects))


def _summary(source: str, result: "ImportResult", rejects: Path) -> str:
    """What a file added to the store, and what was left out of it."""
    left_out = []
    if result.blank:
        left_out.append(counted(result.blank, "empty response"))
    if result.left_out:
        left_out.append(f"{counted(result.left_out, 'row')} with fewer than two responses")
    if result.dropped:
        left_out.append(f"{counted(result.dropped, 'bad row')}, listed in {rejects}")
    return (
        f"{source}: {counted(result.rows, 'row')}, {counted(result.items, 'new item')}, "
        f"{counted(result.labels, 'new label')}"
        + (f"; left out: {', '.join(left_out)}" if left_out else "")
    )


def _folder_of(store: str) -> Path:
    """The folder of a store's file; the current folder for a database URL."""
    return Path() if "://" in store else Path(store).parent


def _read_text(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(
            f"guideline {path} cannot be read: {error}", code="unreadable-file"
        ) from error


def export_labels(args: argparse.Namespace, console: Console) -> None:
    """`rlhf label export`: a file of labels, and its card; on request on the hub too."""
    from rlhf.labels.export import FOR_TOOLS, card_path, export
    from rlhf.labels.push_to_hub import check_hub_id, push_labels

    if args.push_to_hub is not None:
        check_hub_id(args.push_to_hub)
        if args.kind in FOR_TOOLS:
            raise ConfigError(
                f"--push_to_hub uploads rows with a card, and {args.kind} has none; use another "
                "--kind.",
                code="key-conflict",
            )
    with LabelStore(args.store, create=False) as store:
        exported = export(
            store,
            args.output,
            args.kind,
            _consensus(args, store),
            consent=args.consent,
            license_name=args.license,
        )
    noun = {
        "thumbs": "thumb",
        "gold": "gold label",
        "work": "row",
        "argilla": "record",
        "label_studio": "task",
    }
    kind = noun.get(args.kind, args.kind.removesuffix("s"))
    console.print(f"{counted(len(exported.rows), kind)} in {args.output}")
    for reason, count in exported.left_out.items():
        console.print(f"left out: {reason}: {count}")
    if args.push_to_hub is not None:
        path = Path(args.output)
        card = card_path(path).read_text(encoding="utf-8")
        address = push_labels(path, card, args.push_to_hub, public=args.public)
        console.print(f"uploaded to {address}")


def _consensus(args: argparse.Namespace, store: LabelStore) -> ConsensusOptions | None:
    if args.reward_model and args.consensus != REWARD_WEIGHTED:
        raise ConfigError(
            f"reward_model={args.reward_model} is read with --consensus {REWARD_WEIGHTED}; add "
            "it, or leave the model out.",
            code="key-conflict",
        )
    if args.consensus is None:
        return None
    model = args.reward_model or ""
    scores = scores_by_item(store, model) if model else None
    return ConsensusOptions(method=args.consensus, scores=scores, reward_model=model)
