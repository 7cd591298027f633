"""Memory that was freed is there again without the kernel."""

import subprocess
import sys

import pytest

TWICE = """
import resource, sys
import torch
from rlhf.runtime.malloc import keep_freed_memory

if sys.argv[1] == "kept":
    keep_freed_memory()
faults = []
for _ in range(40):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.ones(16 * 2**20)  # 64 MiB, 16,384 pages of 4 KiB
    faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
# The first ones still grow the heap: what aligning leaves over lies in glibc's cache of small
# pieces, seven of a size, between the tensor and the rest, until that cache is full.
print(sum(faults[-10:]))
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's malloc is Linux's")
def test_a_freed_tensor_costs_no_page_faults_when_it_comes_again():
    faults = {
        how: int(subprocess.check_output([sys.executable, "-c", TWICE, how], text=True))
        for how in ("kept", "as it is")
    }
    if faults["as it is"] < 1000:
        pytest.skip("this kernel maps huge pages: there are few faults either way")
    assert faults["kept"] < 100, faults
