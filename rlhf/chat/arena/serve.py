"""`rlhf serve --arena`: the arena of several models, in one process."""

import argparse
import contextlib

from rich.console import Console

from rlhf.chat.arena.app import create_arena_app
from rlhf.chat.arena.battles import Battles
from rlhf.chat.arena.config import ArenaConfig
from rlhf.chat.arena.votes import ArenaVotes
from rlhf.chat.model_names import given_names, names_in_store
from rlhf.chat.web.model_pool import ModelPool
from rlhf.chat.web.serve import (
    SHUTDOWN_SECONDS,
    close_backends,
    print_notes,
    quiet_libraries,
    start_backends,
)
from rlhf.labels.store import LabelStore
from rlhf.web.server import http_server, listening_socket, url_host


def serve_arena(options: argparse.Namespace, config: ArenaConfig) -> int:
    """The exit status of `rlhf serve --arena` with these options."""
    quiet_libraries()
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    with (
        listening_socket(config.host, config.port) as listener,
        LabelStore(options.store, create=True) as store,
        contextlib.ExitStack() as stack,
    ):
        backends = start_backends(options, config.limits, console)
        stack.callback(close_backends, backends)
        paths = {name: backend.model.name for name, backend in backends.items()}
        votes = ArenaVotes(store, names_in_store(paths, given_names(options.models)))
        pool = ModelPool(backends=backends, limits=config.limits)
        app = create_arena_app(pool, Battles(list(backends)), votes, config)
        address = f"http://{url_host(config.host)}:{listener.getsockname()[1]}"
        console.print(f"arena: {address}/", markup=False)
        console.print(f"leaderboard: {address}/leaderboard", markup=False)
        unnamed = config.public and not config.allowed_hosts
        print_notes(console, hosts=config.hosts if unnamed else ())
        server = http_server(app, shutdown_seconds=SHUTDOWN_SECONDS)
        with contextlib.suppress(KeyboardInterrupt):  # uvicorn raises it again after its shutdown
            server.run(sockets=[listener])
    return 0
