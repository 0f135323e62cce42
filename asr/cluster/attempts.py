"""A counter of unfinished attempts, which limits the retries on a cluster."""

from __future__ import annotations

from collections import Counter


class AttemptCounter:
    """An actor on the driver's machine that counts unfinished attempts per task.

    Ray retries the task of a failed worker without limit. A task that makes every worker fail, such
    as a recording that exhausts the memory, must not be retried forever.
    """

    def __init__(self):
        self.unfinished: Counter[str] = Counter()

    def start(self, task: str) -> int:
        """Count an attempt; returns its number, from 1."""
        self.unfinished[task] += 1
        return self.unfinished[task]

    def finish(self, task: str) -> None:
        del self.unfinished[task]
