"""`python -m rlhf.runtime.agent`: a quiet `accelerate launch` with the worker's own exit status.

`accelerate launch` itself turns every failure into status 1 under two pages of output, and a
SIGTERM to it either misses the worker or gives it 30 seconds. Here signals go straight to the
workers, which exit once their checkpoint is written. One process with the packaged configuration
is started without accelerate: see `one_worker.py`.
"""

from __future__ import annotations

import importlib.util
import logging
import os
import signal
import subprocess
import sys
import types
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

# torchrun would handle SIGTERM and SIGINT itself and lose the workers' statuses. It needs at least
# one signal in this list.
os.environ["PET_SIGNALS_TO_HANDLE"] = "SIGUSR2"

import psutil

from rlhf.errors import STATUS_DONE, STATUS_FAILED, STATUS_STOPPED, STATUS_USER
from rlhf.runtime.launcher import shell_status
from rlhf.runtime.one_worker import nearest_config, plain_launch, start_worker
from rlhf.runtime.orphan import end_with_parent

if TYPE_CHECKING:
    import argparse

    from torch.distributed.elastic.multiprocessing.errors import ProcessFailure


def main(words: Sequence[str]) -> int:
    """The exit status of the recipe in `words`, which are the arguments of `accelerate launch`."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _to_workers)
    end_with_parent()
    recipe = plain_launch(words)
    if recipe is None:
        return _accelerate_launch(words)
    if mistake := _missing_recipe(recipe.name, is_module=recipe.is_module):
        return _fail(mistake)
    return _status_of(start_worker(recipe).wait())


def _accelerate_launch(words: Sequence[str]) -> int:
    """The exit status of `accelerate launch` with these arguments."""
    # These load torch, which takes two seconds and which a plain launch does not need.
    from accelerate.commands.launch import launch_command, launch_command_parser
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

    # torchrun's log of a failed worker would come between the recipe's own message and ours.
    logging.getLogger("torch.distributed.elastic.multiprocessing.api").disabled = True
    parser = launch_command_parser()
    parser.error = _reject
    arguments = parser.parse_args(list(words))
    if mistake := _missing_recipe(arguments.training_script, is_module=arguments.module):
        return _fail(mistake)
    _add_defaults(arguments)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            launch_command(arguments)
    except ChildFailedError as error:
        return _report(first_failure(list(error.failures.items())), len(error.failures))
    except subprocess.CalledProcessError as error:  # accelerate's plain one-process launcher
        return shell_status(error.returncode)
    except ImportError as error:  # DeepSpeed, which a configuration asks for
        return _fail(f"{error} [missing-package]")
    except (ValueError, OSError) as error:
        return _fail(f"{error} [bad-launch]")
    return STATUS_DONE


def first_failure(failures: Sequence[tuple[int, ProcessFailure]]) -> tuple[int, int]:
    """(rank, exit code) of the failure that caused the others.

    A user's mistake is never a consequence, so it comes first. Failures are then ordered by time,
    which torchrun keeps in whole seconds; within a second, a worker that torchrun itself ended
    (-SIGTERM) comes last.
    """

    def order(ranked: tuple[int, ProcessFailure]) -> tuple[bool, int, bool, int]:
        rank, failure = ranked
        ended_by_torchrun = failure.exitcode in (-signal.SIGTERM, STATUS_STOPPED)
        return failure.exitcode != STATUS_USER, failure.timestamp, ended_by_torchrun, rank

    rank, failure = min(failures, key=order)
    return rank, failure.exitcode


def _missing_recipe(name: str, *, is_module: bool) -> str:
    """An error message if the script or module to run does not exist, else ""."""
    if not is_module:
        is_file = Path(name).is_file()
        hint = "name a recipe, such as recipes/sft.py. [missing-file]"
        return "" if is_file else f"{name} is not a file; {hint}"
    try:
        spec = importlib.util.find_spec(name)
    except ImportError:
        spec = None
    hint = "name one, such as rlhf.recipes.sft. [missing-file]"
    return "" if spec else f"there is no module {name}; {hint}"


def _add_defaults(arguments: argparse.Namespace) -> None:
    """Fill in the accelerate configuration and a free port where none was given."""
    if arguments.config_file is not None:
        return
    script = None if arguments.module else Path(arguments.training_script)
    arguments.config_file = str(nearest_config(script))
    if arguments.main_process_port is None:
        arguments.main_process_port = 0  # any free port: two runs on a machine do not collide


def _to_workers(number: int, frame: types.FrameType | None) -> None:
    workers = psutil.Process().children()
    if not workers:
        sys.exit(128 + number)
    for worker in workers:
        try:
            worker.send_signal(number)
        except psutil.NoSuchProcess:
            continue


def _status_of(exitcode: int) -> int:
    """The exit status for the one worker's; a failure of the run is reported."""
    return STATUS_DONE if exitcode == STATUS_DONE else _report((0, exitcode), failed=1)


def _report(failure: tuple[int, int], failed: int) -> int:
    rank, exitcode = failure
    if exitcode < 0:
        name = signal.Signals(-exitcode).name
        hint = " (out of memory, if no other error is above)" if exitcode == -signal.SIGKILL else ""
        _print_error(f"rank {rank} was killed by {name}{hint}")
    elif exitcode == STATUS_FAILED:
        others = f"; {failed - 1} more failed with it" if failed > 1 else ""
        _print_error(f"rank {rank} failed with status {exitcode}{others}")
    return shell_status(exitcode)


def _reject(message: str) -> NoReturn:
    """Exit for a mistake in the options of `accelerate launch`, without its pages of usage."""
    sys.exit(_fail(f"{message}; `accelerate launch --help` lists the options. [bad-launch]"))


def _fail(message: str) -> int:
    _print_error(message)
    return STATUS_USER


def _print_error(message: str) -> None:
    print(f"rlhf launch: {message}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
