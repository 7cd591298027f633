"""A verifier that runs the program of a response with the tests of its row."""

import json
import os
import re
import secrets
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from rlhf.errors import ConfigError
from rlhf.rewards.case import Case, NoScore
from rlhf.rewards.concurrent import AsyncScorer, in_threads
from rlhf.rewards.options import CallOptions
from rlhf.rewards.verifiers import sandbox
from rlhf.rewards.verifiers.source import VerifierSource

START_SECONDS = 10.0  # for Python to start, on a busy machine
_FENCE = re.compile(r"^```[ \t]*(?:python|py)?[ \t]*\n(.*?)^```", re.DOTALL | re.MULTILINE)


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Limits of a program."""

    seconds: int
    memory_mb: int


def code(source: VerifierSource, options: CallOptions) -> AsyncScorer:
    """1 where the response's Python program passes the tests of its row, else 0.

    The program is the last fenced block of the response, or the whole response without one. The
    tests are Python code that raises where they fail. Options: `column` (tests), `seconds` of
    processor time (10), `memory_mb` (512). See `sandbox.py` for what the limits are worth.
    """
    column = source.options.get("column", "tests")
    limits = limits_of(source)

    def score(cases: Sequence[Case]) -> object:
        return [_passed(case, column, limits) for case in cases]

    return AsyncScorer(score=in_threads(score), identity=source.source)


def limits_of(source: VerifierSource) -> Limits:
    """The limits in the options.

    Raises:
        ConfigError: not numbers above 0.
    """
    return Limits(
        seconds=max(1, round(source.number("seconds", 10))),
        memory_mb=round(source.number("memory_mb", 512, above=63)),
    )


def check_machine(source: VerifierSource, options: CallOptions) -> None:
    """Check that the user allowed it, and that this machine can limit a program.

    Raises:
        ConfigError: `reward_run_code` is not set, or a program would have a network.
    """
    if not options.run_code:
        raise ConfigError(
            f"reward {source.source} runs programs that the policy writes, on this machine and "
            "with your files in reach; start the run in a container, and set reward_run_code=true.",
            code="not-allowed",
        )
    if sys.platform != "linux":
        raise ConfigError(
            f"reward {source.source} limits programs by namespaces of Linux, which "
            f"{sys.platform} has not.",
            code="unsupported",
        )
    limits = limits_of(source)
    if limits.seconds + START_SECONDS > options.timeout:
        raise source.error(
            f"seconds={limits.seconds} and {START_SECONDS:g} s to start Python are more than "
            f"reward_timeout={options.timeout:g}; raise that, or use fewer seconds"
        )
    try:
        passed = run_program("value = 1 + 1", "assert value == 2", limits)
    except NoScore as error:
        raise ConfigError(f"reward {source.source}: {error}.", code="unsupported") from error
    if not passed:
        raise source.error("a program that only adds two numbers fails; raise memory_mb or seconds")


def program_of(text: str) -> str:
    """The last fenced block of the text, or the text."""
    blocks = _FENCE.findall(text)
    return str(blocks[-1]) if blocks else text


def run_program(program: str, tests: str, limits: Limits) -> bool:
    """Whether program and tests run without an exception, within the limits.

    False also for a program that a limit or a signal ends. If the system kills it because memory is
    full, it cannot be told from a program that kills itself to avoid a score.

    Raises:
        NoScore: the machine cannot keep the program off the network, or cannot run it.
    """
    token = secrets.token_hex(16)
    request = {
        "program": program,
        "tests": tests,
        "token": token,
        "seconds": limits.seconds,
        "memory_mb": limits.memory_mb,
    }
    with TemporaryDirectory(prefix="rlhf-code-") as folder:
        process = subprocess.Popen(
            [sys.executable, "-I", str(Path(sandbox.__file__))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd=folder,
            env={"PATH": os.defpath, "HOME": folder},
            start_new_session=True,
        )
        try:
            output, _ = process.communicate(
                json.dumps(request).encode(), timeout=limits.seconds + START_SECONDS
            )
        except subprocess.TimeoutExpired:  # it slept, or waits for another process
            return False
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.communicate()
    if process.returncode == sandbox.NO_NAMESPACE:
        raise NoScore(
            "the kernel does not let this process leave the network (user namespaces are off): "
            "allow them, or score the programs by a server of your own"
        )
    if process.returncode not in (0, sandbox.FAILED):
        # A response must not lose its score because this machine is out of memory or processes.
        raise NoScore(
            f"the process that limits a program ended with status {process.returncode}; lower "
            "reward_concurrency, or free memory",
            again=True,
        )
    return process.returncode == 0 and output == token.encode()


def _passed(case: Case, column: str, limits: Limits) -> float:
    tests = case.columns.get(column)
    if not isinstance(tests, str):
        raise NoScore(f"the row has no text in the column {column}")
    return float(run_program(program_of(case.text), tests, limits))
