"""Processes and the GPUs of their machine."""

import pytest

from rlhf.runtime.distributed import _check_gpus
from tests.errors import raises


@pytest.mark.parametrize(
    ("here", "world", "gpus"),
    [("2", "2", 2), ("2", "4", 2), (None, "1", 1), (None, "8", 1), ("1", "1", 8), ("4", "4", 0)],
    ids=["one each", "two machines", "no launcher", "Slurm", "spare", "CPU"],
)
def test_a_gpu_for_each_process_of_the_machine_is_enough(monkeypatch, here, world, gpus):
    """Slurm's processes, without a launcher of torch, may see one GPU each."""
    _machine(monkeypatch, here, world, gpus)
    _check_gpus()


def test_processes_of_one_of_two_machines_are_too_many(monkeypatch):
    _machine(monkeypatch, "3", "6", 2)
    with raises("bad-launch", "3 processes", "2 visible GPU(s)"):
        _check_gpus()


def _machine(monkeypatch, here, world, gpus):
    monkeypatch.setenv("WORLD_SIZE", world)
    monkeypatch.delenv("LOCAL_WORLD_SIZE", raising=False)
    if here is not None:
        monkeypatch.setenv("LOCAL_WORLD_SIZE", here)
    monkeypatch.setattr("torch.cuda.is_available", lambda: gpus > 0)
    monkeypatch.setattr("torch.cuda.device_count", lambda: gpus)
