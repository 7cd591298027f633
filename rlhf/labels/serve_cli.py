"""`rlhf label serve`: options -> settings of the server and its queue. Needs the extra `labels`."""

import argparse
import os

from rlhf.errors import ConfigError
from rlhf.labels.participants_cli import crowd_of
from rlhf.labels.project_list import load_projects
from rlhf.labels.selection import QueueConfig
from rlhf.labels.web.config import LabelServerConfig
from rlhf.labels.web.oidc import OidcConfig
from rlhf.labels.web.proxy_login import proxy_login
from rlhf.labels.web.serve import serve as serve_store
from rlhf.labels.web.serve_projects import serve_projects
from rlhf.labels.webhook import Webhook


def serve(args: argparse.Namespace) -> None:
    """`rlhf label serve`: serve one store or several projects until Ctrl+C."""
    config, queue = _server_config(args), _queue_config(args)
    try:
        if config.projects:
            serve_projects(config, queue)
        elif config.store:
            serve_store(config, queue)
        else:
            raise ConfigError("serve needs --store FILE, or --projects FILE.", code="missing-key")
    except KeyboardInterrupt:  # uvicorn raises it again after its shutdown
        if config.until is not None:  # the run that waits for these labels must not continue
            raise


def _server_config(args: argparse.Namespace) -> LabelServerConfig:
    return LabelServerConfig(
        store=args.store or "",
        projects=load_projects(args.projects) if args.projects else (),
        host=args.host,
        port=args.port,
        public=args.public,
        allowed_hosts=args.allowed_hosts,
        https=args.https,
        proxy=proxy_login(args.proxy_user_header, args.trusted_proxy),
        oidc=_oidc_config(args),
        annotators=args.annotators,
        form=args.form,
        new_admin_token=args.new_admin_token,
        models=args.model,
        server=args.server,
        num_responses=args.num_responses,
        max_new_tokens=args.max_new_tokens,
        until=args.until,
        webhook=_webhook(args.webhook),
        pictures=args.pictures,
        crowd=crowd_of(args),
    )


def _oidc_config(args: argparse.Namespace) -> OidcConfig | None:
    """The login by an identity provider; None where it is off."""
    if args.oidc_issuer is None:
        if args.oidc_client_id or args.oidc_role_claim:
            raise ConfigError(
                "--oidc_client_id and --oidc_role_claim need --oidc_issuer, the address of the "
                "provider; add it.",
                code="missing-key",
            )
        return None
    return OidcConfig(
        issuer=args.oidc_issuer,
        client_id=args.oidc_client_id,
        client_secret=os.environ.get("RLHF_OIDC_CLIENT_SECRET", ""),
        name_claim=args.oidc_name_claim,
        role_claim=args.oidc_role_claim,
    )


def _webhook(url: str | None) -> Webhook | None:
    """Where events are sent, signed with the secret of the environment."""
    if url is None:
        return None
    return Webhook(url=url, secret=os.environ.get("RLHF_WEBHOOK_SECRET", ""))


def _queue_config(args: argparse.Namespace) -> QueueConfig:
    return QueueConfig(
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
