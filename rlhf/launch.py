"""What every recipe does around its `main`: processes, signals, exit status."""

import atexit
import os
import shlex
import shutil
import signal
import sys
import time
import types
from collections.abc import Callable
from pathlib import Path
from typing import Literal, NoReturn

from rlhf.disk import disk_error
from rlhf.errors import (
    STATUS_DONE,
    STATUS_FAILED,
    STATUS_STOPPED,
    STATUS_USER,
    ConfigError,
    RLHFError,
    TrainingError,
)
from rlhf.heap import keep_freed_memory
from rlhf.orphan import end_with_launcher
from rlhf.threads import choose_threads

SECONDS_TO_SPEAK = 30.0
# What accelerate's launcher puts into the environment where a configuration asks for them.
SHARDING = {"FSDP": "ACCELERATE_USE_FSDP", "DeepSpeed": "ACCELERATE_USE_DEEPSPEED"}
Sharding = Literal["none", "accelerate", "own"]
"""Who applies FSDP or DeepSpeed to a recipe's models: nobody, accelerate, or (FSDP) the recipe."""
WORLD = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")  # what a launcher tells its workers


class Stopped(Exception):
    """SIGTERM came and a checkpoint was written; the process ends with status 75."""


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
    status = _status_of(error)
    if status == STATUS_USER:
        _let_the_first_speak()
    _say(error)
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


def say(*lines: object) -> None:
    """Print each on a line of its own, on the main process, at once."""
    if is_main_process():
        for line in lines:
            print(line, flush=True)


def rlhf_command(*words: object) -> str:
    """`rlhf WORDS` as one types it into this shell: quoted, with rlhf's path where it needs one."""
    program = "rlhf" if shutil.which("rlhf") else str(Path(sys.executable).with_name("rlhf"))
    return shlex.join([program, *map(str, words)])


def is_main_process() -> bool:
    """Whether this is rank 0 of its run; known before the processes see each other."""
    return os.environ.get("RANK", "0") == "0"


def on_main_process(do: Callable[[], object]) -> None:
    """Call `do` on the main process; the others wait until it is done. Call it on all of them.

    Where it raises an `RLHFError` the others exit with its status: left waiting, they would
    report a lost connection.
    """
    from accelerate.utils import broadcast_object_list

    error: RLHFError | None = None
    if is_main_process():
        try:
            do()
        except RLHFError as raised:
            error = raised
    [status] = broadcast_object_list([_status_of(error)])
    if error is not None:
        raise error
    if status != STATUS_DONE:
        sys.exit(status)


def _status_of(error: RLHFError | None) -> int:
    if error is None:
        return STATUS_DONE
    return STATUS_FAILED if isinstance(error, TrainingError) else STATUS_USER


def start_processes(cpu_threads: int | None = None, *, sharding: Sharding = "none") -> int:
    """The number of processes of this run, after making sure that they see each other.

    Call it before any `Accelerator`. Where there is no accelerator it chooses the CPU, which
    accelerate does not do by itself: without it two processes each believe they are alone and
    write over each other. From here on the process ends when its launcher does.

    Args:
        cpu_threads: threads of this process on a CPU; None takes an exported OMP_NUM_THREADS, or
            shares the cores out evenly (`accelerate launch` alone would leave every process one).
        sharding: who applies FSDP or DeepSpeed, where the launch configuration asks for it.

    Raises:
        ConfigError: more processes were asked for than were started, or they do not form
            one world, or what the launch configuration asks for (sharding, another precision)
            is what nobody would do.
        TrainingError: the launcher has gone already.
    """
    import torch
    from accelerate import PartialState

    from rlhf.watchdog import watch

    end_with_launcher()
    on_cpu = not torch.accelerator.is_available()
    if on_cpu:
        os.environ["ACCELERATE_USE_CPU"] = "true"
        choose_threads(cpu_threads, int(os.environ.get("LOCAL_WORLD_SIZE", "1")))
        keep_freed_memory()
    # accelerate's launcher for one process sets MASTER_ADDR when it was asked for several
    # (`--cpu --num_processes 2`, `distributed_type: NO`), starts one, and says nothing.
    if "WORLD_SIZE" not in os.environ and "MASTER_ADDR" in os.environ:
        raise ConfigError(
            "accelerate was asked for several processes and started one; leave --cpu out and "
            "launch with --config_file accelerate_config.yaml --num_processes N."
        )
    _check_precision()
    _check_sharding(sharding, on_cpu=on_cpu)
    if on_cpu:
        _leave_a_world_of_one()
    expected = int(os.environ.get("WORLD_SIZE", "1"))
    actual: int = PartialState(cpu=on_cpu).num_processes
    if actual != expected:
        raise ConfigError(
            f"{expected} processes were started but accelerate sees {actual}: each would train "
            "alone and write over the others; launch with accelerate_config.yaml."
        )
    if actual > 1:
        watch(PartialState().process_index, actual)  # from here on one that hangs ends them all
    return actual


def _check_precision() -> None:
    """Refuse mixed precision of the launch configuration: the recipes have a key of their own."""
    asked = os.environ.get("ACCELERATE_MIXED_PRECISION", "no")
    if asked != "no":
        raise ConfigError(
            f"the launch configuration has mixed_precision={asked}, and what a recipe computes in "
            "its own key bf16 says; set mixed_precision: 'no' there and bf16: true here."
        )


def _check_sharding(sharding: Sharding, *, on_cpu: bool) -> None:
    """Refuse FSDP or DeepSpeed that the launch configuration asks for and nobody applies."""
    for name, variable in SHARDING.items():
        if os.environ.get(variable, "false").lower() != "true":
            continue
        if sharding == "none" or (sharding == "own" and name == "DeepSpeed"):
            raise ConfigError(
                f"the launch configuration asks for {name}, which this recipe does not apply: "
                "every process would hold whole models; launch with accelerate_config.yaml."
            )
        if on_cpu and sharding == "accelerate":
            raise ConfigError(
                f"the launch configuration asks for {name}, which accelerate leaves out without a "
                "word where there is no GPU: every process would hold whole models; launch with "
                "accelerate_config.yaml."
            )


def _leave_a_world_of_one() -> None:
    """Let a process that was launched alone be one that nobody launched.

    accelerate would make a group of it and wrap its models in DDP, which copies each gradient for
    nobody. Shards need the group. Only called on a CPU: with a GPU it was not tried.
    """
    sharded = any(os.environ.get(name, "false").lower() == "true" for name in SHARDING.values())
    if os.environ.get("WORLD_SIZE") == "1" and not sharded:
        for name in (*WORLD, "LOCAL_RANK", "LOCAL_WORLD_SIZE"):
            os.environ.pop(name, None)


class SigtermFlag:
    """True once SIGTERM has come; a trainer asks between steps, checkpoints, raises `Stopped`.

    `release` gives the signal back to whom it did its work for before: nobody asks any more.
    """

    def __init__(self) -> None:
        self.received = False
        self._before = signal.signal(signal.SIGTERM, self._receive)

    def release(self) -> None:
        """Let SIGTERM do again what it did before."""
        signal.signal(signal.SIGTERM, self._before)

    def _receive(self, number: int, frame: types.FrameType | None) -> None:
        self.received = True

    def __bool__(self) -> bool:
        return self.received

    def on_any_process(self) -> bool:
        """Whether it has come to any rank: all of them have to stop at the same step."""
        import torch
        from accelerate import PartialState
        from accelerate.utils import reduce

        votes = torch.tensor(float(self.received), device=PartialState().device)
        return bool(reduce(votes, "sum").item())


def quiet_logs() -> None:
    """Libraries report errors only, and show progress bars on the main process's terminal only."""
    import warnings

    import transformers

    transformers.logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    # datasets and pandas are 80 MB; where they come later they read these.
    os.environ |= {"DATASETS_VERBOSITY": "error", "HF_DATASETS_DISABLE_PROGRESS_BARS": "1"}
    if "datasets" in sys.modules:
        sys.modules["datasets"].logging.set_verbosity_error()
        sys.modules["datasets"].disable_progress_bars()
    warnings.filterwarnings("ignore", category=FutureWarning)
    if not is_main_process() or not sys.stderr.isatty():
        transformers.logging.disable_progress_bar()  # type: ignore[no-untyped-call]
