"""The progress of a long pass: a bar on a terminal, lines in a file."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rlhf.runtime.distributed import is_main_process, is_silenced, print_once

SECONDS = 15.0  # between two lines; a shorter pass prints none


@contextmanager
def progress(title: str, total: int) -> Iterator[Callable[[int], None]]:
    """A function that takes the number of further items that are done.

    On a terminal it moves a bar. Elsewhere it prints a line every `SECONDS`. The main process
    prints, and nothing is printed if the logger `rlhf` is above INFO.
    """
    if not is_main_process() or is_silenced():
        yield lambda count: None
    elif sys.stderr.isatty():
        from tqdm import tqdm  # type: ignore[import-untyped]

        with tqdm(total=total, desc=title, leave=False) as bar:
            yield bar.update
    else:
        yield _Lines(title, total).add


class _Lines:
    """Prints `title: done of total` from time to time."""

    def __init__(self, title: str, total: int) -> None:
        self.title, self.total = title, total
        self.done = 0
        self.printed_at = time.monotonic()

    def add(self, count: int) -> None:
        """Count items; print a line if the last one is `SECONDS` old."""
        self.done += count
        if time.monotonic() - self.printed_at >= SECONDS:
            print_once(f"{self.title}: {self.done} of {self.total}")
            self.printed_at = time.monotonic()
