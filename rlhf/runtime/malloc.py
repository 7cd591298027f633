"""Keep freed memory of CPU tensors in the C library."""

import ctypes
import sys

# Parameters of mallopt(3) and their values.
M_MMAP_MAX, M_TRIM_THRESHOLD = -4, -1
NO_MAPPINGS, NEVER = 0, 2**31 - 1


def keep_freed_memory() -> None:
    """Make glibc reuse freed memory instead of returning it to the kernel.

    By default each tensor above a threshold has its own mapping: the kernel zeroes its pages on
    allocation and takes them back on release, for every activation of every step. Peak memory is
    unchanged, but the process stays at its peak. Other C libraries are left alone. Measurements
    are in docs/research/lab-notes.md.
    """
    if not sys.platform.startswith("linux"):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(M_MMAP_MAX, NO_MAPPINGS)
        mallopt(M_TRIM_THRESHOLD, NEVER)
