import json

from rlhf.training.metrics import METRICS, MetricsWriter, forget_after, read_metrics


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
