"""`rlhf label serve`: the web app on one store, by one process."""

import threading

import uvicorn
from rich.console import Console

from rlhf.labels import access
from rlhf.labels.database import shown
from rlhf.labels.queue import Queue
from rlhf.labels.schema import SUBMIT
from rlhf.labels.selection import QueueConfig
from rlhf.labels.store import LabelStore
from rlhf.labels.web.admin import places_left
from rlhf.labels.web.app import create_app
from rlhf.labels.web.config import ALL, LabelServerConfig, WebConfig
from rlhf.labels.web.form import FormConfig, load_form
from rlhf.labels.web.live_sampling import LiveSource
from rlhf.labels.web.models import load_sampler
from rlhf.runtime.printing import plain_console
from rlhf.web.server import http_server, listening_socket, url_host


def serve(config: LabelServerConfig, queue_config: QueueConfig) -> None:
    """Serve until SIGINT or SIGTERM.

    Raises:
        ConfigError: another server has the store, the port is taken, a form that cannot be used.
        DataError: no such store.
    """
    form = load_form(config.form) if config.form else FormConfig()
    console = plain_console(soft_wrap=True)
    # Where models answer, there need be nothing to rank yet.
    create = bool(config.models)
    with (
        LabelStore(config.store, create=create) as store,
        store.served(),
        listening_socket(config.host, config.port) as listener,
    ):
        port = listener.getsockname()[1]
        hosts = {*WebConfig.hosts, url_host(config.host), *config.allowed_hosts}
        live = LiveSource(store, load_sampler(config)) if config.models else None
        finish = threading.Event() if config.until is not None else None
        web = WebConfig(hosts=hosts, https=config.https, form=form, finish=finish)
        app = create_app(Queue(store, queue_config), web, live)
        announce(store, config, address_of(config, port), console)
        server = http_server(app)
        if config.until is not None and finish is not None:
            watch = (server, store, queue_config.overlap, config.until, finish)
            threading.Thread(target=_stop_at, args=watch, daemon=True).start()
        server.run(sockets=[listener])


def _stop_at(
    server: uvicorn.Server, store: LabelStore, overlap: int, until: str, finish: threading.Event
) -> None:
    """Stop the server when so many labels stand or the researcher says so."""
    while not finish.wait(1.0) and not _reached(store, overlap, until):
        pass
    server.should_exit = True


def _reached(store: LabelStore, overlap: int, until: str) -> bool:
    if until == ALL:
        return places_left(store, overlap) == 0 and store.living_claims() == 0
    return store.count_events().get(SUBMIT, 0) >= int(until)


def announce(store: LabelStore, config: LabelServerConfig, address: str, console: Console) -> None:
    """Print where the page is, and links that are shown this once.

    Who has a link keeps it: a server that is started again locks nobody out in mid-item.
    """
    console.print(f"serving {shown(config.store)} at {address}", markup=False)
    token = access.admin_token(store, renew=config.new_admin_token)
    if token is None:
        console.print("researcher: the link of the first start (--new_admin_token makes another)")
    else:
        console.print(f"researcher: {address}/login#{token}", markup=False)
    invited = access.names(store)
    for name in config.annotators:
        if name in invited:
            console.print(
                f"annotator {name}: the link of before (`rlhf label invite` makes another)",
                markup=False,
            )
            continue
        link = f"{address}/login#{access.invite(store, name)}"
        console.print(f"annotator {name}: {link}", markup=False)


def address_of(config: LabelServerConfig, port: int) -> str:
    """Where people find the page: under the first name that browsers may use, if one is given."""
    if config.allowed_hosts and config.https:  # the proxy's port, not this one
        return f"https://{config.allowed_hosts[0]}"
    host = config.allowed_hosts[0] if config.allowed_hosts else url_host(config.host)
    return f"http://{host}:{port}"
