import atexit
import json

import pytest
from accelerate.tracking import LOGGER_TYPE_TO_CLASS, GeneralTracker

from rlhf.training.common.metrics import METRICS, MetricsWriter, forget_after, read_metrics


def test_one_json_object_a_step(tmp_path):
    writer = MetricsWriter(tmp_path)
    writer.write(1, {"loss": 0.5})
    writer.write(2, {"loss": float("nan")}, episode=64)
    first, second = (json.loads(line) for line in (tmp_path / METRICS).read_text().splitlines())
    assert first["step"] == 1
    assert first["loss"] == 0.5
    assert first["time"] > 1.6e9
    assert "episode" not in first
    assert second["episode"] == 64
    assert second["loss"] is None


def test_a_resumed_run_writes_the_later_steps_again(tmp_path):
    writer = MetricsWriter(tmp_path)
    for step in (1, 2, 3):
        writer.write(step, {"loss": 1.0})
    with (tmp_path / METRICS).open("a") as file:
        file.write('{"step": 4, "lo')  # killed while it wrote
    assert [line["step"] for line in read_metrics(tmp_path)] == [1, 2, 3]
    forget_after(tmp_path, 2)
    writer.write(3, {"loss": 2.0})
    assert [line["step"] for line in read_metrics(tmp_path)] == [1, 2, 3]
    assert read_metrics(tmp_path)[-1]["loss"] == 2.0


class Recorder(GeneralTracker):
    """A tracker by accelerate's interface."""

    name, requires_logging_directory = "recorder", True

    def __init__(self, run_name, logging_dir):
        super().__init__()
        self.seen = [(run_name, logging_dir)]

    def start(self):
        self.seen.append("start")

    def store_init_configuration(self, values):
        raise NotImplementedError

    def log(self, values, step):
        self.seen.append((step, values))

    def finish(self):
        self.seen.append("finish")

    tracker = None


def test_a_tracker_is_started_told_everything_and_closed(tmp_path, monkeypatch):
    """accelerate's trackers open nothing before `start`, and some send nothing before `finish`."""
    at_exit = []
    monkeypatch.setattr(atexit, "register", at_exit.append)
    monkeypatch.setitem(LOGGER_TYPE_TO_CLASS, "recorder", Recorder)
    writer = MetricsWriter(tmp_path / "run", ["recorder"])
    writer.write(1, {"loss": 0.5})
    at_exit[-1]()
    [tracker] = writer._trackers
    assert tracker.seen == [("run", tmp_path / "run"), "start", (1, {"loss": 0.5}), "finish"]


def test_tensorboard_has_the_numbers(tmp_path):
    reader = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    writer = MetricsWriter(tmp_path / "run", ["tensorboard"])
    writer.write(1, {"loss": 0.5})
    writer.write(2, {"loss": 0.25})
    writer._trackers[0].finish()
    events = reader.EventAccumulator(str(tmp_path / "run" / "run"))
    events.Reload()
    assert [(one.step, one.value) for one in events.Scalars("loss")] == [(1, 0.5), (2, 0.25)]
