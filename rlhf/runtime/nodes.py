"""The machines (nodes) of a run, as the launchers number them."""

import os
import socket


def spans_nodes() -> bool:
    """Whether the ranks of this run are on more than one node."""
    world_size = int(os.environ.get("WORLD_SIZE", "1"))
    return int(os.environ.get("LOCAL_WORLD_SIZE", world_size)) < world_size


def is_first_on_node() -> bool:
    """Whether this rank prints for its node; works before the process group exists."""
    return os.environ.get("LOCAL_RANK", "0") == "0"


def node_name() -> str:
    """The number and host of this node, for messages; empty in a run on one node."""
    if not spans_nodes():
        return ""
    return f"node {os.environ.get('GROUP_RANK', '0')}, {socket.gethostname()}"


def rank_name(rank: int, node: str) -> str:
    """The name of a rank in messages, with its node in a run on several."""
    return f"rank {rank} ({node})" if node else f"rank {rank}"
