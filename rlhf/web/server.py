"""Addresses, the listening socket and the uvicorn settings of a server."""

import asyncio
import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import uvicorn
from starlette.types import ASGIApp

from rlhf.errors import ConfigError

LOOPBACK_HOSTS = ("127.0.0.1", "localhost", "::1")  # as a socket takes them
LOOPBACK_NAMES = ("127.0.0.1", "localhost", "[::1]")  # as a Host header has them
STOP_NOTE = "Ctrl-C stops the server."  # printed when a server starts
TEXT_FILES = Path(__file__).parent / "static"  # style and scripts for texts, of both pages


def check_address(host: str, port: int, *, public: bool) -> None:
    """Raise ConfigError for a port out of range, or for a public host without `public`."""
    if not 0 <= port < 65536:
        raise ConfigError(
            f"port={port} is out of range; use 1 to 65535, or 0 for a free port.", code="bad-value"
        )
    if host not in LOOPBACK_HOSTS and not public:
        raise ConfigError(
            f"host={host} is reachable from other machines; add --public to allow that, and put "
            "a proxy with HTTPS in front of the server.",
            code="not-allowed",
        )


def url_host(host: str) -> str:
    """The host as a URL has it: an IPv6 address in brackets."""
    return f"[{host}]" if ":" in host else host


@contextmanager
def listening_socket(host: str, port: int) -> Iterator[socket.socket]:
    """A socket that listens on the address.

    Raises:
        ConfigError: the address is in use or does not belong to this machine.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # Accepted connections inherit this. asyncio sets it only on sockets that it opens itself;
        # without it the second piece of a stream waits 40 ms for the first one's acknowledgement.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            listener.bind((host, port))
            listener.listen()  # requests that come before the server is up wait and are served
        except OSError as error:
            raise ConfigError(
                f"{host}:{port} cannot be used: {os.strerror(error.errno or 0)}; "
                "choose another --port.",
                code="address-in-use",
            ) from error
        yield listener


def http_server(app: ASGIApp, *, shutdown_seconds: int | None = None) -> uvicorn.Server:
    """A uvicorn server over the app; open responses may take `shutdown_seconds` when it stops."""
    logging.getLogger("uvicorn.error").addFilter(_is_no_cancellation)
    return uvicorn.Server(
        uvicorn.Config(
            app,
            log_level="warning",
            proxy_headers=False,  # a client could forge its address
            server_header=False,
            lifespan="off",
            timeout_graceful_shutdown=shutdown_seconds,
        )
    )


def _is_no_cancellation(record: logging.LogRecord) -> bool:
    """Whether to log a record. A response that a stopping server cuts off is not an error."""
    return not (record.exc_info and isinstance(record.exc_info[1], asyncio.CancelledError))
