"""When the C library keeps freed memory of CPU tensors, and when it returns it."""

import ctypes
import sys
from collections.abc import Callable

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
    mallopt = _function("mallopt")
    if mallopt is not None:
        mallopt(M_MMAP_MAX, NO_MAPPINGS)
        mallopt(M_TRIM_THRESHOLD, NEVER)


def return_freed_memory() -> None:
    """Return the freed memory to the kernel, once.

    Call it between two phases whose tensors differ in size: the second one does not fit into the
    pieces that the first one leaves, so that both would count towards the peak.
    """
    malloc_trim = _function("malloc_trim")
    if malloc_trim is not None:
        malloc_trim(0)


def _function(name: str) -> Callable[..., int] | None:
    """A function of glibc; None elsewhere."""
    if not sys.platform.startswith("linux"):
        return None
    function: Callable[..., int] | None = getattr(ctypes.CDLL(None), name, None)
    return function
