"""Start a recipe on one or more processes, pass signals on, return the recipe's exit status."""

import argparse
import contextlib
import os
import signal
import subprocess
import sys
import threading
import types
from collections.abc import Iterator, Sequence

from rlhf.errors import STATUS_DONE, STATUS_USER, ConfigError
from rlhf.runtime.distributed import WORLD
from rlhf.runtime.orphan import PARENT
from rlhf.runtime.threads import VARIABLE, threads_are_exported

# A launcher above this one (align.py under `accelerate launch`) has put its own world in the
# environment. A stage that inherited it would wait for ranks that do not exist.
_WORLD_PREFIXES = ("LOCAL_", "GROUP_", "ROLE_", "TORCHELASTIC_", "ACCELERATE_", "FSDP_")
_INHERITED = ("ACCELERATE_USE_CPU",)

DESCRIPTION = """Run `accelerate launch` with the nearest accelerate_config.yaml above the recipe.
If there is none, it uses that of the current folder, or else the packaged one. SIGTERM and SIGINT
are forwarded to every worker; SIGHUP is sent as SIGTERM.

The exit status is that of the recipe: 0 done, 1 the run failed, 2 a mistake in the command,
configuration or data, 75 stopped after a checkpoint. It is 128 + N if signal N killed a worker."""
# Options of `accelerate launch` that `rlhf sft` and the like take among the recipe's keys.
LAUNCH_OPTIONS = ("--num_processes", "--config_file")


def launch_module(module: str, arguments: Sequence[str], *, num_processes: int = 1) -> int:
    """The exit status of the recipe `module`, such as rlhf.recipes.sft.

    Signals that arrive while it runs go to the workers, so that they can write a checkpoint.
    """
    return _run_agent([f"--num_processes={num_processes}", "-m", module, *arguments])


def main(argv: Sequence[str]) -> int:
    """`rlhf launch`."""
    if not argv:
        _help_parser().print_help(sys.stderr)
        return STATUS_USER
    if argv[0] in ("-h", "--help"):
        _help_parser().print_help()
        return STATUS_DONE
    return _run_agent(argv)


def _help_parser() -> argparse.ArgumentParser:
    """A parser for the help text alone: accelerate parses its own options."""
    parser = argparse.ArgumentParser(
        prog="rlhf launch",
        usage="rlhf launch [--num_processes N] [accelerate's options] RECIPE [its keys]",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--num_processes", type=int, default=1, help="Processes on all machines together."
    )
    parser.add_argument("--config_file", metavar="FILE", help="Configuration file of accelerate.")
    parser.add_argument("-m", "--module", action="store_true", help="RECIPE is a module's name.")
    parser.add_argument("recipe", metavar="RECIPE", help="Script, such as recipes/sft.py.")
    return parser


def run_recipe(module: str, argv: Sequence[str], options: Sequence[str] = LAUNCH_OPTIONS) -> int:
    """The exit status of `rlhf sft` and the like.

    Args:
        module: the recipe.
        argv: its keys, and among them options of `accelerate launch`.
        options: the names of those options.
    """
    launch_words, keys = _split_options(argv, options)
    return _run_agent([*launch_words, "-m", module, *keys])


def _split_options(words: Sequence[str], names: Sequence[str]) -> tuple[list[str], list[str]]:
    """The options in `names` with their values, as `--name=value`, and the other words."""
    options: list[str] = []
    others: list[str] = []
    rest = iter(words)
    for word in rest:
        name, equals, value = word.partition("=")
        name = name.replace("-", "_").replace("__", "--", 1)
        if name not in names:
            others.append(word)
            continue
        if not equals and (value := next(rest, "")) == "":
            raise ConfigError(f"{name} needs a value; write {name}=VALUE.", code="missing-key")
        options.append(f"{name}={value}")
    return options, others


def _run_agent(words: Sequence[str]) -> int:
    # The agent gets its own session: Ctrl-C at the terminal then reaches this process alone, which
    # passes it on once. Workers that get it twice die inside their own clean-up.
    agent = subprocess.Popen(
        [sys.executable, "-m", "rlhf.runtime.agent", *words],
        env=own_environment() | {PARENT: str(os.getpid())},
        start_new_session=True,
    )
    with _forwarding(agent):
        return shell_status(agent.wait())


def shell_status(exitcode: int) -> int:
    """The status as a shell reports it: 128 + N for a process that signal N killed."""
    return exitcode if exitcode >= 0 else 128 - exitcode


def own_environment() -> dict[str, str]:
    """This process's environment without the ranks and addresses that a launcher above it set."""
    environment = dict(os.environ)
    if not threads_are_exported():
        environment.pop(VARIABLE, None)
    for name in os.environ:
        if name in WORLD or (name.startswith(_WORLD_PREFIXES) and name not in _INHERITED):
            del environment[name]
    return environment


@contextlib.contextmanager
def _forwarding(agent: subprocess.Popen[bytes]) -> Iterator[None]:
    """Forward SIGTERM, SIGINT and SIGHUP of this process to `agent` while the block runs."""

    def forward(number: int, frame: types.FrameType | None) -> None:
        with contextlib.suppress(ProcessLookupError):
            agent.send_signal(signal.SIGTERM if number == signal.SIGHUP else number)

    if threading.current_thread() is not threading.main_thread():
        yield  # Python handles signals in the main thread only
        return
    numbers = [signal.SIGTERM, signal.SIGINT, signal.SIGHUP]
    # nohup ignores SIGHUP and a script's `&` ignores SIGINT on purpose: leave those ignored.
    before = {n: signal.getsignal(n) for n in numbers if signal.getsignal(n) != signal.SIG_IGN}
    for number in before:
        signal.signal(number, forward)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
