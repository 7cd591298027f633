"""Start a recipe on one or many processes; pass signals on; give back the recipe's own status."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import types
from collections.abc import Iterator, Sequence
from pathlib import Path

from rlhf.errors import STATUS_USER
from rlhf.runtime.distributed import WORLD
from rlhf.runtime.orphan import PARENT
from rlhf.runtime.threads import VARIABLE, threads_are_exported

# A launcher above this one (align.py under `accelerate launch`) has put its own world in the
# environment; a stage that inherited it would wait for ranks that do not exist.
_WORLD_PREFIXES = ("LOCAL_", "GROUP_", "ROLE_", "TORCHELASTIC_", "ACCELERATE_", "FSDP_")
_KEPT = ("ACCELERATE_USE_CPU",)

HELP = """usage: rlhf launch [--num_processes N] [accelerate launch's options] RECIPE [its keys]

Runs `accelerate launch` with accelerate_config.yaml (searched from the recipe's folder upwards),
hands SIGTERM, SIGINT and SIGHUP (as SIGTERM) to every worker, and exits with the recipe's own
status: 0 done, 1 a failure in the run, 2 the user's mistake, 75 stopped after a checkpoint;
128 + N where signal N killed a worker."""


def launch(recipe: Path, arguments: Sequence[str], *, num_processes: int = 1) -> int:
    """The exit status of `recipe`, run with `arguments` on `num_processes` processes.

    Signals that arrive while it runs go to the workers, so that they can write a checkpoint.
    """
    return _run_agent([f"--num_processes={num_processes}", str(recipe), *arguments])


def main(argv: Sequence[str]) -> int:
    """`rlhf launch`."""
    if not argv or argv[0] in ("-h", "--help"):
        print(HELP)
        return 0 if argv else STATUS_USER
    return _run_agent(argv)


def _run_agent(words: Sequence[str]) -> int:
    # A session of its own: Ctrl-C at the terminal then reaches this process alone, which passes
    # it on once. Workers that get it twice die inside their own clean-up.
    agent = subprocess.Popen(
        [sys.executable, "-m", "rlhf.runtime.agent", *words],
        env=own_environment() | {PARENT: str(os.getpid())},
        start_new_session=True,
    )
    with _forwarding(agent):
        status = agent.wait()
    return status if status >= 0 else 128 - status


def own_environment() -> dict[str, str]:
    """This process's environment without the world that a launcher above it has set up."""
    inherited = dict(os.environ)
    if not threads_are_exported():
        inherited.pop(VARIABLE, None)
    for name in os.environ:
        if name in WORLD or (name.startswith(_WORLD_PREFIXES) and name not in _KEPT):
            del inherited[name]
    return inherited


@contextlib.contextmanager
def _forwarding(agent: subprocess.Popen[bytes]) -> Iterator[None]:
    """While open, SIGTERM, SIGINT and SIGHUP of this process go to `agent`."""

    def forward(number: int, frame: types.FrameType | None) -> None:
        with contextlib.suppress(ProcessLookupError):
            agent.send_signal(signal.SIGTERM if number == signal.SIGHUP else number)

    if threading.current_thread() is not threading.main_thread():
        yield  # Python handles signals in the main thread only
        return
    numbers = [signal.SIGTERM, signal.SIGINT, signal.SIGHUP]
    # nohup has SIGHUP ignored, a script's `&` SIGINT: that is a wish, and stays.
    before = {n: signal.getsignal(n) for n in numbers if signal.getsignal(n) != signal.SIG_IGN}
    for number in before:
        signal.signal(number, forward)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
