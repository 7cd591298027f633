"""Launchers of two nodes on this machine, over the loopback address."""

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import psutil
import yaml

from tests.ports import free_port

BIN = Path(sys.executable).parent
HOST = socket.gethostname()
SETTINGS = "recipes/accelerate/two-nodes.yaml"


def write_settings(root: Path, folder: Path) -> Path:
    """The launch settings of two nodes, with one process each and a free local port."""
    keys = yaml.safe_load((root / SETTINGS).read_text())
    assert keys["num_machines"] == 2
    keys |= {"num_processes": 2, "main_process_ip": "127.0.0.1", "main_process_port": free_port()}
    path = folder / "two-nodes.yaml"
    path.write_text(yaml.safe_dump(keys))
    return path


def clean_environment() -> dict[str, str]:
    """The environment without the variables of a launcher of these tests."""
    unset = ("TORCHELASTIC", "ACCELERATE_", "RANK", "LOCAL_", "GROUP_", "WORLD_SIZE", "MASTER_")
    return {key: value for key, value in os.environ.items() if not key.startswith(unset)}


class Node:
    """`accelerate launch` with its worker, and what both print."""

    def __init__(self, settings: Path, rank: int, words: list[str], cwd: Path) -> None:
        self.log = settings.with_name(f"node-{rank}.log")
        command = [str(BIN / "accelerate"), "launch", "--config_file", str(settings)]
        with self.log.open("wb") as output:
            self.launcher = subprocess.Popen(
                [*command, "--machine_rank", str(rank), *words],
                cwd=cwd,
                env=clean_environment(),
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    @property
    def text(self) -> str:
        return self.log.read_text(errors="replace")

    def workers(self) -> list[psutil.Process]:
        """The processes below the launcher."""
        return psutil.Process(self.launcher.pid).children(recursive=True)


def start_nodes(root: Path, folder: Path, words: list[str]) -> list[Node]:
    """Both nodes; their settings and output are in `folder`."""
    settings = write_settings(root, folder)
    return [Node(settings, rank, words, root) for rank in (0, 1)]


def wait_for(condition, seconds: float) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "timed out"
        time.sleep(0.1)
