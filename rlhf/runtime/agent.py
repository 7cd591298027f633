"""`python -m rlhf.runtime.agent`: accelerate's launcher, quiet, with the worker's own exit status.

`accelerate launch` itself turns every failure into 1 under two pages of its own, and a SIGTERM to
it either misses the worker or gives it 30 seconds. Here signals go straight to the workers, which
end when their checkpoint is written.
"""

import argparse
import logging
import os
import signal
import subprocess
import sys
import types
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

# torchrun would answer these itself and lose the workers' statuses; it insists on one signal.
os.environ["PET_SIGNALS_TO_HANDLE"] = "SIGUSR2"

import psutil
from accelerate.commands.launch import launch_command, launch_command_parser
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError, ProcessFailure

from rlhf.errors import STATUS_DONE, STATUS_FAILED, STATUS_STOPPED, STATUS_USER
from rlhf.runtime.orphan import end_with_parent

CONFIG = "accelerate_config.yaml"


def main(words: Sequence[str]) -> int:
    """Run the recipe that `words` name and return its exit status."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _to_workers)
    # Its words on a worker that failed would come between the recipe's own line and ours.
    logging.getLogger("torch.distributed.elastic.multiprocessing.api").disabled = True
    end_with_parent()
    arguments = launch_command_parser().parse_args(list(words))
    recipe = Path(arguments.training_script)
    if not recipe.is_file():
        return _refuse(f"{recipe} is not a file; name a recipe, such as recipes/sft.py.")
    complaint = _complete(arguments, recipe)
    if complaint:
        return _refuse(complaint)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            launch_command(arguments)
    except ChildFailedError as error:
        return _report(first_failure(list(error.failures.items())), len(error.failures))
    except subprocess.CalledProcessError as error:  # accelerate's plain one-process launcher
        return shell_status(error.returncode)
    except (ValueError, OSError) as error:
        return _refuse(str(error))
    return STATUS_DONE


def first_failure(failures: Sequence[tuple[int, ProcessFailure]]) -> tuple[int, int]:
    """(rank, exit code) of the failure that the others follow from.

    A user's mistake is never a consequence, so it comes first. Then time, which torchrun keeps
    in whole seconds; within one, a worker that torchrun itself ended (-SIGTERM) comes last.
    """

    def order(failure: tuple[int, ProcessFailure]) -> tuple[bool, int, bool, int]:
        rank, what = failure
        ended_by_torchrun = what.exitcode in (-signal.SIGTERM, STATUS_STOPPED)
        return what.exitcode != STATUS_USER, what.timestamp, ended_by_torchrun, rank

    rank, what = min(failures, key=order)
    return rank, what.exitcode


def shell_status(exitcode: int) -> int:
    """The status as a shell gives it: 128 + N for a process that signal N ended."""
    return exitcode if exitcode >= 0 else 128 - exitcode


def _complete(arguments: argparse.Namespace, recipe: Path) -> str:
    """Fill in the config file and a free port; what is wrong, or ""."""
    if arguments.config_file is not None:
        return ""
    folders = [*recipe.resolve().parents, Path.cwd()]
    found = [folder / CONFIG for folder in folders if (folder / CONFIG).is_file()]
    if not found:
        return f"no {CONFIG} in the folders above {recipe}; name one with --config_file FILE."
    arguments.config_file = str(found[0])
    if arguments.main_process_port is None:
        arguments.main_process_port = 0  # any free one: two runs on a machine do not collide
    return ""


def _to_workers(number: int, frame: types.FrameType | None) -> None:
    workers = psutil.Process().children()
    if not workers:
        sys.exit(128 + number)
    for worker in workers:
        try:
            worker.send_signal(number)
        except psutil.NoSuchProcess:
            continue


def _report(failure: tuple[int, int], failed: int) -> int:
    rank, exitcode = failure
    if exitcode < 0:
        name = signal.Signals(-exitcode).name
        hint = (
            " (out of memory, where nothing else is said above)"
            if exitcode == -signal.SIGKILL
            else ""
        )
        _say(f"rank {rank} was ended by {name}{hint}")
    elif exitcode == STATUS_FAILED:
        others = f"; {failed - 1} more ended with it" if failed > 1 else ""
        _say(f"rank {rank} failed with status {exitcode}{others}")
    return shell_status(exitcode)


def _refuse(reason: str) -> int:
    _say(reason)
    return STATUS_USER


def _say(message: str) -> None:
    print(f"rlhf launch: {message}", file=sys.stderr, flush=True)


def _exit() -> NoReturn:
    sys.exit(main(sys.argv[1:]))


if __name__ == "__main__":
    _exit()
