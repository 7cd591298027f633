"""What every recipe does around its `main`: messages and exit status."""

import atexit
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from rlhf.errors import STATUS_DONE, STATUS_STOPPED, STATUS_USER, RLHFError, status_of
from rlhf.runtime.disk import disk_error
from rlhf.runtime.distributed import is_main_process
from rlhf.runtime.signals import Stopped

SECONDS_TO_SPEAK = 30.0


def run(main: Callable[[], None]) -> NoReturn:
    """Call `main` and exit: 0 done, 2 the user's mistake, 1 a failure, 75 stopped by SIGTERM."""
    try:
        main()
        _leave_the_others()
    except RLHFError as error:
        _fail(error)
    except Stopped as stop:
        _say_once(stop)
        _leave_the_others()
        _exit(STATUS_STOPPED)
    except KeyboardInterrupt:
        _say_once("interrupted")
        _exit(130)
    except Exception as error:
        if (told := disk_error(error)) is None:
            raise
        _fail(told)
    _exit(STATUS_DONE)


def _fail(error: RLHFError) -> NoReturn:
    """Say what went wrong and end with its status."""
    status = status_of(error)
    if status == STATUS_USER:
        _let_the_first_speak()
    _say(f"{error} [{error.code}]")
    _exit(status)


def _leave_the_others() -> None:
    """Wait until all ranks have come to their end, and close the process group."""
    distributed = sys.modules.get("torch.distributed")
    if distributed is not None and distributed.is_available() and distributed.is_initialized():
        distributed.barrier()
        distributed.destroy_process_group()


def _exit(status: int) -> NoReturn:
    """End this process; one of several without the interpreter's own way down.

    gloo's threads may still be letting go of tensors. One that asks for the interpreter while that
    is shutting down aborts the process ("terminate called without an active exception"), and a
    finished run reads as failed. Closing the group does not help where FSDP still holds it.
    """
    if "WORLD_SIZE" not in os.environ:
        sys.exit(status)
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def _say(message: object) -> None:
    print(f"{Path(sys.argv[0]).name}: {message}", file=sys.stderr, flush=True)


def _say_once(message: object) -> None:
    """What happens to all ranks at once is said by the first."""
    if is_main_process():
        _say(message)


def _let_the_first_speak() -> None:
    """Wait, on the other ranks, for the end that the launcher brings when rank 0 failed alike.

    A user's mistake is mostly every rank's; where it is this one's alone it is said after all.
    """
    if not is_main_process():
        time.sleep(SECONDS_TO_SPEAK)
