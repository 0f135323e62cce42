"""Ctrl-C during training: the run stops between two steps, after a checkpoint."""

from __future__ import annotations

import signal


class StopRequest:
    """While it is entered, the first Ctrl-C only sets `requested`; a second one stops at once.

    Outside of it, Ctrl-C raises `KeyboardInterrupt` immediately, as usual.
    """

    def __init__(self):
        self.requested = False

    def __enter__(self) -> StopRequest:
        self._previous = signal.signal(signal.SIGINT, self._handle)
        return self

    def __exit__(self, *_) -> None:
        signal.signal(signal.SIGINT, self._previous)

    def _handle(self, *_) -> None:
        if self.requested:
            raise KeyboardInterrupt
        self.requested = True
