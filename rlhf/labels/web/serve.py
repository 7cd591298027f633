"""`rlhf label serve`: the web app on one store, by one process."""

import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn
from rich.console import Console

from rlhf.errors import ConfigError
from rlhf.labels import access
from rlhf.labels.database import shown
from rlhf.labels.queue import Queue
from rlhf.labels.schema import SUBMIT
from rlhf.labels.selection import QueueConfig
from rlhf.labels.store import LabelStore
from rlhf.labels.web.admin import places_left
from rlhf.labels.web.app import create_app
from rlhf.labels.web.config import ALL, ServeConfig, WebConfig
from rlhf.labels.web.form import FormConfig, load_form
from rlhf.labels.web.live_sampling import LiveSource
from rlhf.labels.web.models import load_sampler
from rlhf.runtime.printing import plain_console


def serve(config: ServeConfig, queue_config: QueueConfig) -> None:
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
        bound(config.host, config.port) as listener,
    ):
        port = listener.getsockname()[1]
        hosts = {*WebConfig.hosts, in_url(config.host), *config.allowed_hosts}
        live = LiveSource(store, load_sampler(config)) if config.models else None
        finish = threading.Event() if config.until is not None else None
        web = WebConfig(hosts=hosts, https=config.https, form=form, finish=finish)
        app = create_app(Queue(store, queue_config), web, live)
        announce(store, config, address_of(config, port), console)
        settings = uvicorn.Config(
            app, log_level="warning", proxy_headers=False, server_header=False, lifespan="off"
        )
        server = uvicorn.Server(settings)
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


def announce(store: LabelStore, config: ServeConfig, address: str, console: Console) -> None:
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


def address_of(config: ServeConfig, port: int) -> str:
    """Where people find the page: under the first name that browsers may use, if one is given."""
    if config.allowed_hosts and config.https:  # the proxy's port, not this one
        return f"https://{config.allowed_hosts[0]}"
    host = config.allowed_hosts[0] if config.allowed_hosts else in_url(config.host)
    return f"http://{host}:{port}"


@contextmanager
def bound(host: str, port: int) -> Iterator[socket.socket]:
    """A socket that listens.

    Raises:
        ConfigError: the address is taken or is not this machine's.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # Handed on to every connection. asyncio sets it on sockets that it opens itself alone;
        # without it a stream's second piece waits 40 ms for the first one's acknowledgement.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            listener.bind((host, port))
            listener.listen()  # who follows a link before the server is up waits, and is served
        except OSError as error:
            raise ConfigError(
                f"{host}:{port} cannot be used: {os.strerror(error.errno or 0)}; "
                "choose another --port."
            ) from error
        yield listener


def in_url(host: str) -> str:
    """The host as a URL has it: an IPv6 address in brackets."""
    return f"[{host}]" if ":" in host else host
