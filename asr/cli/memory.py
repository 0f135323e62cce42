"""The memory that the C library keeps for a process."""

from __future__ import annotations

import ctypes
import sys

M_ARENA_MAX = -8  # of mallopt(3), in glibc


def share_one_arena() -> None:
    """Let all threads allocate from one arena; without effect where the C library is not glibc.

    By default, glibc gives each thread an arena, and each arena keeps the memory that its threads
    have freed. With int8 weights and two threads, one arena lowers the peak memory of a recording
    of 15 minutes from about 290 MiB to 236 MiB, in the same time. Call it before threads start.
    """
    if sys.platform == "linux":
        mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
        if mallopt is not None:
            mallopt(M_ARENA_MAX, 1)
