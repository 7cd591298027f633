"""Names of machines, and the CPU that a run sees."""

import pytest

from rlhf.models.shape import GIB
from rlhf.planning import machines
from rlhf.planning.machines import GPUS, parse_machines, this_cpu
from tests.errors import raises


@pytest.mark.parametrize(
    ("text", "parsed"),
    [
        ("2xA100-80", (2, "A100-80")),
        ("h100-80", (1, "H100-80")),
        ("L4", (1, "L4-24")),
        ("4xcpu", (4, "cpu")),
        ("RTX4090-24", (1, "RTX4090-24")),
    ],
)
def test_number_and_name(text, parsed):
    assert parse_machines(text) == parsed


@pytest.mark.parametrize(
    ("text", "named"), [("A100-8", "A100-80"), ("8x", "A100-40"), ("0xL4", "1")]
)
def test_unknown_machine_names_the_nearest_or_all(text, named):
    with raises("bad-value", text, named):
        parse_machines(text)


def test_memory_of_each_gpu_is_in_its_name():
    assert all(gpu.memory == int(gpu.name.rpartition("-")[2]) * GIB for gpu in GPUS.values())


def test_limit_of_the_container_bounds_the_memory(tmp_path, monkeypatch):
    limit = tmp_path / "memory.max"
    monkeypatch.setattr(machines, "CGROUP_LIMIT", limit)
    limit.write_text("max\n")
    whole = this_cpu().memory
    limit.write_text("1000000\n")
    assert (this_cpu().memory, whole > 1_000_000) == (1_000_000, True)
