"""Start the worker of a plain launch, one process with the packaged configuration, by itself.

accelerate's launcher imports torch, which takes two seconds of every command. The worker gets the
environment that accelerate and torchrun would give it; tests/runtime/test_one_worker.py compares
the two.
"""

import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from rlhf.runtime.shipped import shipped_folder

CONFIG = "accelerate_config.yaml"
NUM_PROCESSES = "num_processes"
# What accelerate sets with the packaged configuration, and torchrun for rank 0 of 1. Its store
# (TORCHELASTIC_USE_AGENT_STORE) is not there: the worker makes its own where it needs one.
ENVIRONMENT = {
    "ACCELERATE_DYNAMO_BACKEND": "NO",
    "ACCELERATE_DYNAMO_MODE": "default",
    "ACCELERATE_DYNAMO_USE_DYNAMIC": "False",
    "ACCELERATE_DYNAMO_USE_FULLGRAPH": "False",
    "ACCELERATE_DYNAMO_USE_REGIONAL_COMPILATION": "False",
    "ACCELERATE_MIXED_PRECISION": "no",
    "GROUP_RANK": "0",
    "GROUP_WORLD_SIZE": "1",
    "LOCAL_RANK": "0",
    "LOCAL_WORLD_SIZE": "1",
    "MASTER_ADDR": "127.0.0.1",
    "RANK": "0",
    "ROLE_NAME": "default",
    "ROLE_RANK": "0",
    "ROLE_WORLD_SIZE": "1",
    "TORCHELASTIC_MAX_RESTARTS": "0",
    "TORCHELASTIC_RESTART_COUNT": "0",
    "TORCHELASTIC_RUN_ID": "none",
    "TORCHELASTIC_SIGNALS_TO_HANDLE": "SIGUSR2",
    "TORCH_NCCL_ASYNC_ERROR_HANDLING": "1",
    "WORLD_SIZE": "1",
}
DEFAULTS = {"OMP_NUM_THREADS": "1"}  # an exported value stays


@dataclass(frozen=True)
class Recipe:
    """A script or module to run, with its arguments."""

    name: str
    is_module: bool
    arguments: Sequence[str]


def nearest_config(script: Path | None) -> Path:
    """accelerate's configuration: above the script, else of the current folder, else packaged."""
    folders = [Path.cwd(), shipped_folder()]
    if script is not None:
        folders = [*script.resolve().parents, *folders]
    return next(folder / CONFIG for folder in folders if (folder / CONFIG).is_file())


def plain_launch(words: Sequence[str]) -> Recipe | None:
    """The recipe, if `words` of `accelerate launch` ask for one process and nothing else.

    None means that accelerate has to launch it: for several processes, another option, or a
    configuration that differs from the packaged one.
    """
    rest = list(words)
    count, is_module = None, False
    while rest and rest[0].startswith("-"):
        name, equals, value = rest.pop(0).partition("=")
        if name in ("-m", "--module") and not equals:
            is_module = True
        elif name == f"--{NUM_PROCESSES}" and (equals or rest):
            count = value if equals else rest.pop(0)
        else:
            return None
    if not rest:
        return None
    recipe = Recipe(rest[0], is_module, rest[1:])
    settings = _settings(nearest_config(None if is_module else Path(recipe.name)))
    own_count = settings.pop(NUM_PROCESSES, None)
    packaged = _settings(shipped_folder() / CONFIG)
    packaged.pop(NUM_PROCESSES)
    is_plain = settings == packaged and str(own_count if count is None else count) == "1"
    return recipe if is_plain else None


def start_worker(recipe: Recipe) -> subprocess.Popen[bytes]:
    """The worker, in a session of its own as torchrun's are."""
    environment = {**DEFAULTS, **os.environ, **ENVIRONMENT, "MASTER_PORT": str(_free_port())}
    module = ["-m"] if recipe.is_module else []
    command = [sys.executable, "-u", *module, recipe.name, *recipe.arguments]
    return subprocess.Popen(command, env=environment, start_new_session=True)


def _settings(config: Path) -> dict[str, object]:
    """The keys of the file; none where it cannot be read, which accelerate then reports."""
    try:
        content = yaml.safe_load(config.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        return {}
    return content if isinstance(content, dict) else {}


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("", 0))
        port: int = listener.getsockname()[1]
        return port
