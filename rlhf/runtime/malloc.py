"""What the C library does with memory that tensors on a CPU gave back."""

import ctypes
import sys

# Parameters of mallopt(3) and the values that they get.
M_MMAP_MAX, M_TRIM_THRESHOLD = -4, -1
NO_MAPPINGS, NEVER = 0, 2**31 - 1


def keep_freed_memory() -> None:
    """Let glibc hand freed memory out again instead of giving it back to the kernel.

    By default each tensor above a threshold is a mapping of its own: the kernel fills its pages
    with zeros when it is made and takes them back when it goes, for every activation of every
    step. The peak stays what it is, the process stays at it. Nothing happens where the C library
    is another one. What it brings is in docs/research/lab-notes.md.
    """
    if not sys.platform.startswith("linux"):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(M_MMAP_MAX, NO_MAPPINGS)
        mallopt(M_TRIM_THRESHOLD, NEVER)
