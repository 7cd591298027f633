"""A free port for a server that a test starts in a process of its own."""

import socket


def free_port() -> int:
    """A port of this machine that no server uses at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
