import atexit
import json

import pytest
from accelerate.tracking import LOGGER_TYPE_TO_CLASS, GeneralTracker

from rlhf.training.common.metrics import METRICS, MetricsWriter, forget_after, read_metrics


def test_each_step_is_one_json_object(tmp_path):
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


def test_resumed_run_rewrites_later_steps(tmp_path):
    writer = MetricsWriter(tmp_path)
    for step in (1, 2, 3):
        writer.write(step, {"loss": 1.0})
    with (tmp_path / METRICS).open("a") as file:
        file.write('{"step": 4, "lo')  # killed while it was writing
    assert [line["step"] for line in read_metrics(tmp_path)] == [1, 2, 3]
    forget_after(tmp_path, 2)
    writer.write(3, {"loss": 2.0})
    assert [line["step"] for line in read_metrics(tmp_path)] == [1, 2, 3]
    assert read_metrics(tmp_path)[-1]["loss"] == 2.0


class Recorder(GeneralTracker):
    """A tracker with accelerate's interface."""

    name, requires_logging_directory = "recorder", True

    def __init__(self, run_name, logging_dir):
        super().__init__()
        self.calls = [(run_name, logging_dir)]

    def start(self):
        self.calls.append("start")

    def store_init_configuration(self, values):
        raise NotImplementedError

    def log(self, values, step):
        self.calls.append((step, values))

    def finish(self):
        self.calls.append("finish")

    tracker = None


def test_tracker_is_started_gets_all_lines_and_is_closed(tmp_path, monkeypatch):
    """accelerate's trackers open nothing before `start`, and some send nothing before `finish`."""
    at_exit = []
    monkeypatch.setattr(atexit, "register", at_exit.append)
    monkeypatch.setitem(LOGGER_TYPE_TO_CLASS, "recorder", Recorder)
    writer = MetricsWriter(tmp_path / "run", ["recorder"])
    writer.write(1, {"loss": 0.5})
    at_exit[-1]()
    [tracker] = writer._trackers
    assert tracker.calls == [("run", tmp_path / "run"), "start", (1, {"loss": 0.5}), "finish"]


def test_tensorboard_has_the_logged_values(tmp_path):
    reader = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    writer = MetricsWriter(tmp_path / "run", ["tensorboard"])
    writer.write(1, {"loss": 0.5})
    writer.write(2, {"loss": 0.25})
    writer._trackers[0].finish()
    events = reader.EventAccumulator(str(tmp_path / "run" / "run"))
    events.Reload()
    assert [(one.step, one.value) for one in events.Scalars("loss")] == [(1, 0.5), (2, 0.25)]
