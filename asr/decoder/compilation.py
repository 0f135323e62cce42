"""Compiling the loops of a decoder before they are needed, with a message if that takes long."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable

QUIET_S = 1.5  # a shorter wait needs no message


class Compilation:
    """The compilation of one decoder's loops, which happens once in a process.

    name: of the decoder, for the message.
    """

    def __init__(self, name: str):
        self._name, self._lock, self._done = name, threading.Lock(), False

    def ensure(self, run: Callable[[], object]) -> None:
        """Call `run` the first time, which must use each compiled loop once: numba loads it from
        its cache on disk, or compiles it."""
        with self._lock:
            if self._done:
                return
            message = f"compiling {self._name}, once after installation (at most 30 s)"
            timer = threading.Timer(QUIET_S, lambda: print(message, file=sys.stderr))
            timer.daemon = True
            timer.start()
            try:
                run()
                self._done = True
            finally:
                timer.cancel()
