"""SIGTERM ends a run after a checkpoint."""

import signal
import types


class Stopped(Exception):
    """SIGTERM came and a checkpoint was written; the process ends with status 75."""


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
