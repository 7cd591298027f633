"""What the benchmarks of a chat model share: options, versions, the check for an idle machine."""

import argparse
import os
import subprocess

LOAD = 0.5


def model_parser(name: str, description: str | None, output: str | None) -> argparse.ArgumentParser:
    """A parser with model, --threads, --busy and --output.

    Args:
        name: of the module in benchmarks/.
        description: the module's docstring.
        output: name of the page in benchmarks/; None for a command that only prints.
    """
    parser = argparse.ArgumentParser(
        prog=f"python -m benchmarks.{name}",
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("model", help="Folder of a chat model.")
    parser.add_argument("--threads", type=int, default=2, help="CPU threads of an engine.")
    parser.add_argument("--busy", action="store_true", help="Measure on a busy machine too.")
    if output is not None:
        parser.add_argument("--output", default=f"benchmarks/{output}", help="Results page.")
    return parser


def check_idle(parser: argparse.ArgumentParser, *, busy: bool) -> None:
    """End the command on a machine with other work, unless it is to measure on a busy one."""
    load = os.getloadavg()[0]
    if load > LOAD and not busy:
        parser.error(f"the load is {load:.2f}, above {LOAD}; wait, or measure anyway with --busy.")


def version_of(python: str, package: str) -> str:
    """Name and version of a package in the environment of `python`."""
    code = f"import importlib.metadata as m; print(m.version({package!r}))"
    done = subprocess.run([python, "-c", code], capture_output=True, text=True, check=True)
    return f"{package} {done.stdout.strip()}"
