"""Keeping freed memory for the next tensor of its size.

Training on a CPU frees and takes the same large tensors again at every layer. The C library returns blocks of that size
to the system and asks for them anew, and the system clears every page before it hands it out; with large models that
is a noticeable part of a step. Told to keep them, the process holds its peak from the first step on and reuses it.
"""

from __future__ import annotations

import ctypes
import sys

_TRIM_THRESHOLD = -1
_MMAP_MAX = -4
_MOST = 2**31 - 1


def keep_freed_memory() -> bool:
    """Let the C library of this process keep what is freed; whether it could be told so (glibc on Linux)."""
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    # No blocks of their own from the system (mmap), and the heap's free end stays: see mallopt(3).
    return bool(mallopt(_MMAP_MAX, 0)) and bool(mallopt(_TRIM_THRESHOLD, _MOST))
