"""Ctrl-C during training: the run stops between two steps, after a checkpoint."""

from __future__ import annotations

import signal
import threading


class StopRequest:
    """A context in which the first Ctrl-C only sets `requested`, and a second one stops at once.

    Outside of the context, Ctrl-C raises `KeyboardInterrupt` immediately, as usual. In threads
    other than the main one the context has no effect, because they receive no signals.
    """

    def __init__(self):
        self.requested = False

    def __enter__(self) -> StopRequest:
        self._in_main_thread = threading.current_thread() is threading.main_thread()
        if self._in_main_thread:
            self._previous = signal.signal(signal.SIGINT, self._handle)
        return self

    def __exit__(self, *_) -> None:
        if self._in_main_thread:
            signal.signal(signal.SIGINT, self._previous)

    def _handle(self, *_) -> None:
        if self.requested:
            raise KeyboardInterrupt
        self.requested = True
