"""`rlhf label serve`: the label page on one store, in one process."""

import contextlib
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import uvicorn
from rich.console import Console

from rlhf.labels import access, claiming, queries
from rlhf.labels.crowd import (
    PLATFORMS,
    CrowdConfig,
    Participants,
    participants_file,
    study_link,
)
from rlhf.labels.database import display_location
from rlhf.labels.form_config import FormConfig, load_form
from rlhf.labels.queue import Queue
from rlhf.labels.schema import SUBMIT
from rlhf.labels.selection import QueueConfig
from rlhf.labels.store import LabelStore
from rlhf.labels.web.admin import places_left
from rlhf.labels.web.app import create_app
from rlhf.labels.web.config import ALL, CrowdStudy, LabelServerConfig, WebConfig
from rlhf.labels.web.live_sampling import LiveSampling
from rlhf.labels.web.models import load_sampler
from rlhf.labels.web.oidc import OidcLogin
from rlhf.labels.web.pictures import Pictures
from rlhf.labels.web.rest import with_rest
from rlhf.labels.webhook import WebhookSender
from rlhf.runtime.printing import counted, plain_console
from rlhf.web.server import STOP_NOTE, http_server, listening_socket, url_host


def serve(config: LabelServerConfig, queue_config: QueueConfig) -> None:
    """Serve until SIGINT or SIGTERM, or until `config.until` is reached.

    Raises:
        ConfigError: another server holds the store, the port is in use, or the form, the identity
            provider or the server of the models is unusable.
        DataError: no such store.
    """
    form = load_form(config.form) if config.form else FormConfig()
    console = plain_console(soft_wrap=True)
    create = config.samples  # with live models the store may be empty at first
    with (
        LabelStore(config.store, create=create) as store,
        store.serving_lock(),
        _open_study(config) as crowd,
        listening_socket(config.host, config.port) as listener,
    ):
        live = LiveSampling(store, load_sampler(config)) if config.samples else None
        finish = threading.Event() if config.until is not None else None
        address = page_address(config, listener.getsockname()[1])
        folder = Path(config.pictures) if config.pictures else None
        web = replace(
            web_config(config, address), form=form, finish=finish, pictures=folder, crowd=crowd
        )
        queue = Queue(store, queue_config)
        app = with_rest(create_app(queue, web, live), queue, web.hosts)
        sender = WebhookSender(store, config.webhook) if config.webhook else None
        print_links(store, config, address, console)
        if folder is not None:
            print_missing(store, Pictures(folder), console)
        console.print(STOP_NOTE)
        server = http_server(app)
        if config.until is not None and finish is not None:
            args = (server, queue, config.until, finish)
            threading.Thread(target=_stop_when_reached, args=args, daemon=True).start()
        try:
            server.run(sockets=[listener])
        finally:
            if sender is not None:
                sender.close()


def web_config(config: LabelServerConfig, address: str) -> WebConfig:
    """Settings of the app, without those of a form and a run.

    address: of the page.

    Raises:
        ConfigError: the identity provider is unusable.
    """
    return WebConfig(
        hosts={*WebConfig.hosts, url_host(config.host), *config.allowed_hosts},
        https=config.https,
        proxy=config.proxy,
        oidc=None if config.oidc is None else OidcLogin(config.oidc, address),
    )


@contextlib.contextmanager
def _open_study(config: LabelServerConfig) -> Iterator[CrowdStudy | None]:
    """The study on a crowd platform, if there is one."""
    if config.crowd is None:
        yield None
        return
    with contextlib.closing(Participants(participants_file(config.store))) as participants:
        yield CrowdStudy(config=config.crowd, participants=participants)


def _stop_when_reached(
    server: uvicorn.Server, queue: Queue, until: str, finish: threading.Event
) -> None:
    """Stop the server when there are `until` labels or the administrator ends the labelling."""
    while not finish.wait(1.0) and not is_reached(queue, until):
        pass
    server.should_exit = True


def is_reached(queue: Queue, until: str) -> bool:
    """Whether there are `until` labels; with "all", whether no place is free and no item held."""
    if until != ALL:
        return queue.store.count_events().get(SUBMIT, 0) >= int(until)
    # One transaction: nobody takes the last place between the two counts.
    with queue.store.write() as connection:
        claiming.expire(connection, queue.leases)  # of repeats that an annotator left, too
        num_held = queries.count_live_claims(connection)
        return num_held == 0 and places_left(connection, queue.config.overlap) == 0


def print_links(
    store: LabelStore, config: LabelServerConfig, address: str, console: Console
) -> None:
    """Print the page's address, each new link, once, and where events are sent.

    Links of earlier starts stay valid, so that a restart locks no annotator out of an item.
    """
    console.print(f"serving {display_location(config.store)} at {address}", markup=False)
    token = access.admin_token(store, renew=config.new_admin_token)
    if token is None:
        console.print("admin: use the link of the first start (--new_admin_token makes a new one)")
    else:
        console.print(f"admin: {address}/login#{token}", markup=False)
    invited = access.names(store)
    for name in config.annotators:
        if name in invited:
            console.print(
                f"annotator {name}: use the earlier link (`rlhf label invite` makes a new one)",
                markup=False,
            )
            continue
        link = f"{address}/login#{access.invite(store, name)}"
        console.print(f"annotator {name}: {link}", markup=False)
    if config.crowd is not None:
        print_study(config, config.crowd, address, console)
    if config.webhook is not None:
        console.print(f"webhook: {config.webhook}", markup=False)


def print_study(
    config: LabelServerConfig, crowd: CrowdConfig, address: str, console: Console
) -> None:
    """Print the link for the platform, and where the participants' ids are."""
    platform = PLATFORMS[crowd.platform]
    console.print(f"{platform.name}: {study_link(crowd, address)}", markup=False)
    console.print(f"ids of participants: {participants_file(config.store)}", markup=False)


def print_missing(store: LabelStore, pictures: Pictures, console: Console) -> None:
    """Print how many prompts name a picture that is not in the folder."""
    count, name = pictures.missing(store.items())
    if count:
        console.print(
            f"{counted(count, 'prompt')} with a picture that {pictures.folder} does not have, such "
            f"as {name}; its name is shown as text",
            markup=False,
        )


def page_address(config: LabelServerConfig, port: int) -> str:
    """The URL of the page, with the first of the allowed host names if there is one."""
    if config.allowed_hosts and config.https:  # the proxy's port, not this one
        return f"https://{config.allowed_hosts[0]}"
    host = config.allowed_hosts[0] if config.allowed_hosts else url_host(config.host)
    return f"http://{host}:{port}"
