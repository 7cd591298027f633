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
