"""`rlhf label COMMAND`: serve, import, export, stats, simulate, prioritize, prelabel and others."""

import argparse
import os
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from rlhf.data.rows.bad_rows import REJECTS, BadRows
from rlhf.errors import ConfigError, DataError
from rlhf.labels import audit_cli, people_cli
from rlhf.labels.cli_parser import parser
from rlhf.labels.consensus import REWARD_WEIGHTED
from rlhf.labels.consensus_rows import ConsensusOptions
from rlhf.labels.database import display_location
from rlhf.labels.model_results import games_of, model_results
from rlhf.labels.project_list import load_projects
from rlhf.labels.selection import QueueConfig
from rlhf.labels.stats import label_stats
from rlhf.labels.stats_table import print_model_results, print_stats
from rlhf.labels.store import LabelStore
from rlhf.runtime.printing import counted, plain_console

# Modules that load torch are imported by the command that needs them, so that `serve` starts fast.


def main(argv: Sequence[str]) -> int:
    """`rlhf label`."""
    args = parser().parse_args(argv)
    console = plain_console(soft_wrap=True)  # a line with a command can be pasted
    match args.command:
        case "serve":
            _serve(args)
        case "import":
            _import(args, console)
        case "export":
            _export(args, console)
        case "simulate":
            _simulate(args, console)
        case "stats":
            _stats(args)
        case "prioritize":
            _prioritize(args, console)
        case "prelabel":
            _prelabel(args, console)
        case "invite":
            people_cli.invite(args, console)
        case "people":
            people_cli.people(args, console)
        case "token":
            people_cli.token(args, console)
        case "audit":
            audit_cli.audit(args, console)
        case "erase":
            audit_cli.erase(args, console)
        case "retain":
            audit_cli.retain(args, console)
    return 0


def _serve(args: argparse.Namespace) -> None:
    try:
        from rlhf.labels.web.config import LabelServerConfig
        from rlhf.labels.web.oidc import OidcConfig
        from rlhf.labels.web.proxy_login import proxy_login
        from rlhf.labels.web.serve import serve
        from rlhf.labels.web.serve_projects import serve_projects
        from rlhf.labels.webhook import Webhook
    except ImportError as error:
        raise ConfigError(
            f"the label page needs {error.name}; run `pip install 'rlhf[labels]'`.",
            code="missing-package",
        ) from error
    secret = os.environ.get("RLHF_WEBHOOK_SECRET", "")
    oidc = None
    if args.oidc_issuer is not None:
        oidc = OidcConfig(
            issuer=args.oidc_issuer,
            client_id=args.oidc_client_id,
            client_secret=os.environ.get("RLHF_OIDC_CLIENT_SECRET", ""),
            name_claim=args.oidc_name_claim,
            role_claim=args.oidc_role_claim,
        )
    elif args.oidc_client_id or args.oidc_role_claim:
        raise ConfigError(
            "--oidc_client_id and --oidc_role_claim need --oidc_issuer, the address of the "
            "provider; add it.",
            code="missing-key",
        )
    config = LabelServerConfig(
        store=args.store or "",
        projects=load_projects(args.projects) if args.projects else (),
        host=args.host,
        port=args.port,
        public=args.public,
        allowed_hosts=args.allowed_hosts,
        https=args.https,
        proxy=proxy_login(args.proxy_user_header, args.trusted_proxy),
        oidc=oidc,
        annotators=args.annotators,
        form=args.form,
        new_admin_token=args.new_admin_token,
        models=args.model,
        server=args.server,
        num_responses=args.num_responses,
        max_new_tokens=args.max_new_tokens,
        until=args.until,
        webhook=Webhook(url=args.webhook, secret=secret) if args.webhook else None,
    )
    queue = QueueConfig(
        overlap=args.overlap,
        seed=args.seed,
        gold_rate=args.gold_rate,
        repeat_rate=args.repeat_rate,
        active_floor=args.active_floor,
        max_overlap=args.max_overlap,
        disagreement=args.disagreement,
        qualification=args.qualification,
        pass_mark=args.pass_mark,
        pre_label_share=args.pre_label_share,
        tries=args.tries,
        lease_seconds=60 * args.lease_minutes,
    )
    if config.projects:
        serve_projects(config, queue)
    elif config.store:
        serve(config, queue)
    else:
        raise ConfigError("serve needs --store FILE, or --projects FILE.", code="missing-key")


def _import(args: argparse.Namespace, console: Console) -> None:
    from rlhf.labels.importing import import_file

    if not args.files and not args.guideline:
        raise ConfigError("import needs files, or --guideline FILE.", code="missing-key")
    with LabelStore(args.store, create=True) as store:
        if args.guideline:
            version = store.add_guideline(_read_text(args.guideline))
            console.print(f"guideline version {version}: {args.guideline}")
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
            console.print(
                f"{source}: {counted(result.rows, 'row')}, {counted(result.items, 'new item')}, "
                f"{counted(result.labels, 'new label')}; left out: "
                f"{counted(result.blank, 'empty response')} and {counted(result.left_out, 'row')} "
                f"with fewer than two responses; {counted(result.dropped, 'bad row')} dropped"
                + (f" into {rejects}" if result.dropped else "")
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


def _export(args: argparse.Namespace, console: Console) -> None:
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
    noun = {"thumbs": "thumb", "argilla": "record", "label_studio": "task"}
    kind = noun.get(args.kind, args.kind.removesuffix("s"))
    console.print(f"{counted(len(exported.rows), kind)} in {args.output}")
    for reason, count in exported.left_out.items():
        console.print(f"left out: {count} {reason}")
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
    scores = _scores(store, args.reward_model) if args.reward_model else None
    return ConsensusOptions(method=args.consensus, scores=scores)


def _scores(store: LabelStore, source: str) -> dict[int, Sequence[float]]:
    """Item id -> the source's score of each response."""
    from rlhf.labels.simulate import gold_scores
    from rlhf.rewards.reward import load_reward

    items = store.items()
    by_item = gold_scores(items, load_reward([source]))
    return {item.id: of_item for item, of_item in zip(items, by_item, strict=True)}


def _simulate(args: argparse.Namespace, console: Console) -> None:
    from rlhf.labels.simulate import load_annotators, simulate_labels
    from rlhf.rewards.reward import load_reward

    annotators = load_annotators(args.annotators)
    gold = load_reward([args.gold])
    with LabelStore(args.store, create=False) as store:
        count = simulate_labels(store, annotators, gold, seed=args.seed, overlap=args.overlap)
    location = display_location(args.store)
    console.print(
        f"{counted(count, 'new label')} of {counted(len(annotators), 'annotator')} in {location}"
    )


def _stats(args: argparse.Namespace) -> None:
    with LabelStore(args.store, create=False) as store:
        scores = _scores(store, args.gold) if args.gold else None
        stats = label_stats(store, scores)
        items = {item.id: item for item in store.items()}
        results = model_results(games_of(items, store.labels(), category=args.category))
    tables = plain_console()
    print_stats(tables, stats, with_gold=scores is not None)
    print_model_results(tables, results)


def _prioritize(args: argparse.Namespace, console: Console) -> None:
    from rlhf.labels.priorities import prioritize

    with LabelStore(args.store, create=False) as store:
        count = prioritize(store, args.reward_model)
    console.print(
        f"priority set for {counted(count, 'item')}; `rlhf label serve --active_floor 0.2` "
        "draws by it"
    )


def _prelabel(args: argparse.Namespace, console: Console) -> None:
    from rlhf.labels.pre_labels import set_pre_labels

    with LabelStore(args.store, create=False) as store:
        scores = _scores(store, args.reward_model)
        set_pre_labels(store, args.reward_model, scores)
    console.print(
        f"{counted(len(scores), 'item')} ranked; `rlhf label serve --pre_label_share 0.8` shows "
        "the ranks after 80% of the labels"
    )
