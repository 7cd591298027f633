"""Runs the `main` of a recipe: messages and exit status."""

import atexit
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from rlhf.errors import STATUS_DONE, STATUS_STOPPED, STATUS_USER, RLHFError, status_of
from rlhf.runtime.disk import disk_error
from rlhf.runtime.nodes import is_first_on_node
from rlhf.runtime.signals import Stopped

SECONDS_FOR_FIRST_RANK = 30.0


def run(main: Callable[[], None], *, name: str | None = None) -> NoReturn:
    """Call `main` and exit: 0 done, 2 the user's mistake, 1 a failure, 75 stopped by SIGTERM.

    Args:
        main: the recipe.
        name: how its messages begin, such as `rlhf sft`; default the name of the script.
    """
    if name is not None:
        sys.argv[0] = name  # messages of the other threads begin with it too
    try:
        main()
        _close_process_group()
    except RLHFError as error:
        _fail(error)
    except Stopped as stop:
        _print_once(stop)
        _close_process_group()
        _exit(STATUS_STOPPED)
    except KeyboardInterrupt:
        _print_once("interrupted")
        _exit(130)
    except Exception as error:
        cause = disk_error(error) or _lost_rank_error(error)
        if cause is None:
            raise
        _fail(cause)
    _exit(STATUS_DONE)


def _fail(error: RLHFError) -> NoReturn:
    """Print the error and exit with its status."""
    status = status_of(error)
    if status == STATUS_USER:
        _wait_for_first_rank()
    _print_error(f"{error} [{error.code}]")
    _exit(status)


def _lost_rank_error(error: Exception) -> RLHFError | None:
    if "torch.distributed" not in sys.modules:
        return None
    from rlhf.runtime.lost_ranks import lost_rank_error

    return lost_rank_error(error)


def _close_process_group() -> None:
    """Wait until all ranks are done, and close the process group."""
    distributed = sys.modules.get("torch.distributed")
    if distributed is not None and distributed.is_available() and distributed.is_initialized():
        distributed.barrier()
        distributed.destroy_process_group()


def _exit(status: int) -> NoReturn:
    """Exit; a process of several skips the interpreter's own shutdown.

    gloo's threads may still be freeing tensors. A thread that asks for the interpreter while that
    shuts down aborts the process ("terminate called without an active exception"), and a finished
    run looks failed. Closing the group does not help if FSDP still holds it.
    """
    if "WORLD_SIZE" not in os.environ:
        sys.exit(status)
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def _print_error(message: object) -> None:
    print(f"{Path(sys.argv[0]).name}: {message}", file=sys.stderr, flush=True)


def _print_once(message: object) -> None:
    """Print on the first rank of each node what happens to all ranks at once."""
    if is_first_on_node():
        _print_error(message)


def _wait_for_first_rank() -> None:
    """Wait on the other ranks of a node: its launcher ends them if the first fails in the same way.

    Most mistakes occur on every rank. One that occurs on this rank alone is printed afterwards.
    """
    if not is_first_on_node():
        time.sleep(SECONDS_FOR_FIRST_RANK)
