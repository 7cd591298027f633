"""Addresses and sockets of the web servers."""

import asyncio
import logging
import socket

import pytest

from rlhf.web.server import check_address, http_server, listening_socket, url_host
from tests.errors import raises


def test_public_host_requires_the_public_option():
    with raises("not-allowed", "--public", "0.0.0.0"):
        check_address("0.0.0.0", 8000, public=False)
    check_address("0.0.0.0", 8000, public=True)
    check_address("::1", 0, public=False)


@pytest.mark.parametrize("port", [-1, 65536])
def test_port_out_of_range_raises(port):
    with raises("bad-value", "port", port):
        check_address("localhost", port, public=False)


def test_url_host_puts_ipv6_in_brackets():
    assert (url_host("::1"), url_host("localhost")) == ("[::1]", "localhost")


def test_port_in_use_raises():
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with raises("address-in-use", port, "--port"), listening_socket("127.0.0.1", port):
            pass


def test_accepted_connections_do_not_delay_small_packets():
    """Without TCP_NODELAY the second piece of a stream comes 40 ms after the first."""
    with (
        listening_socket("127.0.0.1", 0) as listener,
        socket.create_connection(listener.getsockname()),
    ):
        connection, _ = listener.accept()
        with connection:
            assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_response_cut_off_by_a_stopping_server_is_no_error_in_the_log(capsys):
    """uvicorn cancels open responses when it stops, and logs each with its traceback."""

    async def app(scope, receive, send):
        """Never called."""

    http_server(app)
    for error in (asyncio.CancelledError(), ValueError("a fault")):
        logging.getLogger("uvicorn.error").error("Exception in ASGI application", exc_info=error)
    log = capsys.readouterr().err
    assert "ValueError: a fault" in log
    assert "CancelledError" not in log
