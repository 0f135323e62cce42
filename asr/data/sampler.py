"""Which utterances make a batch: laid out by length before anything is read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np


class Place(NamedTuple):
    """An utterance as an epoch hears it."""

    index: int  # in the manifest
    epoch: int  # augmentation is drawn anew in each
    speed: float = 1.0  # how fast it is played


class Part(NamedTuple):
    """What one process takes of a step's batch at once."""

    places: list[Place]
    whole: list[Place]  # the step's batch, over all processes
    weight: float = 1.0  # 0: a stand-in, as the batch has fewer utterances than parts


class BucketWindow:
    """Utterances that are mixed with one another, laid out as batches of similar length."""

    def __init__(
        self,
        indices: np.ndarray,
        durations_s: np.ndarray,
        batch_s: float,
        speeds: Sequence[float],
        added_s: float,
        draw: np.random.Generator,
    ):
        self.speeds = draw.choice(speeds, len(durations_s))
        heard_s = durations_s / self.speeds + added_s
        # Lengths are jittered before sorting: neighbors change from epoch to epoch.
        order = np.argsort(heard_s * draw.uniform(0.9, 1.1, len(heard_s)))
        self.indices, self.speeds = indices[order], self.speeds[order]
        self.ends, self.padded_s = _fill(heard_s[order].tolist(), batch_s)
        self.order = draw.permutation(len(self.ends)).tolist()

    def largest_first(self) -> None:
        largest = int(np.argmax(self.padded_s))
        self.order.remove(largest)
        self.order.insert(0, largest)

    def __len__(self) -> int:
        return len(self.ends)

    def batch(self, number: int, epoch: int) -> list[Place]:
        at = self.order[number]
        mine = slice(self.ends[at - 1] if at else 0, self.ends[at])
        pairs = zip(self.indices[mine].tolist(), self.speeds[mine].tolist(), strict=True)
        return [Place(index, epoch, speed) for index, speed in pairs]


def _fill(lengths_s: list[float], batch_s: float) -> tuple[list[int], list[float]]:
    """Where batches of at most `batch_s`, padding counted, end, and what each takes of that."""
    ends, padded_s = [], []
    start, longest_s = 0, 0.0
    for at, length_s in enumerate(lengths_s):
        grown_s = max(longest_s, length_s)
        if at > start and grown_s * (at - start + 1) > batch_s:
            ends.append(at)
            padded_s.append(longest_s * (at - start))
            start, grown_s = at, length_s
        longest_s = grown_s
    ends.append(len(lengths_s))
    padded_s.append(longest_s * (len(lengths_s) - start))
    return ends, padded_s


class BatchSampler:
    """Which utterances go together: batches of similar length, at most `batch_s` with padding.

    An epoch's batches depend on the seed and the epoch alone. How fast each utterance is played is
    drawn here too (from `speeds`), so that batches are filled by what will be heard; `added_s` is
    the most that augmentation lengthens it by. The first epoch opens with the batch that needs the
    most memory (of its first window), so that running out of it shows in the first minute.
    """

    def __init__(
        self,
        durations_s: Sequence[float],
        batch_s: float,
        seed: int,
        speeds: Sequence[float] = (),
        added_s: float = 0.0,
    ):
        self.durations_s = np.asarray(durations_s, dtype=np.float64)
        self.batch_s, self.seed = batch_s, seed
        self.speeds, self.added_s = speeds or (1.0,), added_s

    def windows(self, epoch: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Indices and seconds, (n,) each, of what is mixed and laid out at once: everything."""
        yield np.arange(len(self.durations_s)), self.durations_s

    def _laid_out(self, epoch: int) -> Iterator[BucketWindow]:
        for number, (indices, durations_s) in enumerate(self.windows(epoch)):
            draw = np.random.default_rng((self.seed, epoch, number))
            window = BucketWindow(
                indices, durations_s, self.batch_s, self.speeds, self.added_s, draw
            )
            if epoch == number == 0:
                window.largest_first()
            yield window

    def steps(self, epoch: int) -> int:
        """The number of an epoch's batches."""
        return sum(len(window) for window in self._laid_out(epoch))

    def following(self, epoch: int, batch: int, epochs: int) -> Iterator[list[Place]]:
        """All batches from one of an epoch on, to the end of the last of `epochs`."""
        for later in range(epoch, epochs):
            skipped = batch if later == epoch else 0
            for window in self._laid_out(later):
                for number in range(skipped, len(window)):
                    yield window.batch(number, later)
                skipped = max(0, skipped - len(window))

    def batches(self, epoch: int) -> list[list[Place]]:
        """An epoch's batches at once."""
        return list(self.following(epoch, 0, epoch + 1))


def split_batch(batch: list[Place], parts: int) -> list[Part]:
    """Split a step's batch over processes, and over the passes that each makes of it.

    Neighbors in length go to different parts, which take about the same time. Every part has an
    utterance, so that no process waits for one that has nothing to do.
    """
    return [
        Part(batch[i::parts], batch) if i < len(batch) else Part(batch[:1], batch, weight=0.0)
        for i in range(parts)
    ]
