"""Processes and the GPUs of their machine."""

import pytest
import torch
from accelerate import DistributedType, PartialState

from rlhf.runtime.distributed import _check_gpus
from tests.errors import raises


@pytest.mark.parametrize(
    ("here", "rank", "world", "gpus"),
    [
        ("2", "1", "2", 2),
        ("2", "1", "4", 2),
        (None, None, "1", 1),
        (None, None, "8", 1),
        ("1", "0", "8", 1),
        ("1", "0", "1", 8),
        ("4", "3", "4", 0),
    ],
    ids=["one each", "two machines", "no launcher", "Slurm", "own GPU", "spare", "CPU"],
)
def test_a_gpu_for_each_process_of_the_machine_is_enough(monkeypatch, here, rank, world, gpus):
    """Eight processes that see one GPU each, their own, are all number 0 of 1."""
    _machine(monkeypatch, here, rank, world, gpus)
    _check_gpus()


def test_processes_of_one_of_two_machines_are_too_many(monkeypatch):
    _machine(monkeypatch, "3", "0", "6", 2)
    with raises("bad-launch", "3 processes", "2 visible GPU(s)"):
        _check_gpus()


@pytest.mark.parametrize(
    ("here", "rank", "count"),
    [("2", "0", 2), ("2", "1", 2), (None, "3", 4)],
    ids=["first", "second", "LOCAL_RANK alone"],
)
def test_wrapper_with_one_visible_gpu_for_each_process_learns_what_to_set(
    monkeypatch, here, rank, count
):
    """As `srun --gpus-per-task=1` starts them, or processes that share the only GPU."""
    _machine(monkeypatch, here, rank, "8", 1)
    with raises("bad-launch", f"{count} processes", "LOCAL_RANK=0", "LOCAL_WORLD_SIZE=1"):
        _check_gpus()


@pytest.mark.parametrize(("rank", "works"), [(0, True), (1, False)])
def test_accelerate_needs_number_0_for_a_process_with_one_gpu(monkeypatch, rank, works):
    """Its device is cuda:0 for every number, but its barrier takes the GPU with that number."""
    state, barriers = object.__new__(PartialState), []
    fields = {"device": None, "local_process_index": rank, "_cpu": False}
    fields["distributed_type"] = DistributedType.MULTI_GPU
    object.__setattr__(state, "__dict__", fields)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 1)
    monkeypatch.setattr("torch.cuda.set_device", lambda device: None)
    monkeypatch.setattr("torch.distributed.barrier", lambda device_ids: barriers.append(device_ids))
    state.set_device()
    state.wait_for_everyone()
    assert state.device == torch.device("cuda", 0)
    assert (barriers == [[state.device.index]]) is works


def _machine(monkeypatch, here, rank, world, gpus):
    monkeypatch.setenv("WORLD_SIZE", world)
    for name, value in (("LOCAL_WORLD_SIZE", here), ("LOCAL_RANK", rank)):
        monkeypatch.delenv(name, raising=False)
        if value is not None:
            monkeypatch.setenv(name, value)
    monkeypatch.setattr("torch.cuda.is_available", lambda: gpus > 0)
    monkeypatch.setattr("torch.cuda.device_count", lambda: gpus)
