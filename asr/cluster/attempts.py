"""What was begun on a cluster and not finished."""

from __future__ import annotations

from collections import Counter


class Attempts:
    """An actor beside the driver: how often each piece of work was begun and not finished.

    Ray repeats what was lost with a worker; what kills every worker that has it must not be.
    """

    def __init__(self):
        self.begun: Counter[str] = Counter()

    def begin(self, piece: str) -> int:
        """Counts from 1."""
        self.begun[piece] += 1
        return self.begun[piece]

    def finish(self, piece: str) -> None:
        del self.begun[piece]
