"""The progress of a long pass: a bar on a terminal, lines in a file."""

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rlhf.runtime.distributed import is_main_process, is_silenced, print_once

SECONDS = 15.0  # between two lines; a shorter pass prints none


@contextmanager
def progress(title: str, total: int, done: int = 0) -> Iterator[Callable[[int], None]]:
    """A function that takes the number of further items that are done; 0 shows the time.

    On a terminal it moves a bar with the time that is left. Elsewhere it prints a line every
    `SECONDS`. The main process prints, and nothing is printed if the logger `rlhf` is above INFO.

    Args:
        title: of the bar and the lines.
        total: number of items.
        done: how many an interrupted pass has done already.
    """
    if not is_main_process() or is_silenced():
        yield lambda count: None
    elif sys.stderr.isatty():
        from tqdm import tqdm  # type: ignore[import-untyped]

        with tqdm(total=total, initial=done, desc=title, leave=False) as bar:

            def move(count: int) -> None:
                bar.update(count)
                if not count:
                    bar.refresh()  # the time that has passed

            yield move
    else:
        yield _Lines(title, total, done).add


@contextmanager
def waiting(title: str) -> Iterator[None]:
    """Prints a line every `SECONDS` while the block waits for something without parts to count."""
    began, ended = time.monotonic(), threading.Event()

    def show() -> None:
        while not ended.wait(SECONDS):
            print_once(f"{title}: {time.monotonic() - began:.0f} s")

    threading.Thread(target=show, name="rlhf-waiting", daemon=True).start()
    try:
        yield
    finally:
        ended.set()


class _Lines:
    """Prints `title: done of total, about TIME left` from time to time."""

    def __init__(self, title: str, total: int, done: int) -> None:
        self.title, self.total = title, total
        self.done = self.first = done
        self.started_at = self.printed_at = time.monotonic()

    def add(self, count: int) -> None:
        """Count items; print a line if the last one is `SECONDS` old."""
        self.done += count
        now = time.monotonic()
        if now - self.printed_at >= SECONDS:
            left = remaining(self.done - self.first, self.total - self.done, now - self.started_at)
            print_once(f"{self.title}: {self.done} of {self.total}{left}")
            self.printed_at = now


def remaining(done: int, left: int, seconds: float) -> str:
    """`, about 3 min left`, if `left` items take as long as the `done` ones took."""
    if not done or not left:
        return ""
    expected = seconds * left / done
    if expected < 90:
        return f", about {expected:.0f} s left"
    hours, minutes = divmod(round(expected / 60), 60)
    return f", about {f'{hours} h ' if hours else ''}{minutes} min left"
