"""metrics.jsonl: one JSON object per logged step, and the trackers that mirror it."""

import atexit
import json
import math
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

from accelerate import PartialState
from accelerate.tracking import LOGGER_TYPE_TO_CLASS

from rlhf.manifest import write_atomically

METRICS = "metrics.jsonl"
MetricsLine = dict[str, float | None]  # by name; None: a value that was not finite


class _Tracker(Protocol):
    def log(self, values: Mapping[str, float], step: int | None) -> object: ...


class MetricsWriter:
    """Appends to `folder/metrics.jsonl`, on the main process only.

    A line holds `step`, `episode` if given, `time` (seconds since the epoch) and the values. A
    value that is not finite is written as null, which every JSON reader accepts; the trainers stop
    on such numbers themselves. `report_to` names trackers, which `RunConfig` has checked.
    """

    def __init__(self, folder: Path, report_to: Sequence[str] = ()) -> None:
        self._path = folder / METRICS
        self._trackers: list[_Tracker] = []
        if PartialState().is_main_process:
            folder.mkdir(parents=True, exist_ok=True)
            self._trackers = [_tracker(name, folder) for name in report_to]

    def write(self, step: int, values: Mapping[str, float], *, episode: int | None = None) -> None:
        """Append one line and sync it to the disk."""
        if not PartialState().is_main_process:
            return
        line: MetricsLine = {"step": step}
        if episode is not None:
            line["episode"] = episode
        line["time"] = round(time.time(), 3)
        line |= {name: _finite(value) for name, value in values.items()}
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
            file.flush()
            os.fsync(file.fileno())
        for tracker in self._trackers:
            tracker.log(dict(values), step)


def read_metrics(folder: Path) -> list[MetricsLine]:
    """The lines of the folder's metrics.jsonl; an incomplete last line is left out."""
    path = folder / METRICS
    if not path.is_file():
        return []
    lines = path.read_text(encoding="utf-8").splitlines()
    return [parsed for line in lines if (parsed := _parse(line)) is not None]


def forget_after(folder: Path, step: int) -> None:
    """Delete the lines of later steps, which a resumed run writes again."""
    if not PartialState().is_main_process or not (folder / METRICS).is_file():
        return
    lines = [line for line in read_metrics(folder) if (line["step"] or 0) <= step]
    write_atomically(folder / METRICS, "".join(json.dumps(line) + "\n" for line in lines))


def _parse(line: str) -> MetricsLine | None:
    try:
        parsed = json.loads(line)
    except ValueError:
        return None
    return parsed if isinstance(parsed, dict) and "step" in parsed else None


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def _tracker(name: str, folder: Path) -> _Tracker:
    """accelerate's tracker of this name, logging to the run folder; closed when the run ends."""
    kind = LOGGER_TYPE_TO_CLASS[name]
    project = folder.resolve().name
    tracker = (
        kind(project, logging_dir=folder) if kind.requires_logging_directory else kind(project)
    )
    os.environ.setdefault("WANDB_DIR", str(folder))  # else wandb writes into the working directory
    tracker.start()
    atexit.register(tracker.finish)  # some send their last lines only then
    return tracker  # type: ignore[no-any-return]
