"""SIGTERM stops a run after a checkpoint; Ctrl-C interrupts no optimizer step."""

import signal
import threading
import types
from collections.abc import Iterator
from contextlib import contextmanager

from rlhf.runtime.nodes import node_name
from rlhf.runtime.orphan import launcher_is_gone


class Stopped(Exception):
    """SIGTERM was received and a checkpoint was written; the process exits with status 75."""


class SigtermFlag:
    """True once SIGTERM was received; a trainer checks it between steps and raises `Stopped`.

    `release`, or the end of a `with` block, restores the previous handler. Outside the main thread,
    where Python allows no handler, the flag stays False.
    """

    def __init__(self) -> None:
        self.received = False
        self._handles = threading.current_thread() is threading.main_thread()
        if self._handles:
            self._before = signal.signal(signal.SIGTERM, self._receive)

    def release(self) -> None:
        """Restore the previous handler of SIGTERM."""
        if self._handles:
            signal.signal(signal.SIGTERM, self._before)

    def __enter__(self) -> "SigtermFlag":
        return self

    def __exit__(self, *error: object) -> None:
        self.release()

    def _receive(self, number: int, frame: types.FrameType | None) -> None:
        self.received = True

    def __bool__(self) -> bool:
        return self.received

    def on_any_process(self) -> bool:
        """Whether any rank received it: all ranks have to stop at the same step."""
        import torch
        from accelerate import PartialState
        from accelerate.utils import reduce

        votes = torch.tensor(float(self.received), device=PartialState().device)
        return bool(reduce(votes, "sum").item())

    def reason(self) -> str:
        """What stops the run, for a message. Call it on all ranks.

        In a run on several nodes it names the nodes, because the others saw nothing.
        """
        from accelerate.utils import gather_object

        if not (node := node_name()):
            return "SIGTERM"
        what = "the loss of the launcher of" if launcher_is_gone() else "SIGTERM to"
        causes = gather_object([f"{what} {node}" if self.received else ""])
        return "; ".join(dict.fromkeys(cause for cause in causes if cause))


@contextmanager
def whole_step() -> Iterator[None]:
    """Ctrl-C during the block takes effect at its end: an optimizer step is taken whole or not.

    The weights can then be saved after it.
    """
    before = signal.getsignal(signal.SIGINT)
    # Python handles signals in the main thread only. None is a handler that Python cannot restore.
    if threading.current_thread() is not threading.main_thread() or before is None:
        yield
        return
    received: list[int] = []
    signal.signal(signal.SIGINT, lambda number, frame: received.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if received:
        signal.raise_signal(signal.SIGINT)  # also where the handler is the system's own
