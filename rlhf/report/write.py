"""`rlhf report RUN_DIR`: writes report.html, a single file, from the run folder alone."""

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from rlhf.errors import CheckpointError, ConfigError, RLHFError
from rlhf.manifest import write_atomically
from rlhf.report.page import render
from rlhf.report.read import read_run
from rlhf.runtime.command_parser import CommandParser

REPORT = "report.html"
# The files that the page depends on, in a run folder or in those of a pipeline's stages.
WATCHED = tuple(
    f"{folder}{name}"
    for folder in ("", "*/", "round-*/*/")
    for name in ("*.json", "metrics.jsonl", "config.yaml", "samples/*")
)


def main(argv: Sequence[str]) -> int:
    """`rlhf report`."""
    parser = CommandParser(
        prog="rlhf report",
        description="Write the report of a run folder, a single HTML file.",
        allow_abbrev=False,
    )
    parser.add_argument("run_dir", help="Folder of a pipeline or of one recipe.")
    parser.add_argument(
        "--watch", action="store_true", help="Write the report again whenever a file changes."
    )
    parser.add_argument(
        "--interval",
        type=float,
        default=5.0,
        help="Seconds between checks of the folder, with --watch.",
    )
    parser.add_argument("--output", help="File to write; default: RUN_DIR/report.html.")
    options = parser.parse_args(argv)
    run_dir = Path(options.run_dir)
    output = Path(options.output) if options.output else run_dir / REPORT
    try:
        if options.watch:
            watch(run_dir, output, seconds=options.interval, log=print)
        else:
            print(write_report(run_dir, output))
    except OSError as error:
        if isinstance(error, RLHFError):
            raise
        raise ConfigError(
            f"{output} cannot be written: {error.strerror}; write another file with --output FILE.",
            code="unreadable-file",
        ) from error
    return 0


def watch(
    run_dir: Path,
    output: Path | None = None,
    *,
    seconds: float,
    log: Callable[[str], object],
    sleep: Callable[[float], object] = time.sleep,
) -> None:
    """Write the report again whenever a file in the folder changes, until Ctrl-C.

    The folder may still be without a run. The page reloads itself at the same interval.

    Args:
        run_dir: folder of the run.
        output: file to write; by default report.html in the folder.
        seconds: interval between checks.
        log: called with each message.
        sleep: called with `seconds` between checks.

    Raises:
        ConfigError: `seconds` is not above 0.
    """
    if not seconds > 0:
        raise ConfigError(f"interval={seconds} must be above 0.", code="bad-value")
    last_stamps: Mapping[Path, tuple[int, int]] | None = None
    written = False
    log(f"watching {run_dir}; Ctrl-C stops it")
    try:
        while True:
            stamps = _stamps(run_dir)
            if stamps != last_stamps:
                last_stamps = stamps
                try:
                    path = write_report(run_dir, output, refresh=max(1, round(seconds)))
                    written = True
                    log(f"{time.strftime('%H:%M:%S')} {path}")
                except CheckpointError:
                    log(f"{time.strftime('%H:%M:%S')} {run_dir} has no run yet")
            sleep(seconds)
    except KeyboardInterrupt:
        if written:
            write_report(run_dir, output)  # without the automatic reload


def _stamps(run_dir: Path) -> dict[Path, tuple[int, int]]:
    """Size and time of the files that the report depends on."""
    stamps = {}
    for pattern in WATCHED:
        for path in run_dir.glob(pattern):
            try:
                stat = path.stat()
            except OSError:  # replaced between the two calls
                continue
            stamps[path] = (stat.st_size, stat.st_mtime_ns)
    return stamps


def write_report(run_dir: Path, output: Path | None = None, *, refresh: int | None = None) -> Path:
    """Write the page, `run_dir/report.html` by default, and return its path.

    refresh: seconds after which a browser reloads the page; None: never.

    Raises:
        CheckpointError: the folder has no run.
    """
    run = read_run(run_dir)
    path = output or run_dir / REPORT
    write_atomically(path, render(run, refresh=refresh))
    return path
