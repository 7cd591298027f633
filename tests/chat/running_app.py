"""Runs an app, or `rlhf serve`, in a thread on a free port."""

import threading
import time
from contextlib import contextmanager

import uvicorn

from rlhf.chat.web.cli import main


@contextmanager
def running(app):
    """The address of the app while it runs."""
    settings = uvicorn.Config(
        app, port=0, log_level="warning", lifespan="off", timeout_graceful_shutdown=2
    )
    server = uvicorn.Server(settings)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        assert thread.is_alive()
        time.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join(30)


@contextmanager
def running_command(monkeypatch, module, options):
    """The address of `rlhf serve` with these options; its exit status is checked.

    module: the one that starts its server, `rlhf.chat.web.serve` or `rlhf.chat.arena.serve`.
    """
    servers, statuses = [], []
    make_server = module.http_server

    def recorded(*args, **kwargs):
        servers.append(make_server(*args, **kwargs))
        return servers[0]

    monkeypatch.setattr(module, "http_server", recorded)
    thread = threading.Thread(target=lambda: statuses.append(main(options)), daemon=True)
    thread.start()
    while not (servers and servers[0].started):
        assert thread.is_alive()
        time.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{servers[0].servers[0].sockets[0].getsockname()[1]}"
    finally:
        servers[0].should_exit = True
        thread.join(30)
    assert statuses == [0]
