"""The threads that PyTorch uses inside a thread of the server."""

from __future__ import annotations

import sys


def set_threads(count: int) -> None:
    """Let PyTorch use `count` threads in what the calling thread computes.

    Without effect where PyTorch is not loaded, because all models are exported ones.
    """
    torch = sys.modules.get("torch")
    if torch is not None:
        # The first call of a thread sets it to what any thread has set last, and later calls
        # do not: without this one, that happens in the first operation, after the setting below.
        torch.get_num_threads()
        torch.set_num_threads(count)
