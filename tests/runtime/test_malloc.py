"""Freed memory is reused without the kernel."""

import subprocess
import sys

import pytest

TWICE = """
import resource, sys
import torch
from rlhf.runtime.malloc import keep_freed_memory

if sys.argv[1] == "reused":
    keep_freed_memory()
faults = []
for _ in range(40):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.ones(16 * 2**20)  # 64 MiB, 16,384 pages of 4 KiB
    faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
# The first allocations still grow the heap: remainders of the alignment stay in glibc's cache of
# small pieces, seven of each size, between the tensor and the rest, until that cache is full.
print(sum(faults[-10:]))
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's malloc is Linux's")
def test_reallocated_tensor_costs_no_page_faults():
    faults = {
        how: int(subprocess.check_output([sys.executable, "-c", TWICE, how], text=True))
        for how in ("reused", "default")
    }
    if faults["default"] < 1000:
        pytest.skip("this kernel maps huge pages, so there are few faults anyway")
    assert faults["reused"] < 100, faults


RETURNED = """
import sys
import torch
from rlhf.runtime.malloc import keep_freed_memory, return_freed_memory

def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096 / 2**20

keep_freed_memory()
small = [torch.ones(2**18) for _ in range(256)]  # 1 MiB each
held = small[1::2]
before = resident()
del small
kept = resident()
return_freed_memory()
print(before - kept, before - resident())
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's malloc is Linux's")
def test_freed_memory_between_used_pieces_is_returned():
    """Half of 256 MiB is freed in pieces of 1 MiB, each between two that stay in use."""
    output = subprocess.check_output([sys.executable, "-c", RETURNED], text=True)
    while_kept, when_returned = map(float, output.split())
    assert while_kept < 2
    assert when_returned > 120
