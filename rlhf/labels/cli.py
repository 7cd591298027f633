"""`rlhf label COMMAND`: serve, import, export, stats, simulate, prioritize, prelabel and others."""

import argparse
import os
from collections.abc import Sequence

from rlhf.errors import ConfigError
from rlhf.labels import audit_cli, exchange_cli, measure_cli, participants_cli, people_cli
from rlhf.labels.cli_parser import parser
from rlhf.labels.project_list import load_projects
from rlhf.labels.selection import QueueConfig
from rlhf.runtime.printing import plain_console

# Modules that load torch are imported by the command that needs them, so that `serve` starts fast.


def main(argv: Sequence[str]) -> int:
    """`rlhf label`."""
    args = parser().parse_args(argv)
    console = plain_console(soft_wrap=True)  # a line with a command can be pasted
    match args.command:
        case "serve":
            _serve(args)
        case "import":
            exchange_cli.import_files(args, console)
        case "export":
            exchange_cli.export_labels(args, console)
        case "simulate":
            measure_cli.simulate(args, console)
        case "stats":
            measure_cli.stats(args)
        case "prioritize":
            measure_cli.prioritize(args, console)
        case "prelabel":
            measure_cli.prelabel(args, console)
        case "invite":
            people_cli.invite(args, console)
        case "people":
            people_cli.people(args, console)
        case "token":
            people_cli.token(args, console)
        case "audit":
            audit_cli.audit(args, console)
        case "participants":
            participants_cli.participants(args, console)
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
        pictures=args.pictures,
        crowd=participants_cli.crowd_of(args),
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
